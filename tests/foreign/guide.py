"""Takes the programs out of docs/receivers.md, and those that the dashboard shows (src/dashboard/snippets), and runs each against
deliveries of a real node, and against requests that are forged, stale or broken in every way. Ends with 1 unless each says what
is promised.

Called by run.sh, with the path of the binary, the directory of the tools, and the languages of the guide to run."""

import base64
import hashlib
import hmac
import http.client
import json
import os
import queue
import re
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from stage import DEADLINE, Api, Process, node

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
GUIDE = ROOT / "docs/receivers.md"
SHOWN = ROOT / "src/dashboard/snippets"
# Blocks of these languages are programs: each has a name, and is run.
LANGUAGES = {"js", "python", "rust", "toml", "go", "java", "sql"}
TOLERANCE = 300
# Further than any machine is slow.
MARGIN = 60
# The libraries say 400, a program that looks itself 413, and one that takes it for no body 401.
REFUSALS = {400, 401, 413}
# Secrets that somebody chooses: the shortest and the longest, and each way that base64 can end; bytes of all bits, so that + and / occur.
CHOSEN = {length: "whsec_" + base64.b64encode(bytes([251, 255, 191] * 22)[:length]).decode() for length in (24, 25, 26, 64)}
LENGTHS = {"a length below zero": "-1", "a length in words": "ten", "a length without end": "9" * 5000}

Headers = dict[str, str]


@dataclass(frozen=True)
class Program:
    """One program of the guide."""

    file: str
    language: str
    command: list[str]
    signature: str = "webhook-signature"
    # What its server does itself with a length that is none, where it gives no answer.
    hangs_up: str = ""

    @property
    def is_legacy(self) -> bool:
        return self.signature == "x-webhook-signature"


PROGRAMS = [
    Program("receiver.js", "js", ["node", "receiver.js"]),
    Program("express.js", "js", ["node", "express.js"]),
    Program("legacy.js", "js", ["node", str(HERE / "guide/legacy_server.js")], "x-webhook-signature"),
    Program("receiver.py", "python", [sys.executable, "receiver.py"]),
    Program("legacy.py", "python", [sys.executable, str(HERE / "guide/legacy_server.py")], "x-webhook-signature"),
    Program("verify.rs", "rust", ["rust/target/debug/receiver"]),
    Program("receiver.go", "go", ["./receiver-go"]),
    Program("Receiver.java", "java", ["java", "Receiver.java"]),
]

# What the dashboard shows, in each of its languages.
SNIPPETS = [
    Program("webhook.mjs", "js", ["node", "webhook.mjs"]),
    Program("webhook.py", "python", [sys.executable, "webhook.py"]),
    Program("webhook.php", "php", [sys.executable, str(HERE / "guide/php_server.py"), "webhook.php"], hangs_up="RemoteDisconnected"),
]
# As src/dashboard/snippets.rs fills them in for a webhook with a header of its own; its tests compare.
FILLED_IN = {
    "id_header": "webhook-id",
    "timestamp_header": "webhook-timestamp",
    "signature_header": "webhook-signature",
    "hex_signature_header": "x-webhook-signature",
    "own_headers": "This webhook also sends headers of its own, which are not signed: X-Team.",
}


def blocks(text: str) -> dict[str, str]:
    """The programs of the guide by name. A block of code without a name would go untested: that is a fault."""
    found: dict[str, str] = {}
    fence = re.compile(r"^(?:<!-- file: (\S+) -->\n)?```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
    for name, language, code in fence.findall(text):
        if language in LANGUAGES and not name:
            sys.exit(f"{GUIDE}: a block of {language} has no `<!-- file: NAME -->` above it, so nothing runs it:\n{code}")
        if name in found:
            sys.exit(f"{GUIDE}: two blocks are called {name}")
        if name:
            found[name] = code
    known = {program.file for program in PROGRAMS} | {"Cargo.toml", "deduplicate.sql"}
    if found.keys() != known:
        sys.exit(f"{GUIDE}: blocks and checks differ: {sorted(found.keys() ^ known)}")
    return found


def shown(file: str) -> str:
    """A program of the dashboard, filled in. One that nothing runs is a fault."""
    if {path.name for path in SHOWN.iterdir()} != {program.file for program in SNIPPETS}:
        sys.exit(f"{SHOWN}: files and checks differ")
    code = (SHOWN / file).read_text()
    for name, value in FILLED_IN.items():
        code = code.replace("{{" + name + "}}", value)
    if "{{" in code:
        sys.exit(f"{SHOWN / file}: something is not filled in")
    return code


def build(programs: list[Program], code: dict[str, str], directory: Path) -> None:
    """Writes every program down, and compiles those that need it."""
    for name, text in code.items():
        (directory / name).write_text(text)
    languages = {program.language for program in programs}
    if "rust" in languages:
        build_rust(code, directory / "rust")
    if "go" in languages:
        subprocess.run(["go", "build", "-o", "receiver-go", "receiver.go"], cwd=directory, check=True)


def build_rust(code: dict[str, str], crate: Path) -> None:
    """With the very versions that the service itself is built with, which are here already."""
    (crate / "src").mkdir(parents=True, exist_ok=True)
    head = '[package]\nname = "receiver"\nversion = "0.0.0"\nedition = "2024"\n\n[workspace]\n\n'
    (crate / "Cargo.toml").write_text(f'{head}{code["Cargo.toml"]}http = "1"\n')
    (crate / "src/verify.rs").write_text(code["verify.rs"])
    shutil.copy(HERE / "guide/main.rs", crate / "src/main.rs")
    shutil.copy(ROOT / "Cargo.lock", crate / "Cargo.lock")
    env = os.environ | {"CARGO_TARGET_DIR": str(crate / "target")}
    subprocess.run(["cargo", "build", "--quiet", "--offline"], cwd=crate, env=env, check=True)


@dataclass
class Request:
    """A request as a receiver got it; names of headers in lower case."""

    headers: Headers
    body: bytes

    def having(self, **changed: str | None) -> "Request":
        """With other headers; `None` takes one away."""
        headers = self.headers | {name.replace("_", "-"): value for name, value in changed.items()}
        return Request({name: value for name, value in headers.items() if value is not None}, self.body)

    def at(self, secret: str, timestamp: str) -> "Request":
        """Signed anew, at another time."""
        entry = standard(secret, self.headers["webhook-id"], timestamp, self.body)
        return self.having(webhook_timestamp=timestamp, webhook_signature=entry)


def standard(secret: str, event_id: str, timestamp: str, body: bytes) -> str:
    """One entry of `webhook-signature`."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = f"{event_id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()


def legacy(secret: str, body: bytes) -> str:
    """`x-webhook-signature`."""
    return hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


class Capture:
    """An endpoint that keeps what it gets."""

    def __init__(self) -> None:
        requests: queue.Queue[Request] = queue.Queue()

        class Endpoint(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                requests.put(Request({name.lower(): value for name, value in self.headers.items()}, body))
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.requests = requests
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Endpoint)
        self.url = f"http://127.0.0.1:{self.server.server_port}/"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@dataclass
class Webhook:
    """A webhook of the node, and what it said of its deliveries."""

    api: Api
    id: str
    secret: str
    data: dict = field(default_factory=lambda: {"name": "Zoë 😀", "n": [1, 2.5, None]})

    def leads_to(self, url: str) -> None:
        self.api.call("PATCH", f"/api/webhooks/{self.id}", json.dumps({"url": url}))

    def renew_secret(self, grace_seconds: int, chosen: str | None = None) -> str:
        own = {"secret": chosen} if chosen else {}
        body = json.dumps({"gracePeriodSeconds": grace_seconds} | own)
        return self.api.post(f"/api/webhooks/{self.id}/regenerate-secret", body)["secret"]

    def publish(self, data: dict | None = None) -> str:
        body = json.dumps({"type": "lead.created", "data": data or self.data}, ensure_ascii=False)
        return self.api.post("/api/events", body)["id"]

    def status_of(self, event: str) -> int | None:
        """What the endpoint answered, once the log knows."""
        end = time.monotonic() + DEADLINE
        while time.monotonic() < end:
            rows = self.api.call("GET", f"/api/webhooks/{self.id}/deliveries?eventId={event}")["logs"]
            if rows:
                return rows[0]["statusCode"]
            time.sleep(0.02)
        sys.exit(f"no attempt of {event} is in the log")

    def test(self) -> int | None:
        """What the endpoint answers to a test of the webhook."""
        return self.api.post(f"/api/webhooks/{self.id}/test", '{"event":"lead.created"}')["statusCode"]

    def deliver(self, data: dict | None = None) -> int | None:
        return self.status_of(self.publish(data))


class Running(Process):
    """A program of the guide that serves."""

    def __init__(self, program: Program, secret: str, directory: Path) -> None:
        env = os.environ | {"WEBHOOK_SECRET": secret, "PORT": "0"}
        super().__init__(program.command, cwd=directory, env=env, stderr=subprocess.DEVNULL)
        self.port = int(self.line().removeprefix("listening on "))
        self.url = f"http://127.0.0.1:{self.port}/"

    def answer(self, request: Request, length: str | None = None) -> int | str:
        """The status, or why there was none. `length` is announced in the place of the true one."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE)
        try:
            connection.putrequest("POST", "/", skip_accept_encoding=True)
            for name, value in request.headers.items():
                if name.lower() not in ("host", "content-length"):
                    connection.putheader(name, value.encode())
            connection.putheader("content-length", length or str(len(request.body)))
            connection.endheaders(request.body)
            return connection.getresponse().status
        except (http.client.HTTPException, OSError) as error:
            return repr(error)
        finally:
            connection.close()


def cases(secret: str, other: str, good: Request) -> dict[str, tuple[Request, int]]:
    """Requests with a Standard Webhooks signature, each with the answer that it must get."""
    now = int(good.headers["webhook-timestamp"])
    event_id, entry = good.headers["webhook-id"], good.headers["webhook-signature"]
    wrong = standard(other, event_id, str(now), good.body)

    def signed(value: str) -> Request:
        return good.having(webhook_signature=value)

    taken = {
        "as it came": good,
        "names in capitals": Request({name.upper(): value for name, value in good.headers.items()}, good.body),
        "names In-Title-Case": Request({name.title(): value for name, value in good.headers.items()}, good.body),
        "a little old": good.at(secret, str(now - TOLERANCE + MARGIN)),
        "a little early": good.at(secret, str(now + TOLERANCE - MARGIN)),
        "first of two": signed(f"{entry} {wrong}"),
        "second of two": signed(f"{wrong} {entry}"),
        "behind v1a": signed(f"v1a,AAAA {entry}"),
        "before another version": signed(f"{entry} v2,AAAA"),
        "behind junk": signed(f"v1,!!!! , v1 v1, {entry}"),
        "last of twenty": signed(" ".join([wrong] * 19 + [entry])),
    }
    refused = {
        "another secret": signed(wrong),
        "another secret, twice": signed(f"{wrong} {wrong}"),
        "a changed body": Request(good.headers, good.body.replace(b"Zo", b"Xo")),
        "a longer body": Request(good.headers, good.body + b" "),
        "no body": Request(good.headers, b""),
        "another id": good.having(webhook_id="evt_other"),
        "another timestamp": good.having(webhook_timestamp=str(now + 1)),
        "too old": good.at(secret, str(now - TOLERANCE - MARGIN)),
        "too early": good.at(secret, str(now + TOLERANCE + MARGIN)),
        "a timestamp in words": good.at(secret, "now"),
        "a timestamp below zero": good.at(secret, f"-{now}"),
        "a timestamp in milliseconds": good.at(secret, f"{now}000"),
        "a timestamp without end": good.at(secret, "9" * 5000),
        "no id": good.having(webhook_id=None),
        "no timestamp": good.having(webhook_timestamp=None),
        "no signature": good.having(webhook_signature=None),
        "no header at all": Request({"content-type": "application/json"}, good.body),
        "an empty id": good.having(webhook_id=""),
        "an empty signature": signed(""),
        "an empty v1": signed("v1,"),
        "v1 alone": signed("v1"),
        "a comma": signed(","),
        "junk for base64": signed("v1,!!!!"),
        "half of it": signed(entry[: len(entry) // 2]),
        "without its version": signed(entry.removeprefix("v1,")),
        "as v1a": signed(entry.replace("v1,", "v1a,")),
        "as v2": signed(entry.replace("v1,", "v2,")),
        "in lower case": signed(entry.lower()),
        "letters outside of ASCII": signed("v1,Zoë"),
        "the hex signature": signed(good.headers["x-webhook-signature"]),
    }
    return {name: (case, 204) for name, case in taken.items()} | {name: (case, 401) for name, case in refused.items()}


def legacy_cases(secret: str, other: str, good: Request) -> dict[str, tuple[Request, int]]:
    """As `cases`, of the older signature."""

    def signed(value: str | None) -> tuple[Request, int]:
        return good.having(x_webhook_signature=value), 401

    signature = good.headers["x-webhook-signature"]
    return {
        "as it came": (good, 204),
        "names in capitals": (Request({name.upper(): value for name, value in good.headers.items()}, good.body), 204),
        "another secret": signed(legacy(other, good.body)),
        "the key without whsec_": signed(legacy(secret.removeprefix("whsec_"), good.body)),
        "a changed body": (Request(good.headers, good.body.replace(b"Zo", b"Xo")), 401),
        "a longer body": (Request(good.headers, good.body + b" "), 401),
        "no signature": signed(None),
        "an empty signature": signed(""),
        "half of it": signed(signature[:32]),
        "letters outside of ASCII": signed("é" * 32),
        "the standard signature": signed(good.headers["webhook-signature"]),
    }


def check(program: Program, api: Api, capture: Capture, directory: Path) -> dict[str, str]:
    """What the program said in each case, `ok` where that is what it must say."""
    said: dict[str, str] = {}

    def expect(case: str, answer: int | str | None, status: int) -> None:
        said[case] = "ok" if answer == status else f"{answer} instead of {status}"

    made = {"name": program.file, "url": capture.url, "events": ["lead.*"], "retryAttempts": 0}
    created = api.post("/api/webhooks", json.dumps(made))
    webhook = Webhook(api, created["id"], created["secret"])
    webhook.deliver()
    good = capture.requests.get(timeout=DEADLINE)
    first, other = webhook.secret, "whsec_" + base64.b64encode(bytes(32)).decode()
    # What the cases are made with signs as the service does, or they would prove nothing.
    same = standard(first, good.headers["webhook-id"], good.headers["webhook-timestamp"], good.body)
    assert same == good.headers["webhook-signature"], "the driver signs otherwise"
    assert legacy(first, good.body) == good.headers["x-webhook-signature"], "the driver signs otherwise"

    former = 401 if program.is_legacy else 204
    with Running(program, first, directory) as running:
        webhook.leads_to(running.url)
        expect("delivered", webhook.deliver(), 204)
        expect("tested", webhook.test(), 204)
        expect("delivered, 200 KB", webhook.deliver({"name": "x" * 200_000}), 204)
        make = legacy_cases if program.is_legacy else cases
        for case, (request, status) in make(first, other, good).items():
            expect(case, running.answer(request), status)
        if not program.is_legacy:
            # It may refuse before it has read all, so that the answer is lost; what counts is that it lives.
            running.answer(Request(good.headers, b"x" * (3 << 20)))
            expect("as it came, after 3 MB", running.answer(good), 204)
            for case, length in LENGTHS.items():
                answer = running.answer(good, length)
                refused = answer in REFUSALS or (program.hangs_up and str(answer).startswith(program.hangs_up))
                said[case] = "ok" if refused else f"{answer} instead of a refusal"
            expect("as it came, after such lengths", running.answer(good), 204)
        second = webhook.renew_secret(3600)
        expect("overlap, former secret", webhook.deliver(), former)
    with Running(program, second, directory) as running:
        webhook.leads_to(running.url)
        expect("overlap, new secret", webhook.deliver(), 204)
        webhook.renew_secret(0)
        expect("after the overlap", webhook.deliver(), 401)
    for length, chosen in CHOSEN.items():
        with Running(program, webhook.renew_secret(0, chosen), directory) as running:
            webhook.leads_to(running.url)
            expect(f"a chosen secret of {length} bytes", webhook.deliver(), 204)
    if not program.is_legacy:
        for name, nothing in (("no secret", ""), ("an empty secret", "whsec_"), ("junk for a secret", "whsec_" + "!" * 44)):
            with Running(program, nothing, directory) as running:
                expect(name, running.answer(good.at(nothing, str(int(time.time())))), 401)
    return said


def check_sql(code: str) -> None:
    """The guide's de-duplication, in a database that takes the same SQL as PostgreSQL there."""
    table, insert = code.strip().split("\n\n")
    database = sqlite3.connect(":memory:")
    database.execute(table)
    statement = insert.replace("$1", "?1").replace("$2", "?2")
    counts = [database.execute(statement, (event, "{}")).rowcount for event in ("evt_1", "evt_1", "evt_2")]
    if counts != [1, 0, 1]:
        sys.exit(f"deduplicate.sql: rows written: {counts}")


def show(place: Path, table: dict[str, dict[str, str]]) -> bool:
    """Prints what was said by the programs of a place, a line a case; whether all is well."""
    names = list(dict.fromkeys(case for said in table.values() for case in said))
    width = max(map(len, names))
    print(" " * width, *(f"{file:>14}" for file in table))
    for case in names:
        print(f"{case:<{width}}", *(f"{said.get(case, '')[:14]:>14}" for said in table.values()))
    wrong = [(file, case, word) for file, said in table.items() for case, word in said.items() if word != "ok"]
    for file, case, word in wrong:
        print(f"{file}: {case}: {word}", file=sys.stderr)
    print(f"{place.relative_to(ROOT)}: {sum(map(len, table.values()))} checks of {len(table)} programs, {len(wrong)} failed")
    return not wrong


def main() -> None:
    binary, tools, *languages = sys.argv[1:]
    directory = Path(tools) / "guide"
    directory.mkdir(parents=True, exist_ok=True)
    code = blocks(GUIDE.read_text()) | {program.file: shown(program.file) for program in SNIPPETS}
    programs = [program for program in PROGRAMS if program.language in languages]
    build(programs, code, directory)
    check_sql(code["deduplicate.sql"])
    capture = Capture()
    with node(binary) as api:
        guide, snippets = (
            {program.file: check(program, api, capture, directory) for program in group} for group in (programs, SNIPPETS)
        )
    if not guide or not all([show(GUIDE, guide), show(SHOWN, snippets)]):
        sys.exit("a program does not keep what is promised")


main()
