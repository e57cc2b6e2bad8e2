"""Runs schemathesis against a node that it can do everything at, and says what it did.

Called by run.sh, with the paths of the binary and of `st`. Ends with 1 when a check fails, when the node logs a fault of
its own, or when an operation never succeeded: a run that only ever met 400 and 404 proves nothing."""

import json
import os
import secrets
import subprocess
import sys
import tempfile
import urllib.request
from collections import Counter
from pathlib import Path

from stage import Client, Node, endpoint, seed

HERE = Path(__file__).parent

# Checks of schemathesis that are left out, each with the reason.
LEFT_OUT = {
    "object_level_authorization": "it looks with a second user and without any, so often that the limit of failed "
    "authentications (60 a minute from an address) answers; src/api/webhooks/tests.rs proves what it would",
    "ensure_resource_availability": "runs as availability_after_creation (hooks.py), which knows that a new webhook has no recovery",
    "use_after_free": "runs as use_after_deletion (hooks.py), which knows that DELETE ends a recovery and deletes nothing",
}


def command(st: str, api: str, token: str, seed_number: int, more: list[str]) -> list[str]:
    # From a file: the route that a document comes from is left out.
    line = [st, "--config-file", str(HERE / "schemathesis.toml"), "run", "openapi.json", "--url", api]
    line += ["--checks", "all", "--seed", str(seed_number), "-H", f"Authorization: Bearer {token}", "--warnings", "off"]
    if LEFT_OUT:
        line += ["--exclude-checks", ",".join(LEFT_OUT)]
    return line + more


def table(counts: dict[str, dict[str, int]]) -> bool:
    """Prints what each operation was answered; whether each succeeded at least once."""
    width = max(map(len, counts))
    total: Counter = Counter()
    for label, statuses in sorted(counts.items()):
        requests = sum(statuses.values())
        good = sum(count for status, count in statuses.items() if status.startswith("2"))
        total.update(requests=requests, good=good)
        rest = " ".join(f"{status}:{count}" for status, count in sorted(statuses.items()))
        print(f"{label:<{width}} {requests:>6} {100 * good / requests:>4.0f} % 2xx  {rest}")
    print(f"{len(counts)} operations, {total['requests']} requests, {total['good']} of them answered with 2xx")
    return all(any(status.startswith("2") for status in statuses) for statuses in counts.values())


def main() -> None:
    binary, st, *more = sys.argv[1:]
    # What a commit is held to does not change from run to run; SEED=random looks for what no run has met.
    given = os.environ.get("SEED") or "1"
    number = secrets.randbelow(2**32) if given == "random" else int(given)
    with tempfile.TemporaryDirectory(prefix="sw-") as directory, Node(binary, directory) as node:
        url = endpoint()
        token = node.token("ann")
        state = Path(directory) / "state.json"
        counts = Path(directory) / "counts.json"
        seeds = seed(Client(node.api, token), url)
        state.write_text(json.dumps({"api": node.api, "token": token, "seeds": seeds, "counts": str(counts)}))
        print(f"seed {number}: SEED={number} tests/schemathesis/run.sh repeats this run", flush=True)
        env = os.environ | {
            "SW_STATE": str(state),
            "SCHEMATHESIS_HOOKS": "hooks",
            "PYTHONPATH": str(HERE),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        document = urllib.request.urlopen(f"{node.api}/api/openapi.json").read()
        (Path(directory) / "openapi.json").write_bytes(document)
        ended = subprocess.run(command(st, node.api, token, number, more), env=env, cwd=directory).returncode
        reached = json.loads(counts.read_text())
        faults = node.faults()
    all_succeeded = table(reached)
    for check, reason in LEFT_OUT.items():
        print(f"left out: {check}: {reason}")
    described = {f"{method.upper()} {path}" for path, item in json.loads(document)["paths"].items() for method in item if method != "parameters"}
    if (missing := described - reached.keys()) and not more:
        sys.exit(f"never called: {', '.join(sorted(missing))}")
    if faults:
        sys.exit("the node logged faults of its own:\n" + "\n".join(faults[:10]))
    if not all_succeeded:
        sys.exit("an operation never succeeded")
    if ended:
        sys.exit(f"schemathesis ended with {ended}")


main()
