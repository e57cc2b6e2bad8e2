"""A node with a private Redis, an endpoint on this machine, and enough behind it that every operation can succeed."""

import http.server
import json
import os
import secrets
import subprocess
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

# The longest wait for anything.
DEADLINE = 90
# More than a recovery puts into a webhook's queue at once, so that one that is slow stays under way.
DEAD = 1200
# Events that one batch may hold.
BATCH = 1000

SCOPES = "webhooks:read webhooks:write events:publish events:publish:any"


class Endpoint(http.server.BaseHTTPRequestHandler):
    """Takes everything, but for what comes to /fail."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", 0)))
        self.send_response(500 if self.path.startswith("/fail") else 204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 256


def endpoint() -> str:
    server = Server(("127.0.0.1", 0), Endpoint)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_address[1]}"


def settings(directory: str) -> dict[str, str]:
    return os.environ | {
        "WEBHOOKS_SERVER__PORT": "0",
        "WEBHOOKS_SERVER__MANAGEMENT_PORT": "0",
        "WEBHOOKS_AUTH__JWT_SECRET": secrets.token_hex(32),
        "WEBHOOKS_DELIVERY__ALLOWED_NETWORKS": "127.0.0.0/8",
        "WEBHOOKS_REDIS__DATA_DIR": directory,
        "WEBHOOKS_TELEMETRY__LOG_FORMAT": "json",
        "WEBHOOKS_API__RATE_LIMIT_PER_MINUTE": "10000000",
        "WEBHOOKS_LIMITS__WEBHOOKS_PER_USER": "100000",
        "WEBHOOKS_LIMITS__WEBHOOKS_PER_TENANT": "1000000",
        # Deliveries that fail for good are wanted here, not pauses.
        "WEBHOOKS_BREAKER__FAILURE_THRESHOLD": "1000000",
    }


class Node:
    """A node that ends with the block."""

    def __init__(self, binary: str, directory: str) -> None:
        self.binary, self.env = binary, settings(directory)
        self.log = Path(directory) / "node.log"
        with self.log.open("w") as log:
            self.child = subprocess.Popen([binary, "serve"], env=self.env, stderr=log, stdout=log)
        self.api = self.address()

    def address(self) -> str:
        deadline = time.monotonic() + DEADLINE
        while time.monotonic() < deadline and self.child.poll() is None:
            for line in self.log.read_text().splitlines():
                entry = json.loads(line) if line.startswith("{") else {}
                if entry.get("message") == "listening":
                    return "http://" + entry["api"]
            time.sleep(0.05)
        raise SystemExit(f"the node does not listen:\n{self.log.read_text()}")

    def token(self, user: str) -> str:
        """Of one who may do everything."""
        rights = ["--role", "ADMIN", "--scope", SCOPES]
        command = [self.binary, "token", "--sub", user, "--org", "acme", *rights]
        return subprocess.run(command, env=self.env, check=True, capture_output=True, text=True).stdout.strip()

    def faults(self) -> list[str]:
        """Lines of the log that tell of a fault."""
        return [line for line in self.log.read_text().splitlines() if '"level":"ERROR"' in line]

    def __enter__(self) -> "Node":
        return self

    def __exit__(self, *_: object) -> None:
        self.child.terminate()
        try:
            self.child.wait(timeout=DEADLINE)
        except subprocess.TimeoutExpired:
            self.child.kill()


class Client:
    """Calls the API as one user."""

    def __init__(self, api: str, token: str) -> None:
        self.api, self.token = api, token

    def call(self, method: str, path: str, body: object = None) -> dict:
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.api}/api{path}", data, headers, method=method)
        with urllib.request.urlopen(request, timeout=DEADLINE) as response:
            text = response.read()
            return json.loads(text) if text else {}

    def webhook(self, url: str, **more: object) -> str:
        fields = {"name": "seed", "url": url, "events": ["*"]} | more
        return self.call("POST", "/webhooks", fields)["id"]

    def publish(self, count: int, event: str) -> list[str]:
        events = [{"type": event, "data": {"n": n}} for n in range(count)]
        batches = [events[start : start + BATCH] for start in range(0, count, BATCH)]
        taken = [self.call("POST", "/events/batch", {"events": batch}) for batch in batches]
        return [entry["id"] for answer in taken for entry in answer["events"]]

    def wait(self, what: str, condition) -> None:
        deadline = time.monotonic() + DEADLINE
        while not condition():
            if time.monotonic() > deadline:
                raise SystemExit(f"in vain waited for: {what}")
            time.sleep(0.1)


def seed(client: Client, url: str) -> dict:
    """What the hooks put in the place of ids that nobody has."""
    good = [client.webhook(f"{url}/ok", events=["lead.created"]) for _ in range(3)]
    dead = client.webhook(f"{url}/fail", events=["lead.updated"], retryAttempts=0, maxConcurrency=64)
    events = client.publish(10, "lead.created")
    client.publish(DEAD, "lead.updated")
    stands = lambda id: client.call("GET", f"/webhooks/{id}")
    client.wait("deliveries", lambda: all(stands(id)["successCount"] >= 10 for id in good))
    client.wait("dead deliveries", lambda: stands(dead)["failureCount"] >= DEAD)
    # A recovery goes on at the pace of its webhook: this one's never ends by itself.
    client.call("PATCH", f"/webhooks/{dead}", {"rateLimitPerSecond": 1, "maxConcurrency": 1})
    attempts = {id: [row["id"] for row in client.call("GET", f"/webhooks/{id}/deliveries")["logs"]] for id in good}
    return {"endpoint": url, "good": good, "dead": dead, "events": events, "attempts": attempts}
