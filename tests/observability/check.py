"""Starts a Redis, three nodes, a receiver and a Prometheus that scrapes every second; drives traffic with failures; then runs
every query of the dashboards and every condition of the alerts, lints them, and compares numbers. Ends with 1 if anything is
not as it should be.

Called by run.sh, with the paths of the binary and of the directory that holds prometheus and promtool."""

import contextlib
import math
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import counted
import lint
import promql
import spoil
import traces
import trouble
from stage import Account, Node, Process, Prometheus, Receiver, Redis, eventually, fail, new_secret

HERE = Path(__file__).parent
# How the dashboards are looked at: outside of Kubernetes, and with a namespace chosen.
WAYS = {
    "bare": {"namespace": ".*", "job": "webhooks", "instance": ".*"},
    "kubernetes": {"namespace": "crm", "job": ".*", "instance": ".*"},
}
# Steps of a query over the whole run, in seconds.
STEP = 1


class Checks:
    """The faults so far. Everything is looked at before the end."""

    def __init__(self) -> None:
        self.faults: list[str] = []

    def step(self, what: str, faults: list[str]) -> None:
        print(f"{'FAILED' if faults else 'ok':<7}{what}")
        self.faults += (f"{what}: {fault}" for fault in faults)

    def end(self) -> None:
        if self.faults:
            sys.exit("\n".join(["", *self.faults]))


def settings(secret: str, networks: str, collector: str) -> dict[str, str]:
    return {
        "SERVER__PORT": "0",
        "SERVER__MANAGEMENT_PORT": "0",
        "AUTH__JWT_SECRET": secret,
        "DELIVERY__ALLOWED_NETWORKS": networks,
        "API__RATE_LIMIT_PER_MINUTE": "1000000",
        # Each webhook in a partition of its own, so that every node has some.
        "CLUSTER__WEBHOOKS_PER_SHARD": "1",
        "CLUSTER__SHARDS_PER_TENANT": "64",
        "TELEMETRY__LOG_FORMAT": "json",
        # Only what comes with a traceparent is traced.
        "TELEMETRY__OTLP_ENDPOINT": collector,
        "TELEMETRY__OTLP_SAMPLE_RATIO": "0",
    }


class Stage:
    """All that runs. The first node may reach 127.0.0.2, the others may not."""

    def __init__(self, stack: contextlib.ExitStack, binary: str, tools: Path, directory: Path) -> None:
        self.stack, self.binary, self.directory = stack, binary, directory
        self.secret = new_secret()
        self.started = time.time()
        self.receiver = stack.enter_context(Receiver())
        self.collector = stack.enter_context(traces.Collector())
        self.redis = stack.enter_context(Redis(directory))
        self.prometheus = stack.enter_context(Prometheus(tools, directory, lint.ALERTS))
        self.nodes = [self.node(f"node-{number}") for number in (1, 2, 3)]
        self.known = list(self.nodes)
        self.prometheus.scrape_nodes(self.known)
        self.assembled(self.nodes)

    def node(self, name: str) -> Node:
        networks = "127.0.0.0/8" if name == "node-1" else "127.0.0.1/32"
        given = settings(self.secret, networks, self.collector.url)
        return self.stack.enter_context(Node(self.binary, name, self.redis, self.directory, given))

    def assembled(self, nodes: list[Node]) -> None:
        """Waits until they share all partitions and Prometheus knows them."""
        owned = lambda: [node.value("salesos_webhooks_partitions_owned") for node in nodes]
        share = lambda parts: sum(parts) == nodes[0].value("salesos_webhooks_partitions") and min(parts) >= sum(parts) // len(nodes)
        eventually("the nodes share the partitions", lambda: share(owned()))
        for node in nodes:
            up = f'up{{job="webhooks",instance="{node.instance}"}}'
            eventually(f"{node.name} is scraped", lambda: self.prometheus.number(up) == 1)

    def start_again(self, killed: Node) -> Node:
        """A new process in its place. What was scraped of the old one stays in Prometheus, as of another instance."""
        again = self.node(killed.name)
        self.nodes[self.nodes.index(killed)] = again
        self.known.append(again)
        self.prometheus.scrape_nodes(self.known)
        self.assembled(self.nodes)
        return again

    def account(self, user: str, organization: str, *more: str) -> Account:
        return Account(self.binary, self.secret, user, organization, *more)


def count(stage: Stage, checks: Checks) -> None:
    account = stage.account("counter", "counted", "--role", "service")
    nodes = list(stage.nodes)
    expected, victim = counted.drive(account, stage.prometheus, nodes, stage.receiver)
    again = lambda: stage.start_again(victim)
    faults = counted.check(account, stage.prometheus, nodes, expected, victim, again, stage.receiver)
    checks.step("the same numbers everywhere", faults)


def trace(stage: Stage, checks: Checks) -> None:
    account = stage.account("tracer", "traced", "--role", "service")
    faults = traces.check(account, stage.nodes, stage.receiver, stage.collector)
    checks.step("one trace over several nodes", faults)


def make_trouble(stage: Stage) -> None:
    account = stage.account("trouble", "troubled", "--role", "service")
    stranger = stage.account("stranger", "troubled", "--role", "user")
    with trouble.refusing_port() as refused:
        trouble.failing_endpoints(account, stage.nodes[0], stage.receiver, refused)
        trouble.wrong_requests(account, stranger, stage.nodes)
        trouble.publish(account, stage.nodes)
        trouble.redis_hangs(account, stage.nodes, stage.redis)
        outcomes = ["http_status", "timeout", "connect", "blocked_address", "redirect", "protocol"]
        trouble.outcomes_come(stage.nodes, outcomes)
        trouble.a_breaker_opens(stage.nodes)


def expositions(stage: Stage) -> list[str]:
    """What `promtool check metrics` says of each node."""
    said = ((node, stage.prometheus.tool("check", "metrics", text=node.metrics())) for node in stage.nodes)
    return [f"{node.name}: {fault}" for node, fault in said if fault]


def tool(stage: Stage, *arguments: str) -> list[str]:
    said = stage.prometheus.tool(*arguments)
    return [said] if said else []


def last_number(result: list[dict]) -> float | None:
    """The last value of any series that is a number."""
    values = ((float(at), float(value)) for series in result for at, value in series["values"] if not math.isnan(float(value)))
    return max(values, default=(0, None))[1]


def dashboard_queries(stage: Stage, files: lint.Files) -> Iterator[str]:
    """Runs every query over the whole run, in each way of looking; prints what came."""
    targets = files.targets()
    ours = {node.instance for node in stage.known}
    print(f"\n{'dashboard':<11}{'panel':<40}{'series':>6} {'last value':>12}  query")
    for target in targets:
        for way, variables in WAYS.items():
            query = promql.substitute(target.query, variables)
            result = stage.prometheus.series(query, stage.started, STEP)
            value = last_number(result)
            if way == "bare":
                shown = "nothing" if value is None else f"{value:.4g}"
                short = target.query.replace(lint.SELECTORS, "…").replace(lint.PREFIX, "")
                print(f"{target.dashboard:<11}{target.panel:<40}{len(result):>6} {shown:>12}  {short}")
            if value is None:
                yield f"{target.dashboard} / {target.panel} ({way}) shows nothing: {query}"
            foreign = {series["metric"].get("instance") for series in result} - ours - {None}
            if foreign:
                yield f"{target.dashboard} / {target.panel} ({way}) shows other programs: {foreign}"
    print()


def alert_operands(stage: Stage, files: lint.Files) -> Iterator[str]:
    """What every alert looks at has data, without a namespace and with one."""
    print(f"\n{'alert':<36}{'series':>6} {'last value':>12}  looked at")
    for rule in files.rules:
        name = rule.get("alert", rule.get("record"))
        for query in promql.operands(rule["expr"]):
            result = stage.prometheus.series(query, stage.started, STEP)
            value = last_number(result)
            shown = "nothing" if value is None else f"{value:.4g}"
            print(f"{name.removeprefix('SalesOSWebhooks'):<36}{len(result):>6} {shown:>12}  {query.replace(lint.PREFIX, '')}"[:200])
            if value is None:
                yield f"{name}: no data for {query}"
    print()


def rules_evaluate(stage: Stage) -> list[str]:
    """No rule failed, and no annotation either."""
    rules = [rule for group in stage.prometheus.get("rules")["groups"] for rule in group["rules"]]
    faults = [f"{rule['name']}: {rule['lastError']}" for rule in rules if rule["health"] != "ok"]
    alerts = stage.prometheus.get("alerts")["alerts"]
    texts = ((alert["labels"]["alertname"], text) for alert in alerts for text in alert["annotations"].values())
    return faults + [f"{name}: {text}" for name, text in texts if "error expanding" in text]


def variable_queries(stage: Stage, files: lint.Files) -> Iterator[str]:
    """Each variable offers what it should: all nodes under each job, and the namespace where there is one."""
    instances = {node.instance for node in stage.known}
    wanted = {"namespace": {"crm"}, "job": {"webhooks", "salesos-webhooks"}, "instance": instances}
    for name, variable in lint.variables(files):
        selector, label = lint.variable_query(variable)
        selector = promql.substitute(selector, dict.fromkeys(lint.VARIABLES, ".*"))
        values = set(stage.prometheus.get(f"label/{label}/values", **{"match[]": selector, "start": stage.started}))
        if values != wanted[label]:
            yield f"{name}: ${variable['name']} offers {sorted(values)} instead of {sorted(wanted[label])}"


def node_down_is_told(stage: Stage) -> list[str]:
    """The killed node's target is there still: its alert must be on its way."""
    alerts = stage.prometheus.get("alerts")["alerts"]
    names = {alert["labels"]["alertname"] for alert in alerts}
    return [] if "SalesOSWebhooksNodeDown" in names else [f"pending or firing are only {sorted(names)}"]


def run(stage: Stage, checks: Checks) -> None:
    files = lint.Files.read()
    config = stage.prometheus.config
    checks.step("promtool check config", tool(stage, "check", "config", str(config)))
    checks.step("promtool check rules", tool(stage, "check", "rules", str(lint.ALERTS)))
    checks.step("promtool test rules", tool(stage, "test", "rules", str(HERE / "alerts.test.yaml")))
    count(stage, checks)
    trace(stage, checks)
    make_trouble(stage)
    checks.step("promtool check metrics, on each node", expositions(stage))
    checks.step("every query of the dashboards has data", list(dashboard_queries(stage, files)))
    checks.step("what every alert looks at has data", list(alert_operands(stage, files)))
    checks.step("rules evaluate", rules_evaluate(stage))
    checks.step("the killed node is told", node_down_is_told(stage))
    checks.step("variables", list(variable_queries(stage, files)))
    exposition = stage.nodes[0].metrics()
    checks.step("dashboards, alerts, runbooks and metrics agree", lint.all_faults(files, exposition))
    checks.step("that check notices what is wrong", list(spoil.unnoticed(files, exposition)))


def main() -> None:
    # So that everything is ended in order then too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("FAILED: ended from outside"))
    checks = Checks()
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="sw-") as directory, contextlib.ExitStack() as stack:
        run(Stage(stack, sys.argv[1], Path(sys.argv[2]), Path(directory)), checks)
    print(f"{time.monotonic() - begun:.0f} s")
    checks.end()


main()
