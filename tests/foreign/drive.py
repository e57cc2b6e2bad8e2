"""Starts a node with a private Redis and two foreign receivers, publishes one event in several spellings, and prints
what each way of verifying said. Ends with 1 unless every one of them accepted every spelling.

Called by run.sh, with the path of the binary."""

import json
import sys
from pathlib import Path

from stage import Process, node

HERE = Path(__file__).parent

SPELLINGS = {
    "compact": '{"type":"lead.created","data":{"name":"Zoë","note":"a/b \\"c\\" 😀","n":[1,2.5,null,true]}}',
    "pretty-printed": '{\n  "type": "lead.created",\n  "data": {\n    "name": "Zoë",\n\t"n": [ 1, 2.5 ],\r\n    "empty": { }\n  }\n}',
    "escaped": r'{"type":"lead.created","data":{"name":"Zo\u00eb","slash":"a\/b","quote":"\u0022","emoji":"\ud83d\ude00",'
    r'"control":"\u000a\u0001","\u006bey":1}}',
}


def verdicts(binary: str) -> dict[str, dict[str, bool]]:
    """For each way of verifying, what it said of each spelling."""
    table: dict[str, dict[str, bool]] = {}
    with (
        node(binary) as api,
        Process(["node", str(HERE / "receiver.js")]) as in_node,
        Process([sys.executable, str(HERE / "receiver.py")]) as in_python,
    ):
        for receiver in (in_node, in_python):
            webhook = {"name": "foreign", "url": f"http://127.0.0.1:{receiver.line()}/", "events": ["lead.*"]}
            receiver.say(api.post("/api/webhooks", json.dumps(webhook))["secret"])
        for spelling, body in SPELLINGS.items():
            event = api.post("/api/events", body)["id"]
            for receiver in (in_node, in_python):
                said = json.loads(receiver.line())
                if said["id"] != event:
                    sys.exit(f"expected {event}, got {said['id']}")
                for check, passed in said["checks"].items():
                    table.setdefault(check, {})[spelling] = passed
    return table


def main() -> None:
    table = verdicts(sys.argv[1])
    width = max(map(len, table))
    print(" " * width, *(f"{spelling:>14}" for spelling in SPELLINGS))
    for check, said in table.items():
        print(f"{check:<{width}}", *(f"{'ok' if said.get(spelling) else 'FAILED':>14}" for spelling in SPELLINGS))
    if not all(said.get(spelling) for said in table.values() for spelling in SPELLINGS):
        sys.exit("some signatures were not accepted")


main()
