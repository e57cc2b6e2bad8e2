"""What the checks of this directory stand on: child processes with a deadline, a real node, and its API."""

import contextlib
import json
import os
import queue
import secrets
import subprocess
import sys
import tempfile
import threading
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass

# The longest wait for any one line of a process, and for an answer, in seconds.
DEADLINE = 60


class Process:
    """A child whose lines can be waited for with a deadline; ends with the block."""

    def __init__(self, command: list[str], stream: str = "stdout", **options: object) -> None:
        pipes = {"stdin": subprocess.PIPE, stream: subprocess.PIPE}
        self.child = subprocess.Popen(command, text=True, **pipes, **options)
        self.lines: queue.Queue[str | None] = queue.Queue()
        self.source = getattr(self.child, stream)
        self.said: list[str] = []
        threading.Thread(target=self.read, daemon=True).start()

    def read(self) -> None:
        for line in self.source:
            self.lines.put(line.rstrip("\n"))
        self.lines.put(None)

    def line(self) -> str:
        try:
            found = self.lines.get(timeout=DEADLINE)
        except queue.Empty:
            found = None
        if found is None:
            sys.exit("\n".join([*self.said, f"{self.child.args[0]} ended, or says nothing"]))
        self.said.append(found)
        return found

    def say(self, text: str) -> None:
        self.child.stdin.write(text + "\n")
        self.child.stdin.flush()

    def __enter__(self) -> "Process":
        return self

    def __exit__(self, *_: object) -> None:
        self.child.terminate()
        try:
            self.child.wait(timeout=DEADLINE)
        except subprocess.TimeoutExpired:
            self.child.kill()


@dataclass
class Api:
    """The API of the node, for one user who may publish."""

    url: str
    token: str

    def call(self, method: str, path: str, body: str | None = None) -> dict:
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        data = None if body is None else body.encode()
        request = urllib.request.Request(self.url + path, data, headers, method=method)
        with urllib.request.urlopen(request, timeout=DEADLINE) as response:
            return json.load(response)

    def post(self, path: str, body: str) -> dict:
        return self.call("POST", path, body)


def listening(node: Process) -> str:
    """The API's address, from the node's log."""
    while True:
        line = node.line()
        entry = json.loads(line) if line.startswith("{") else {}
        if entry.get("message") == "listening":
            return "http://" + entry["api"]


@contextlib.contextmanager
def node(binary: str) -> Iterator[Api]:
    """A node with a private Redis, ready, whose webhooks may lead to this machine."""
    with tempfile.TemporaryDirectory(prefix="sw-") as directory:
        settings = {
            "WEBHOOKS_SERVER__PORT": "0",
            "WEBHOOKS_SERVER__MANAGEMENT_PORT": "0",
            "WEBHOOKS_AUTH__JWT_SECRET": secrets.token_hex(32),
            "WEBHOOKS_DELIVERY__ALLOWED_NETWORKS": "127.0.0.0/8",
            "WEBHOOKS_REDIS__DATA_DIR": directory,
            "WEBHOOKS_TELEMETRY__LOG_FORMAT": "json",
        }
        env = os.environ | settings
        arguments = ["token", "--sub", "foreign", "--org", "foreign", "--role", "service"]
        token = subprocess.run([binary, *arguments], env=env, check=True, capture_output=True, text=True).stdout.strip()
        with Process([binary, "serve"], "stderr", env=env) as process:
            yield Api(listening(process), token)
