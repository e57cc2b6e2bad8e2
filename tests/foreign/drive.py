"""Starts a node with a private Redis and two foreign receivers, publishes one event in several spellings, and prints
what each way of verifying said. Ends with 1 unless every one of them accepted every spelling.

Called by run.sh, with the path of the binary."""

import json
import os
import queue
import secrets
import subprocess
import sys
import tempfile
import threading
import urllib.request
from pathlib import Path

HERE = Path(__file__).parent
# The longest wait for any one line of a process.
DEADLINE = 60

SPELLINGS = {
    "compact": '{"type":"lead.created","data":{"name":"Zoë","note":"a/b \\"c\\" 😀","n":[1,2.5,null,true]}}',
    "pretty-printed": '{\n  "type": "lead.created",\n  "data": {\n    "name": "Zoë",\n\t"n": [ 1, 2.5 ],\r\n    "empty": { }\n  }\n}',
    "escaped": r'{"type":"lead.created","data":{"name":"Zo\u00eb","slash":"a\/b","quote":"\u0022","emoji":"\ud83d\ude00",'
    r'"control":"\u000a\u0001","\u006bey":1}}',
}


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
        found = self.lines.get(timeout=DEADLINE)
        if found is None:
            sys.exit("\n".join([*self.said, f"{self.child.args[0]} ended"]))
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


def post(url: str, token: str, body: str) -> dict:
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    request = urllib.request.Request(url, body.encode(), headers, method="POST")
    with urllib.request.urlopen(request, timeout=DEADLINE) as response:
        return json.load(response)


def listening(node: Process) -> str:
    """The API's address, from the node's log."""
    while True:
        line = node.line()
        entry = json.loads(line) if line.startswith("{") else {}
        if entry.get("message") == "listening":
            return "http://" + entry["api"]


def verdicts(binary: str, directory: str) -> dict[str, dict[str, bool]]:
    """For each way of verifying, what it said of each spelling."""
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
    table: dict[str, dict[str, bool]] = {}
    with (
        Process([binary, "serve"], "stderr", env=env) as node,
        Process(["node", str(HERE / "receiver.js")]) as in_node,
        Process([sys.executable, str(HERE / "receiver.py")]) as in_python,
    ):
        api = listening(node)
        for receiver in (in_node, in_python):
            webhook = {"name": "foreign", "url": f"http://127.0.0.1:{receiver.line()}/", "events": ["lead.*"]}
            receiver.say(post(f"{api}/api/webhooks", token, json.dumps(webhook))["secret"])
        for spelling, body in SPELLINGS.items():
            event = post(f"{api}/api/events", token, body)["id"]
            for receiver in (in_node, in_python):
                said = json.loads(receiver.line())
                if said["id"] != event:
                    sys.exit(f"expected {event}, got {said['id']}")
                for check, passed in said["checks"].items():
                    table.setdefault(check, {})[spelling] = passed
    return table


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="sw-") as directory:
        table = verdicts(sys.argv[1], directory)
    width = max(map(len, table))
    print(" " * width, *(f"{spelling:>14}" for spelling in SPELLINGS))
    for check, said in table.items():
        print(f"{check:<{width}}", *(f"{'ok' if said.get(spelling) else 'FAILED':>14}" for spelling in SPELLINGS))
    if not all(said.get(spelling) for said in table.values() for spelling in SPELLINGS):
        sys.exit("some signatures were not accepted")


main()
