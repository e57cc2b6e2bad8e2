"""The rendered Deployment, run: three pods, an update of all of them under load, an outage of Redis, the test pod."""

import collections
import http.client
import http.server
import json
import shutil
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

import pytest

import test_settings
from cluster import SOON, Pod, Service, eventually, get, moved, translated
from helm import HELMS, RELEASE, merged
from manifests import one

VALUES = Path(__file__).parent / "rollout-values.yaml"
NAME = f"{RELEASE}-salesos-webhooks"
# Events a second, over all publishers, while the pods are replaced.
RATE = 120
# So many that every pod has partitions with work.
ORGANIZATIONS = [f"org-{number}" for number in range(12)]
# Seconds that the receiver takes, so that attempts are on their way whenever a pod goes.
THINKS = 0.5
PUBLISHERS = 3


class Receiver(http.server.ThreadingHTTPServer):
    """Counts what arrives, by event."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Endpoint)
        self.seen, self.lock = collections.Counter(), threading.Lock()
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Endpoint(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        with self.server.lock:
            self.server.seen[self.headers["webhook-id"]] += 1
        time.sleep(THINKS)
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        pass


class Redis:
    """A redis-server with the chart's own settings for Valkey."""

    def __init__(self, conf, directory):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        file = directory / "valkey.conf"
        file.write_text(conf.replace("dir /data\n", f"dir {directory}\n"))
        words = ["redis-server", file, "--port", str(self.port), "--bind", "127.0.0.1"]
        self.child = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

        def answers():
            assert self.child.poll() is None, "redis-server does not take the chart's settings"
            with socket.socket() as client:
                return client.connect_ex(("127.0.0.1", self.port)) == 0

        eventually("redis answers", answers)


@pytest.fixture(scope="module")
def installation(chart, program, tmp_path_factory):
    """The release, three pods of it, ready."""
    directory = tmp_path_factory.mktemp("rollout")
    objects = HELMS[0].render(chart, merged([VALUES], {}))
    test_settings.write_settings(objects, directory, NAME)
    redis = Redis(one(objects, "Secret", f"{NAME}-valkey")["stringData"]["valkey.conf"], directory)
    release = Installation(objects, directory, program, redis)
    try:
        for number in range(3):
            release.add(f"{NAME}-6b7c8d9f5c-0000{number}")
        release.settle()
        yield release
    finally:
        for pod in release.everybody:
            pod.kill()
        redis.child.send_signal(signal.SIGCONT)
        redis.child.kill()
        redis.child.wait()
        shutil.rmtree(directory, ignore_errors=True)


class Installation:
    def __init__(self, objects, directory, program, redis):
        self.objects, self.directory, self.program, self.redis = objects, directory, program, redis
        self.service, self.pods, self.everybody = Service(), [], []
        self.min_ready = one(objects, "Deployment")["spec"]["minReadySeconds"]

    def add(self, name):
        pod = Pod(name, self.objects, self.directory, self.program, self.redis.port)
        self.everybody.append(pod)
        self.pods.append(pod)
        self.service.add(pod)
        return pod

    def settle(self):
        eventually("all pods are available", lambda: all(pod.available(self.min_ready) for pod in self.pods))

    def command(self, words, more=None):
        """A command of the program with the settings of a pod."""
        done = subprocess.run([self.program, *words, "--config", self.directory / "config.toml"],
                              env=self.pods[0].env | (more or {}), capture_output=True, text=True, timeout=SOON)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.strip()

    def call(self, method, path, token, body=None):
        """One request to the service as a client with a new connection makes it: (status, answer); status None = none."""
        address = self.service.next()
        if address is None:
            return None, "no endpoint"
        connection = http.client.HTTPConnection(address, timeout=20)
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json", "Connection": "close"}
        try:
            connection.request(method, path, json.dumps(body) if body is not None else None, headers)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read() or b"null")
        except (OSError, http.client.HTTPException) as error:
            return None, repr(error)
        finally:
            connection.close()


class Load:
    """Publishes at a steady rate until it is stopped. What is not taken is noted and repeated with the same id."""

    def __init__(self, installation, tokens):
        self.installation, self.tokens = installation, tokens
        self.taken, self.refusals, self.stopped = set(), [], threading.Event()
        self.threads = [threading.Thread(target=self.publish, args=(number,)) for number in range(PUBLISHERS)]
        for thread in self.threads:
            thread.start()

    def publish(self, number):
        begun, count = time.monotonic(), 0
        while not self.stopped.is_set():
            event = {"type": "lead.created", "data": {"n": count}, "id": f"evt_roll_{number}_{count}"}
            token = self.tokens[count % len(self.tokens)]
            status, answer = self.installation.call("POST", "/api/events", token, event)
            if status == 202:
                self.taken.add(answer["id"])
                count += 1
            else:
                self.refusals.append((status, str(answer)[:200]))
            # Behind the plan it does not wait.
            self.stopped.wait(max(0.0, begun + count * PUBLISHERS / RATE - time.monotonic()))

    def stop(self):
        self.stopped.set()
        for thread in self.threads:
            thread.join(timeout=SOON)


def subscribe(installation, organization, receiver):
    """Makes a webhook of that organization and gives the token to publish its events with."""
    scopes = "webhooks:read webhooks:write events:publish"
    token = installation.command(["token", "--sub", "roll", "--org", organization, "--scope", scopes])
    webhook = {"name": "roll", "url": f"http://127.0.0.1:{receiver.server_port}/", "events": ["*"]}
    status, answer = installation.call("POST", "/api/webhooks", token, webhook)
    assert status == 201, answer
    return token


def test_an_update_loses_nothing(installation, report):
    receiver = Receiver()
    tokens = [subscribe(installation, organization, receiver) for organization in ORGANIZATIONS]
    begun, ends = time.monotonic(), []
    load = Load(installation, tokens)
    try:
        eventually("the load runs", lambda: len(receiver.seen) > 50)
        for number, old in enumerate(list(installation.pods)):
            installation.add(f"{NAME}-7c8d9e0a6d-0000{number}")
            installation.settle()
            installation.pods.remove(old)
            ends.append((old, *old.end()))
        after = len(load.taken)
        eventually("the load goes on", lambda: len(load.taken) > after + 50)
    finally:
        load.stop()
    taken = time.monotonic() - begun
    eventually("everything has arrived", lambda: load.taken <= receiver.seen.keys())
    lost = load.taken - receiver.seen.keys()
    duplicates = sum(receiver.seen.values()) - len(receiver.seen)
    heading = "three rendered pods, replaced one by one under load (preStop, SIGTERM)"
    report(heading, f"published {len(load.taken)} in {taken:.0f} s, delivered {len(receiver.seen.keys() & load.taken)}, "
                    f"lost {len(lost)}, duplicates {duplicates}, requests not taken {len(load.refusals)}")
    for pod, status, seconds in ends:
        report(heading, f"{pod.name}: exit {status}, {seconds:.1f} s after SIGTERM of {pod.grace} s, liveness restarts {pod.restarts}")
    report(heading, f"most memory of a new pod: {max(pod.most_memory() for pod in installation.pods) / 2**20:.0f} MiB (development build)")
    assert not lost
    assert [status for _, status, _ in ends] == [0, 0, 0]
    assert load.refusals == []
    assert all(pod.restarts == 0 for pod in installation.everybody)


def test_an_outage_of_redis_restarts_nothing(installation, report):
    ready = lambda expected: all(pod.ready is expected for pod in installation.pods)
    installation.redis.child.send_signal(signal.SIGSTOP)
    try:
        eventually("no pod is ready", lambda: ready(False))
        assert all(get(pod.ports["management"], "/health/ready") == 503 for pod in installation.pods)
        # Longer than liveness would bear if it asked for Redis.
        liveness = installation.pods[0].probes["livenessProbe"]
        asked = liveness.next
        eventually("liveness was asked meanwhile", lambda: liveness.next > asked)
        assert all(get(pod.ports["management"], "/health/live") == 200 for pod in installation.pods)
    finally:
        installation.redis.child.send_signal(signal.SIGCONT)
    eventually("all pods are ready again", lambda: ready(True))
    assert all(pod.restarts == 0 and pod.child.poll() is None for pod in installation.pods)
    report("an outage of Redis", "all pods: not ready (503), live (200), no restart; ready again by themselves")


@pytest.mark.parametrize("receives", [False, True], ids=["closed", "tests.privateReceiver"])
def test_the_test_pod_succeeds(chart, installation, report, receives):
    objects = HELMS[0].render(chart, merged([VALUES], {"tests": {"privateReceiver": receives}}))
    container = one(objects, "Pod")["spec"]["containers"][0]
    pod = installation.pods[0]
    words = " ".join(translated(container["command"] + container["args"], installation.directory, installation.program))
    service = lambda name: next(found["spec"]["ports"][0]["port"] for found in objects if found["kind"] == "Service" and found["metadata"]["name"] == name)
    for name, port in ((f"{NAME}-management", "management"), (NAME, "api")):
        words = words.replace(f"http://{name}:{service(name)}", f"http://{pod.ports[port]}")
    words = words.replace("$(POD_IP)", "127.0.0.1")
    assert NAME not in words.replace(str(installation.directory), "")
    env = test_settings.environment(objects, container, lambda key, value: moved(key, value, installation.redis.port))
    done = subprocess.run(words.split(" "), env=env, capture_output=True, text=True, timeout=SOON)
    assert done.returncode == 0, done.stdout + done.stderr
    wanted = "both signatures verified" if receives else "attempted  dns"
    assert wanted in done.stdout
    for line in done.stdout.splitlines():
        report(f"helm test, its command run here ({'tests.privateReceiver' if receives else 'closed'})", line)


def test_the_nodes_bear_the_names_of_their_pods(installation):
    status = installation.command(["cluster", "status"])
    for pod in installation.pods:
        assert any(line.startswith(f"{pod.name} ") and " live " in line for line in status.splitlines()), status
