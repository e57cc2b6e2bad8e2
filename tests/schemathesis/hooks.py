"""Lets generated requests reach something, and counts what they were answered.

A random id is almost never one that exists: all but a few are replaced with ids of webhooks, events and attempts that
do. What a schema cannot say is mended in requests that are meant to be good; each such rule is named in RULES."""

import atexit
import itertools
import json
import os
import threading
import time
import urllib.error
from collections import Counter, defaultdict
from datetime import datetime
from pathlib import Path

import schemathesis
from hypothesis import strategies as st
from schemathesis.core.parameters import ParameterLocation
from schemathesis.specs.openapi.checks import ensure_resource_availability, use_after_free

from stage import Client

STATE = json.loads(Path(os.environ["SW_STATE"]).read_text())
SEEDS = STATE["seeds"]
CLIENT = Client(STATE["api"], STATE["token"])

# One in so many ids and conditions stays as it was generated: what is unknown must be refused well, too.
LEFT_ALONE = 8
# Operations of an own webhook of this run, which they change or end.
CHANGING = {"updateWebhook", "deleteWebhook", "deactivateWebhook", "activateWebhook", "resetFailures", "regenerateSecret"}
# Operations that want more than a webhook that is there.
PARTICULAR = {"getDelivery", "retryDelivery", "beginRecovery", "getRecovery", "cancelRecovery"}
# One webhook of those is used so often before there is another.
USES = 10

counts: dict[str, Counter] = defaultdict(Counter)
numbers = itertools.count()
# They stay as they are: the lists show them to schemathesis, which would delete them.
protected: set[str] = set(SEEDS["good"]) | {SEEDS["dead"]}
known: set[str] = set(protected)
lock = threading.Lock()

# --- Strings that a pattern describes and a host, a calendar or a resolver decides on ---------------------------------

paths = st.text(alphabet="abcdefghijklmnopqrstuvwxyz0123456789-_/", max_size=20)
schemathesis.openapi.format("uri", paths.map(lambda path: f"{SEEDS['endpoint']}/ok/{path}"))
schemathesis.openapi.format(
    "date-time",
    st.builds(
        lambda at, ms, zone: f"{at:%Y-%m-%dT%H:%M:%S}.{ms:03}{zone}",
        st.datetimes(min_value=datetime(1971, 1, 1), max_value=datetime(2099, 1, 1)),
        st.integers(0, 999),
        st.sampled_from(["Z", "+02:00", "-07:30"]),
    ),
)


# --- What a schema cannot say -----------------------------------------------------------------------------------------


def until_after_since(body: dict) -> None:
    """`until` must be later than `since`."""
    body.pop("until", None)


def reachable_url(body: dict) -> None:
    """The host of a webhook resolves to addresses that may be sent to, and its port is none of other services."""
    if "url" in body and not str(body["url"]).startswith(SEEDS["endpoint"]):
        body["url"] = f"{SEEDS['endpoint']}/ok"


def distinct_headers(body: dict) -> None:
    """Names of own headers differ in more than case, and all of them have 8 KiB."""
    given, seen, size = body.get("headers"), set(), 0
    if not isinstance(given, dict):
        return
    for name, value in list(given.items()):
        size += len(name) + len(value)
        if name.lower() in seen or size > 8192:
            del given[name]
        seen.add(name.lower())


def bounded_filter(body: dict) -> None:
    """A filter has 32 conditions, 200 values, 8 KiB and five levels in all."""
    filter_ = body.get("filter")
    if filter_ is None:
        return
    text = json.dumps(filter_)
    if len(text) > 2000 or depth(filter_) > 4 or text.count(":") + text.count(",") > 30:
        body["filter"] = {"amount": {"gte": 1}}


def depth(value: object) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else []
    return 1 + max(map(depth, inner), default=0) if isinstance(value, (dict, list)) else 0


def one_organization(body: dict) -> None:
    """The events of a batch are of one organization."""
    for event in body.get("events", []):
        event.pop("organizationId", None)


RULES = {
    "beginRecovery": [until_after_since],
    "createWebhook": [reachable_url, distinct_headers, bounded_filter],
    "updateWebhook": [reachable_url, distinct_headers, bounded_filter],
    "testFilter": [bounded_filter],
    "publishBatch": [one_organization],
}


# --- Ids that exist ---------------------------------------------------------------------------------------------------


class Own:
    """A webhook for operations that change it."""

    def __init__(self) -> None:
        self.id, self.left = "", 0

    def next(self, uses: int) -> str:
        if self.left <= 0:
            self.id, self.left = CLIENT.webhook(f"{SEEDS['endpoint']}/ok", events=["lead.deleted"]), uses
            known.add(self.id)
        self.left -= 1
        return self.id


own = {name: Own() for name in CHANGING}


def webhook_for(operation: str, number: int) -> str:
    if operation in CHANGING:
        return own[operation].next(1 if operation == "deleteWebhook" else USES)
    if operation in ("beginRecovery", "cancelRecovery", "getRecovery"):
        if operation != "beginRecovery":
            begin_recovery()
        return SEEDS["dead"]
    return SEEDS["good"][number % len(SEEDS["good"])]


def begin_recovery() -> None:
    try:
        CLIENT.call("POST", f"/webhooks/{SEEDS['dead']}/recover", {"since": "2020-01-01T00:00:00Z"})
    except urllib.error.HTTPError:
        pass  # One is under way already.


class FailedAuthentications:
    """The service takes 60 of an address at once and one more each second: past them 401 becomes 429. This run stays below.

    No hook sees the two requests without a good token by which schemathesis tries each operation once; room is left for
    those of 24 operations."""

    MOST = 60 - 2 * 24

    def __init__(self) -> None:
        self.level, self.at = 0.0, time.monotonic()

    def drain(self) -> None:
        now = time.monotonic()
        self.level, self.at = max(0.0, self.level - (now - self.at)), now

    def add(self) -> None:
        self.drain()
        self.level += 1

    def wait(self) -> None:
        self.drain()
        if self.level > self.MOST:
            time.sleep(self.level - self.MOST)


failed_authentications = FailedAuthentications()


@schemathesis.hook
def before_call(context, case, kwargs) -> None:
    failed_authentications.wait()
    with lock:
        number = next(numbers)
    operation = case.operation.definition.raw.get("operationId")
    meta = case.meta
    if meta is None or getattr(meta.phase.data, "parameter", None) == "Authorization":
        # A request without a token, or with a bad one: to change it would put the good one back.
        return
    if not meta.is_negative_at(ParameterLocation.PATH):
        put_ids(case, operation, number)
    if not meta.is_negative_at(ParameterLocation.HEADER):
        put_condition(case, number)
    if not meta.is_negative_at(ParameterLocation.BODY) and isinstance(case.body, dict):
        for rule in RULES.get(operation, []):
            rule(case.body)
        put_new_names(case, number)


def put_ids(case, operation: str, number: int) -> None:
    given = case.path_parameters or {}
    if "id" not in given:
        return
    # Not every webhook has attempts and recoveries, and those that have them are not to be changed.
    is_of_use = given["id"] in known and operation not in PARTICULAR
    if operation in CHANGING and given["id"] in protected:
        is_of_use = False
    elif number % LEFT_ALONE == 0:
        is_of_use = True
    if is_of_use:
        return
    if case.path.startswith("/api/events"):
        case.path_parameters["id"] = SEEDS["events"][number % len(SEEDS["events"])]
        return
    webhook = webhook_for(operation, number)
    case.path_parameters["id"] = webhook
    if "attemptId" in given:
        rows = SEEDS["attempts"][webhook]
        case.path_parameters["attemptId"] = rows[number % len(rows)]


def put_condition(case, number: int) -> None:
    """Any text is a good If-Match to the schema, and no version to the service."""
    for name in [name for name in case.headers or {} if name.lower() == "if-match"]:
        if number % LEFT_ALONE:
            del case.headers[name]


def put_new_names(case, number: int) -> None:
    """The ids and keys of the examples stand for one event each: with other data they are refused, and rightly."""
    if number % LEFT_ALONE == 0:
        return
    for index, event in enumerate([case.body, *case.body.get("events", [])]):
        if isinstance(event, dict) and "data" in event and isinstance(event.get("id"), str):
            event["id"] = f"{event['id'][:40]}-{number}-{index}"
    for name in [name for name in case.headers or {} if name.lower() == "idempotency-key"]:
        case.headers[name] = f"{case.headers[name][:200]}-{number}"


@schemathesis.check
def use_after_deletion(ctx, response, case) -> bool | None:
    """As schemathesis has it, but for recoveries: GET on the same path goes on telling how the last one ended."""
    return None if case.operation.path.endswith("/recover") else use_after_free(ctx, response, case)


@schemathesis.check
def availability_after_creation(ctx, response, case) -> bool | None:
    """As schemathesis has it, but for recoveries: a webhook that was just created has none."""
    return None if case.operation.path.endswith("/recover") else ensure_resource_availability(ctx, response, case)


@schemathesis.hook
def after_call(context, case, response) -> None:
    label = case.operation.label
    with lock:
        if response.status_code == 401:
            failed_authentications.add()
        counts[label][response.status_code] += 1
        if case.operation.definition.raw.get("operationId") in ("createWebhook", "publishEvent") and response.status_code in (201, 202):
            known.add(response.json()["id"])
        if sum(counts[label].values()) % 20 == 1:
            write()


def write() -> None:
    text = json.dumps({label: dict(statuses) for label, statuses in counts.items()})
    Path(STATE["counts"]).write_text(text)


atexit.register(write)
