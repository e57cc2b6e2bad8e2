"""A small stand-in for a cluster: rendered pods as processes of this machine, asked and ended as the kubelet does it.

What is translated, because there are no pods here: the address and the ports (127.0.0.1, free ones), the host name of
Redis, the mount of the ConfigMap, and the place of the program. Everything else is what was rendered."""

import http.client
import json
import queue
import re
import signal
import subprocess
import threading
import time
from urllib.parse import urlsplit

import test_settings
from manifests import one

# The longest wait for anything that happens by itself.
SOON = 60
# How long it takes until a load balancer has noticed that a pod goes. Less than preStop.sleepSeconds of the test.
NOTICED_AFTER = 1.0


def eventually(what, condition, limit=SOON):
    """Looks until `condition` gives something, and gives that."""
    deadline = time.monotonic() + limit
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < deadline, f"not within {limit} s: {what}"
        time.sleep(0.02)


def get(address, path, timeout=5.0):
    """The status of a GET; None when there is no answer."""
    connection = http.client.HTTPConnection(address, timeout=timeout)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except OSError:
        return None
    finally:
        connection.close()


def translated(words, directory, program):
    """A command of the image on this machine."""
    def place(word):
        return word.replace("/usr/local/bin/salesos-webhooks", program).replace("/etc/salesos-webhooks", str(directory))

    return [place(word) for word in words]


class Probe:
    """One probe of a container: threshold, period and timeout are the rendered ones."""

    def __init__(self, spec, ports):
        self.path, self.port = spec["httpGet"]["path"], spec["httpGet"]["port"]
        self.spec, self.ports, self.failed, self.next = spec, ports, 0, 0.0

    def ask(self, now):
        """True or False when it was asked, None when its time has not come."""
        if now < self.next:
            return None
        self.next = now + self.spec["periodSeconds"]
        status = get(self.ports[self.port], self.path, self.spec["timeoutSeconds"])
        # As the kubelet counts: 200 to 399.
        good = status is not None and 200 <= status < 400
        self.failed = 0 if good else self.failed + 1
        return good

    def exhausted(self):
        return self.failed >= self.spec["failureThreshold"]


class Pod:
    """One pod of the Deployment."""

    def __init__(self, name, objects, directory, program, redis):
        deployment = one(objects, "Deployment")
        template = deployment["spec"]["template"]["spec"]
        self.name, self.program, self.directory = name, program, directory
        self.container = template["containers"][0]
        self.grace = template["terminationGracePeriodSeconds"]
        self.env = test_settings.environment(objects, self.container, lambda key, value: moved(key, value, redis))
        self.env |= {"WEBHOOKS_NODE__ID": name, "WEBHOOKS_SERVER__BIND": "127.0.0.1"}
        self.env |= {"WEBHOOKS_SERVER__PORT": "0", "WEBHOOKS_SERVER__MANAGEMENT_PORT": "0"}
        self.started = self.ready = self.going = False
        self.restarts, self.ready_since, self.log = 0, None, []
        self.launch()

    def launch(self):
        words = translated(self.container["command"] + self.container["args"], self.directory, self.program)
        self.child = subprocess.Popen(words, env=self.env, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, cwd="/")
        lines = queue.Queue()
        threading.Thread(target=self.read, args=(self.child.stderr, lines), daemon=True).start()
        self.ports = self.listening(lines)
        self.probes = {kind: Probe(self.container[kind], self.ports) for kind in ("startupProbe", "livenessProbe", "readinessProbe")}
        self.closed = threading.Event()
        threading.Thread(target=self.watch, daemon=True).start()

    def read(self, stream, lines):
        for line in stream:
            self.log.append(line.rstrip())
            lines.put(line)
        lines.put("")

    def listening(self, lines):
        """The addresses behind the names of the container's ports, from the log."""
        while line := lines.get(timeout=SOON):
            entry = json.loads(line) if line.startswith("{") else {}
            if entry.get("message") == "listening":
                return {"api": entry["api"], "management": entry["management"]}
        raise AssertionError("\n".join([f"{self.name} ended at its start", *self.log]))

    def watch(self):
        """What the kubelet does while the container runs."""
        while not self.closed.wait(0.1):
            now = time.monotonic()
            if not self.started:
                self.started = self.probes["startupProbe"].ask(now) is True
                continue
            self.probes["livenessProbe"].ask(now)
            if self.probes["livenessProbe"].exhausted():
                self.restarts += 1
                self.closed.set()
            good = self.probes["readinessProbe"].ask(now)
            if good and not self.ready:
                self.ready, self.ready_since = True, now
            elif self.probes["readinessProbe"].exhausted():
                self.ready = False

    def available(self, min_ready):
        return self.ready and time.monotonic() - self.ready_since >= min_ready

    def most_memory(self):
        """The most that it had in memory so far, in bytes."""
        status = open(f"/proc/{self.child.pid}/status").read()
        return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) * 1024

    def hook(self):
        """preStop, as the kubelet runs it in the container."""
        command = self.container["lifecycle"]["preStop"]["exec"]["command"]
        subprocess.run(translated(command, self.directory, self.program), env=self.env, check=True, timeout=self.grace)

    def end(self):
        """The end as it is asked for: hook, SIGTERM, and the rest of the grace period. Gives (exit status, seconds after
        SIGTERM)."""
        asked = time.monotonic()
        self.going = True
        self.hook()
        told = time.monotonic()
        self.child.send_signal(signal.SIGTERM)
        status = self.child.wait(timeout=self.grace - (told - asked))
        self.closed.set()
        return status, time.monotonic() - told

    def kill(self):
        self.closed.set()
        if self.child.poll() is None:
            self.child.kill()
            self.child.wait()


def moved(key, value, redis):
    """A variable with the address of Redis in it, on this machine."""
    if key != "WEBHOOKS_REDIS__URL":
        return value
    parts = urlsplit(value)
    login = parts.netloc.rpartition("@")[0]
    return parts._replace(netloc=f"{login}@127.0.0.1:{redis}" if login else f"127.0.0.1:{redis}").geturl()


class Service:
    """Where the load balancer sends to: ready pods, and for a moment those that go."""

    def __init__(self):
        self.lock, self.pods, self.turn, self.removed = threading.Lock(), [], 0, {}

    def add(self, pod):
        with self.lock:
            self.pods.append(pod)

    def endpoints(self):
        now = time.monotonic()
        with self.lock:
            known = list(self.pods)
        for pod in known:
            if pod.going or not pod.ready:
                self.removed.setdefault(pod.name, now)
            else:
                self.removed.pop(pod.name, None)
        seen = [pod for pod in known if pod.ready_since is not None]
        return [pod for pod in seen if now - self.removed.get(pod.name, now) < NOTICED_AFTER]

    def next(self):
        endpoints = self.endpoints()
        if not endpoints:
            return None
        self.turn += 1
        return endpoints[self.turn % len(endpoints)].ports["api"]
