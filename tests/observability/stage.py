"""What the checks run on: a private Redis, nodes, a Prometheus that scrapes them, and a receiver. All of it ends with its
block, by process id; no port is fixed."""

import contextlib
import http.client
import json
import os
import re
import secrets
import subprocess
import sys
import threading
import time
import urllib.parse
from collections import Counter
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

# How often Prometheus scrapes, in seconds.
SCRAPE_EVERY = 1
# The longest wait for anything that must come.
WITHIN = 60
LOOK_EVERY = 0.05


def fail(text: str) -> None:
    """Ends the checks."""
    sys.exit(f"FAILED: {text}")


def eventually(what: str, condition: Callable[[], Any], within: float = WITHIN) -> Any:
    """Waits until the condition gives something true, and gives that."""
    deadline = time.monotonic() + within
    while True:
        if found := condition():
            return found
        if time.monotonic() > deadline:
            fail(f"{what}: not within {within} s")
        time.sleep(LOOK_EVERY)


class Process:
    """A child that writes to a log of its own, a new one at each start."""

    def __init__(self, name: str, command: list[str], directory: Path, env: dict[str, str] | None = None) -> None:
        self.name = name
        starts = len(list(directory.glob(f"{name}.*.log")))
        self.log = directory / f"{name}.{starts + 1}.log"
        with self.log.open("xb") as log:
            self.child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env, cwd=directory)

    def said(self) -> str:
        return self.log.read_text(errors="replace")

    def must_live(self) -> None:
        if self.child.poll() is not None:
            fail(f"{self.name} ended with {self.child.returncode}:\n{self.said()[-2000:]}")

    def waits_for(self, pattern: str) -> str:
        """The first group of the first match in its log."""

        def look() -> str | None:
            self.must_live()
            found = re.search(pattern, self.said())
            return found[1] if found else None

        return eventually(f"{self.name} says {pattern}", look)

    def signal(self, number: int) -> None:
        self.child.send_signal(number)

    def kill(self) -> None:
        self.child.kill()
        self.child.wait()

    def __enter__(self) -> "Process":
        return self

    def __exit__(self, *_: object) -> None:
        if self.child.poll() is None:
            self.child.kill()
        self.child.wait()


def request(base: str, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> tuple[int, str]:
    """The status and the text of an answer."""
    connection = http.client.HTTPConnection(urllib.parse.urlsplit(base).netloc, timeout=WITHIN)
    try:
        payload = body if body is None or isinstance(body, str) else json.dumps(body)
        connection.request(method, path, payload and payload.encode(), headers or {})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


class Redis(Process):
    """A server of its own without a port. It has a limit of memory, as one in production has."""

    def __init__(self, directory: Path) -> None:
        self.socket = directory / "redis.sock"
        options = ["--port", "0", "--unixsocket", str(self.socket), "--appendonly", "yes", "--maxmemory", "512mb"]
        super().__init__("redis", ["redis-server", "--dir", str(directory), *options, "--maxmemory-policy", "noeviction"], directory)
        eventually("redis makes its socket", lambda: self.must_live() or self.socket.exists())

    @property
    def url(self) -> str:
        return f"unix://{self.socket}"


class Node(Process):
    """One node. Every start is a new process on new ports."""

    def __init__(self, binary: str, name: str, redis: Redis, directory: Path, settings: dict[str, str]) -> None:
        env = {"PATH": os.environ["PATH"], "WEBHOOKS_NODE__ID": name, "WEBHOOKS_REDIS__URL": redis.url}
        env |= {f"WEBHOOKS_{key}": value for key, value in settings.items()}
        super().__init__(name, [binary, "serve"], directory, env)
        line = json.loads(self.waits_for(r'(?m)^(\{.*"message":"listening".*\})$'))
        self.api, self.management = f"http://{line['api']}", f"http://{line['management']}"

    @property
    def instance(self) -> str:
        """Its address, as Prometheus calls it."""
        return self.management.removeprefix("http://")

    def is_ready(self) -> bool:
        return request(self.management, "GET", "/health/ready")[0] == 200

    def metrics(self) -> str:
        return request(self.management, "GET", "/metrics")[1]

    def value(self, metric: str) -> float:
        """The sum over the series of a metric, read from the node itself."""
        lines = re.findall(rf"(?m)^{metric}(?:\{{[^}}]*\}})? (\S+)$", self.metrics())
        return sum(map(float, lines))


class Prometheus(Process):
    """Scrapes every node twice: as it is outside of Kubernetes (job `webhooks`), and with the labels that a ServiceMonitor adds
    (job `salesos-webhooks`, a namespace and a pod). And itself, so that there is another process beside ours."""

    def __init__(self, binaries: Path, directory: Path, rules: Path) -> None:
        self.binaries = binaries
        self.targets = directory / "targets"
        self.targets.mkdir()
        self.config = directory / "prometheus.yml"
        self.config.write_text(CONFIG.format(every=SCRAPE_EVERY, rules=rules, targets=self.targets))
        address, data = "--web.listen-address=127.0.0.1:0", f"--storage.tsdb.path={directory / 'tsdb'}"
        command = [str(binaries / "prometheus"), f"--config.file={self.config}", data, address]
        super().__init__("prometheus", command, directory)
        self.url = "http://" + self.waits_for(r'msg="Listening on" address=(\S+)')
        self.scrape("prometheus", [{"targets": [self.url.removeprefix("http://")]}])
        eventually("prometheus is ready", lambda: request(self.url, "GET", "/-/ready")[0] == 200)

    def scrape(self, job: str, groups: list[dict]) -> None:
        """Replaces the targets of a job, in one step."""
        draft = self.targets / f"{job}.draft"
        draft.write_text(json.dumps(groups))
        draft.rename(self.targets / f"{job}.json")

    def scrape_nodes(self, nodes: list[Node]) -> None:
        self.scrape("webhooks", [{"targets": [node.instance for node in nodes]}])
        labels = lambda node: {"namespace": "crm", "pod": node.name}
        self.scrape("salesos-webhooks", [{"targets": [node.instance], "labels": labels(node)} for node in nodes])

    def get(self, path: str, **parameters: Any) -> Any:
        pairs = [(key, each) for key, value in parameters.items() for each in (value if isinstance(value, list) else [value])]
        status, text = request(self.url, "GET", f"/api/v1/{path}?" + urllib.parse.urlencode(pairs))
        answer = json.loads(text)
        if status != 200 or answer["status"] != "success":
            fail(f"prometheus refuses {path} {parameters}: {answer.get('error', text)}")
        return answer["data"]

    def vector(self, query: str) -> list[dict]:
        return self.get("query", query=query)["result"]

    def number(self, query: str) -> float | None:
        """The value of a query that has one series, or none."""
        result = self.vector(query)
        return float(result[0]["value"][1]) if result else None

    def series(self, query: str, start: float, step: float) -> list[dict]:
        return self.get("query_range", query=query, start=start, end=time.time(), step=step)["result"]

    def tool(self, *arguments: str, text: str | None = None) -> str | None:
        """What promtool said, if it found a fault."""
        done = subprocess.run([str(self.binaries / "promtool"), *arguments], input=text, capture_output=True, text=True)
        return done.stdout + done.stderr if done.returncode else None


CONFIG = """\
global: {{scrape_interval: {every}s, scrape_timeout: {every}s, evaluation_interval: 1s}}
rule_files: ["{rules}"]
scrape_configs:
  - job_name: prometheus
    file_sd_configs: [{{files: ["{targets}/prometheus.json"]}}]
  - job_name: webhooks
    file_sd_configs: [{{files: ["{targets}/webhooks.json"]}}]
  - job_name: salesos-webhooks
    file_sd_configs: [{{files: ["{targets}/salesos-webhooks.json"]}}]
"""


class Server(ThreadingHTTPServer):
    """Says nothing about connections that break: a node that is killed breaks many."""

    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, *_: object) -> None:
        """See above."""


class Receiver:
    """Endpoints that answer by their path, and what each of them has got. `n` is the number in the event's data.

    /ok takes everything; /flaky refuses the first attempt of every third event; /dead refuses every fifth event for good; /slow
    does not answer the first attempt of every hundredth; /status/NNN answers NNN; /hang never answers; /garbage answers something
    that is not HTTP."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.requests: Counter[str] = Counter()
        self.events: dict[str, set[str]] = {}
        # By event, path and attempt.
        self.traceparents: dict[tuple[str, str, int], str] = {}
        self.ended = threading.Event()
        self.server = Server(("0.0.0.0", 0), self.handler())
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.server.server_port}{path}"

    def unique(self, path: str) -> int:
        with self.lock:
            return len(self.events.get(path, ()))

    def note(self, path: str, event: str, attempt: int, traceparent: str | None) -> None:
        with self.lock:
            self.requests[path] += 1
            self.events.setdefault(path, set()).add(event)
            if traceparent:
                self.traceparents[event, path, attempt] = traceparent

    def handler(receiver) -> type[BaseHTTPRequestHandler]:
        class Endpoint(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            # Small answers go out at once.
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                number = json.loads(self.rfile.read(int(self.headers["content-length"])))["data"].get("n", 0)
                attempt = int(self.headers["x-webhook-attempt"])
                receiver.note(self.path, self.headers["webhook-id"], attempt, self.headers["traceparent"])
                match self.path.split("/")[1:]:
                    case ["flaky"] if attempt == 1 and number % 3 == 0:
                        self.answer(500)
                    case ["dead"] if number % 5 == 0:
                        self.answer(500)
                    case ["slow"] if attempt == 1 and number % 100 == 0:
                        self.hang()
                    case ["status", status]:
                        self.answer(int(status))
                    case ["hang"]:
                        self.hang()
                    case ["garbage"]:
                        self.wfile.write(b"this is not HTTP\r\n\r\n")
                        self.close_connection = True
                    case _:
                        self.answer(204)

            def answer(self, status: int) -> None:
                self.send_response(status)
                self.send_header("content-length", "0")
                self.end_headers()

            def hang(self) -> None:
                """Until the other side gives up."""
                self.connection.settimeout(WITHIN)
                with contextlib.suppress(OSError):
                    self.connection.recv(1)
                self.close_connection = True

            def log_message(self, *_: object) -> None:
                """Says nothing."""

        return Endpoint

    def __enter__(self) -> "Receiver":
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()


class Account:
    """A user of the API, through any node."""

    def __init__(self, binary: str, secret: str, user: str, organization: str, *more: str) -> None:
        env = {"PATH": os.environ["PATH"], "WEBHOOKS_AUTH__JWT_SECRET": secret}
        command = [binary, "token", "--sub", user, "--org", organization, *more]
        self.token = subprocess.run(command, env=env, check=True, capture_output=True, text=True).stdout.strip()

    def call(self, node: Node, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        """The status and the JSON of an answer."""
        given = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        given |= {name.replace("_", "-"): value for name, value in headers.items()}
        status, text = request(node.api, method, path, body, given)
        return status, json.loads(text) if text else None

    def must(self, node: Node, method: str, path: str, body: Any = None, **headers: str) -> Any:
        """The JSON of an answer that must be 2xx."""
        status, answer = self.call(node, method, path, body, **headers)
        if not 200 <= status < 300:
            fail(f"{method} {path} was answered with {status}: {answer}")
        return answer

    def webhook(self, node: Node, url: str, events: list[str], **settings: Any) -> str:
        """Makes a webhook and gives its id."""
        name = urllib.parse.urlsplit(url).path
        return self.must(node, "POST", "/api/webhooks", {"name": name, "url": url, "events": events, **settings})["id"]


def new_secret() -> str:
    return secrets.token_hex(32)
