"""Traffic in which things go wrong, so that no metric is looked at while it stands at 0 alone."""

import re
import signal
import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from stage import Account, Node, Receiver, Redis, eventually, fail

# Webhooks that lead to an address which only the first node may reach; each in a partition of its own, so that another node owns some.
PRIVATE = 16
EVENTS = 40


@contextmanager
def refusing_port() -> Iterator[int]:
    """A port that nobody else gets and that refuses connections."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


def failing_endpoints(account: Account, node: Node, receiver: Receiver, refused: int) -> None:
    """Webhooks that fail in every way that can be brought about from outside."""
    quick = {"retryAttempts": 2, "retryDelaySeconds": 1, "timeoutSeconds": 1}
    for url in (
        receiver.url("/ok/trouble"),
        receiver.url("/status/500"),
        receiver.url("/status/302"),
        receiver.url("/hang"),
        receiver.url("/garbage"),
        receiver.url("/ok/tls").replace("http:", "https:"),
        f"http://127.0.0.1:{refused}/",
        "http://no-such-host.invalid/",
    ):
        account.webhook(node, url, ["task.*"], **quick)
    for number in range(PRIVATE):
        account.webhook(node, receiver.url(f"/ok/private/{number}", host="127.0.0.2"), ["task.*"], retryAttempts=0)


def wrong_requests(account: Account, stranger: Account, nodes: list[Node]) -> None:
    """What publishers and users do wrong, and a duplicate."""
    node = nodes[0]
    event = {"id": "trouble-twice", "type": "task.created", "data": {}}
    expected = [
        (account, "POST", "/api/events", event, 202),
        (account, "POST", "/api/events", event, 202),
        (account, "POST", "/api/events", {**event, "data": {"other": 1}}, 409),
        (account, "POST", "/api/events", {"type": "no.such", "data": {}}, 400),
        (account, "POST", "/api/events", "{", 400),
        (stranger, "POST", "/api/events", event, 403),
        (account, "GET", f"/api/webhooks/wh_{'0' * 26}", None, 404),
        (account, "GET", "/api/no/such/route", None, 404),
        (account, "PUT", "/api/events", {}, 405),
    ]
    for who, method, path, body, status in expected:
        answered, answer = who.call(node, method, path, body)
        if answered != status:
            fail(f"{method} {path} {body} was answered with {answered} instead of {status}: {answer}")
    for node in nodes:
        account.must(node, "GET", "/api/webhooks")


def publish(account: Account, nodes: list[Node]) -> None:
    for number in range(EVENTS):
        account.must(nodes[number % len(nodes)], "POST", "/api/events", {"type": "task.created", "data": {"n": number}})


def outcomes_come(nodes: list[Node], outcomes: list[str]) -> None:
    """Waits until attempts have ended in each of these ways, on whichever node."""

    def missing() -> list[str]:
        text = "\n".join(node.metrics() for node in nodes)
        zeros = lambda outcome: text.count(f'attempts_total{{outcome="{outcome}"}} 0\n')
        return [outcome for outcome in outcomes if zeros(outcome) == len(nodes)]

    eventually(f"attempts end as {', '.join(outcomes)}", lambda: not missing())


def a_breaker_opens(nodes: list[Node]) -> None:
    """Waits until a webhook is paused because it does nothing but fail."""
    paused = r'salesos_webhooks_breakers\{state="paused"\} [1-9]'
    eventually("a breaker opens", lambda: any(re.search(paused, node.metrics()) for node in nodes))


def redis_hangs(account: Account, nodes: list[Node], redis: Redis) -> None:
    """Redis is stopped until every node has noticed, and publishing is refused meanwhile."""
    redis.signal(signal.SIGSTOP)
    try:
        for node in nodes:
            status, answer = account.call(node, "POST", "/api/events", {"type": "task.created", "data": {}, "id": uuid.uuid4().hex})
            if status != 503:
                fail(f"publishing while Redis hangs was answered with {status}: {answer}")
        for node in nodes:
            eventually(f"{node.name} is not ready", lambda: not node.is_ready())
    finally:
        redis.signal(signal.SIGCONT)
    for node in nodes:
        eventually(f"{node.name} is ready again", node.is_ready)
