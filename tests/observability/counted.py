"""5,000 events with failures on three nodes, one of them killed on the way: every place that tells numbers must tell the same.

What comes of a delivery depends on its event and its attempt alone (see Receiver), so the numbers are known beforehand. An attempt
that was under way when its node died is made again and recorded once, by the next owner."""

import http.client
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from stage import Account, Node, Prometheus, Receiver, eventually, fail

EVENTS = 5000
BATCH = 50
# Events that may be published and not yet have arrived.
AHEAD = 1000
# The kill is when so many have arrived.
KILL_AT = EVENTS // 3
LOG_PAGE = 100
# So few at once that the breaker does not take the endpoint for dead.
SLOW = {"retryDelaySeconds": 1, "timeoutSeconds": 1, "maxConcurrency": 6}
TYPES = ["lead.created", "opportunity.won", "contact.created"]


def event_type(number: int) -> str:
    """Every 25th event is for the slow endpoint, the others alternate."""
    return TYPES[2] if number % 25 == 0 else TYPES[number % 2]


@dataclass
class Expected:
    """What must come of a webhook's events."""

    webhook: str
    path: str
    deliveries: int
    dead: int
    retries: int

    @property
    def failures(self) -> int:
        return self.dead + self.retries

    @property
    def successes(self) -> int:
        return self.deliveries - self.dead


# Events that were taken; attempts that succeeded and failed; deliveries that were delivered, that are dead, and all of them.
Numbers = dict[str, int]
COLUMNS = ["events", "successes", "failures", "delivered", "dead", "enqueued"]


def make_webhooks(account: Account, node: Node, receiver: Receiver) -> list[Expected]:
    """One webhook for each way to answer, each in a partition of its own."""
    numbers = range(EVENTS)
    plan = [
        ("/ok", "lead.*", {}, lambda n: 0, lambda n: 0),
        ("/ok/2", "*", {}, lambda n: 0, lambda n: 0),
        ("/flaky", "lead.*", {"retryDelaySeconds": 1}, lambda n: 0, lambda n: n % 3 == 0),
        ("/dead", "opportunity.*", {"retryAttempts": 0}, lambda n: n % 5 == 0, lambda n: 0),
        ("/slow", "contact.*", SLOW, lambda n: 0, lambda n: n % 100 == 0),
    ]
    expected = []
    for path, events, settings, dies, is_retried in plan:
        matching = [n for n in numbers if events == "*" or event_type(n).startswith(events.rstrip("*"))]
        webhook = account.webhook(node, receiver.url(path), [events], **settings)
        expected.append(Expected(webhook, path, len(matching), sum(map(dies, matching)), sum(map(is_retried, matching))))
    return expected


class Run:
    """The events, published over all nodes, a bounded number ahead of the receiver."""

    def __init__(self, account: Account, nodes: list[Node], receiver: Receiver) -> None:
        self.account, self.nodes, self.receiver = account, list(nodes), receiver
        self.lock = threading.Lock()

    def publish(self) -> None:
        for first in range(0, EVENTS, BATCH):
            eventually("the receiver keeps up", lambda: self.receiver.unique("/ok/2") >= first - AHEAD)
            self.publish_batch(range(first, first + BATCH))

    def publish_batch(self, numbers: range) -> None:
        """On the next node; on another one if that dies meanwhile. Ids make it safe to repeat."""
        events = [{"id": f"counted-{n}", "type": event_type(n), "data": {"n": n}} for n in numbers]

        def once() -> bool:
            with self.lock:
                node = self.nodes[numbers.start // BATCH % len(self.nodes)]
            try:
                self.account.must(node, "POST", "/api/events/batch", {"events": events})
            except (OSError, http.client.HTTPException):
                return False
            return True

        eventually("a batch is taken", once)

    def without(self, node: Node) -> None:
        with self.lock:
            self.nodes.remove(node)


def kill_on_the_way(run: Run, prometheus: Prometheus, nodes: list[Node], receiver: Receiver) -> Node:
    """`kill -9` of the node that has made most attempts, right after a scrape of it."""
    eventually("a third has arrived", lambda: receiver.unique("/ok/2") >= KILL_AT)
    victim = max(nodes, key=lambda node: node.value("salesos_webhooks_attempts_total"))
    scraped = lambda: prometheus.number(f'timestamp(up{{job="webhooks",instance="{victim.instance}"}})')
    before = scraped()
    eventually("the node is scraped once more", lambda: scraped() != before)
    run.without(victim)
    victim.kill()
    return victim


def drive(account: Account, prometheus: Prometheus, nodes: list[Node], receiver: Receiver) -> tuple[list[Expected], Node]:
    """Everything until the last delivery has ended; gives what must have come of it, and the killed node."""
    expected = make_webhooks(account, nodes[0], receiver)
    run = Run(account, nodes, receiver)
    with ThreadPoolExecutor(1) as pool:
        publishing = pool.submit(run.publish)
        victim = kill_on_the_way(run, prometheus, nodes, receiver)
        publishing.result()
    survivor = run.nodes[0]
    ended = sum(each.deliveries for each in expected)

    def all_ended() -> bool:
        deliveries = account.must(survivor, "GET", "/api/webhooks/stats")["deliveries"]
        return deliveries["pending"] == 0 and deliveries["successful"] + deliveries["failed"] >= ended

    eventually("every delivery ends", all_ended, within=120)
    return expected, victim


def planned(expected: list[Expected]) -> Numbers:
    total = lambda of: sum(map(of, expected))
    return {
        "events": EVENTS,
        "successes": total(lambda each: each.successes),
        "failures": total(lambda each: each.failures),
        "delivered": total(lambda each: each.deliveries - each.dead),
        "dead": total(lambda each: each.dead),
        "enqueued": total(lambda each: each.deliveries),
    }


def in_log(account: Account, node: Node, expected: list[Expected]) -> Numbers:
    """By reading every row of every webhook's log."""
    numbers, every_event = dict.fromkeys(COLUMNS, 0), set()
    for each in expected:
        events = set()
        for row in log_rows(account, node, each.webhook):
            events.add(row["eventId"])
            numbers["successes" if row["success"] else "failures"] += 1
            if row["success"]:
                numbers["delivered"] += 1
            elif row["nextRetryAt"] is None:
                numbers["dead"] += 1
        numbers["enqueued"] += len(events)
        every_event |= events
    return numbers | {"events": len(every_event)}


def log_rows(account: Account, node: Node, webhook: str) -> list[dict[str, Any]]:
    rows, page = [], 1
    while True:
        answer = account.must(node, "GET", f"/api/webhooks/{webhook}/deliveries?page={page}&limit={LOG_PAGE}")
        rows += answer["logs"]
        if page >= answer["pagination"]["totalPages"]:
            return rows
        page += 1


def in_webhooks(account: Account, node: Node, expected: list[Expected]) -> Numbers:
    """The counters that a webhook shows. They count attempts."""
    shown = [account.must(node, "GET", f"/api/webhooks/{each.webhook}") for each in expected]
    if any(webhook["deliveryCount"] != webhook["successCount"] + webhook["failureCount"] for webhook in shown):
        fail(f"deliveryCount is not successCount + failureCount: {shown}")
    return {
        "successes": sum(webhook["successCount"] for webhook in shown),
        "failures": sum(webhook["failureCount"] for webhook in shown),
    }


def in_statistics(account: Account, node: Node) -> Numbers:
    """GET /api/webhooks/stats, whose parts must agree among themselves."""
    stats = account.must(node, "GET", "/api/webhooks/stats")
    parts = {name: attempts(stats[name].values() if name == "byEvent" else stats[name]) for name in ("byEvent", "byWebhook", "timeline")}
    if len(set(parts.values())) != 1 or stats["deliveriesLast24h"] != sum(parts["timeline"]):
        fail(f"the parts of the statistics disagree: {parts}, deliveriesLast24h {stats['deliveriesLast24h']}")
    successes, failures = parts["timeline"]
    deliveries = stats["deliveries"]
    ended = {"delivered": deliveries["successful"], "dead": deliveries["failed"], "enqueued": deliveries["total"]}
    return {"successes": successes, "failures": failures, **ended}


def in_statistics_of_webhooks(account: Account, node: Node, expected: list[Expected]) -> Numbers:
    """GET /api/webhooks/{id}/stats, over all webhooks."""
    stats = [account.must(node, "GET", f"/api/webhooks/{each.webhook}/stats") for each in expected]
    successes, failures = attempts(entry for each in stats for entry in each["byEvent"].values())
    of = lambda name: sum(each["deliveries"][name] for each in stats)
    ended = {"delivered": of("successful"), "dead": of("failed"), "enqueued": of("total")}
    return {"successes": successes, "failures": failures, **ended}


def attempts(entries: Any) -> tuple[int, int]:
    entries = list(entries)
    return sum(entry["successful"] for entry in entries), sum(entry["failed"] for entry in entries)


QUERIES = {
    "events": 'salesos_webhooks_events_published_total{result="new"%s}',
    "successes": 'salesos_webhooks_attempts_total{outcome="success"%s}',
    "failures": 'salesos_webhooks_attempts_total{outcome!="success"%s}',
    "delivered": 'salesos_webhooks_deliveries_ended_total{result="delivered"%s}',
    "dead": 'salesos_webhooks_deliveries_ended_total{result="dead"%s}',
    "enqueued": 'salesos_webhooks_deliveries_enqueued_total{instance!=""%s}',
}
JOB = ',job="webhooks"'


def in_prometheus(prometheus: Prometheus) -> Numbers:
    """The last value of every instance: the killed one's is of its last scrape. Counters never go down within a process."""
    query = "sum(max_over_time(%s[10m]))"
    return {name: int(prometheus.number(query % (series % JOB)) or 0) for name, series in QUERIES.items()}


def most_in_an_interval(prometheus: Prometheus, victim: Node) -> Numbers:
    """The most that the killed node recorded between two scrapes."""
    most = {}
    for name, series in QUERIES.items():
        selector = series % f'{JOB},instance="{victim.instance}"'
        samples: dict[float, float] = {}
        for each in prometheus.vector(f"{selector}[10m]"):
            for at, value in each["values"]:
                samples[at] = samples.get(at, 0) + float(value)
        values = [value for _, value in sorted(samples.items())]
        most[name] = int(max((b - a for a, b in zip(values, values[1:])), default=0))
    return most


def check(
    account: Account,
    prometheus: Prometheus,
    nodes: list[Node],
    expected: list[Expected],
    victim: Node,
    start_again: Any,
    receiver: Receiver,
) -> list[str]:
    """The numbers of every place as a table; gives faults. The killed node is started again in between."""
    survivors = [node for node in nodes if node is not victim]
    # Prometheus has everything after one more scrape of each survivor.
    settled(prometheus, survivors)
    from_prometheus, most = in_prometheus(prometheus), most_in_an_interval(prometheus, victim)
    table = {
        "planned": planned(expected),
        "delivery log, every row": in_log(account, survivors[0], expected),
        "counters of the webhooks": in_webhooks(account, survivors[1], expected),
        "statistics of each webhook": in_statistics_of_webhooks(account, survivors[1], expected),
        **{f"statistics, asked of {node.name}": in_statistics(account, node) for node in survivors},
    }
    again = start_again()
    table[f"statistics, asked of {again.name}, new"] = in_statistics(account, again)
    table["Prometheus, last value of each"] = from_prometheus
    show(table, most, victim, receiver)
    return list(faults(table, from_prometheus, most))


def settled(prometheus: Prometheus, nodes: list[Node]) -> None:
    """Waits until Prometheus has what each node says now."""
    for node in nodes:
        for series in QUERIES.values():
            name = series.split("{")[0]
            stored = f'sum({name}{{job="webhooks",instance="{node.instance}"}})'
            eventually(f"{node.name} is scraped", lambda: prometheus.number(stored) == node.value(name), within=20)


def faults(table: dict[str, Numbers], prometheus: Numbers, most: Numbers) -> Any:
    right = table["planned"]
    for place, numbers in table.items():
        for name, value in numbers.items():
            if numbers is prometheus and not 0 <= right[name] - value <= most[name]:
                yield f"{place}: {name} is {value}, must be within {most[name]} below {right[name]}"
            if numbers is not prometheus and value != right[name]:
                yield f"{place}: {name} is {value}, must be {right[name]}"


def show(table: dict[str, Numbers], most: Numbers, victim: Node, receiver: Receiver) -> None:
    print(f"\n{EVENTS} events on three nodes, {victim.name} killed on the way")
    width = max(map(len, table))
    print(" " * width, *(f"{column:>10}" for column in COLUMNS))
    for place, numbers in table.items():
        print(f"{place:<{width}}", *(f"{numbers.get(column, ''):>10}" for column in COLUMNS))
    right, told = table["planned"], table["Prometheus, last value of each"]
    print(f"{'  lower by':<{width}}", *(f"{right[column] - told[column]:>10}" for column in COLUMNS))
    print(f"{'  allowed: most in one scrape':<{width}}", *(f"{most[column]:>10}" for column in COLUMNS))
    arrived = sum(receiver.requests.values())
    print(f"requests that arrived: {arrived}, {arrived - right['successes'] - right['failures']} of them made again after the kill")
