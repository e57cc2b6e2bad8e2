#!/usr/bin/env python3
"""The Grafana dashboards, as tables of panels. This is their source: change it here, never the JSON.

`charts/dashboards.py` writes salesos-webhooks/dashboards/*.json; `charts/dashboards.py --check` ends with 1 when what is
committed is not what it would write. The panels' queries are run against a real Prometheus by `make test-observability`.

Conventions:
- A query says `@` where the selectors of the variables go: `up{@}`, `up{@,result="new"}`. "All" is the pattern `.*`, which also
  matches series without the label, so the dashboards work with and without Kubernetes.
- Metrics of ours are written short, `:partitions`, for salesos_webhooks_partitions.
- Metrics that other programs have as well (`process_…`, `up`) are cut down to our nodes by OURS.
"""

import json
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).parent / "salesos-webhooks" / "dashboards"
SELECTORS = 'namespace=~"$namespace",job=~"$job",instance=~"$instance"'
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
# Of the whole installation, whichever node is chosen.
OF_ALL = 'namespace=~"$namespace",job=~"$job"'
OURS = "and on (namespace, job, instance) :build_info{@}"
WIDTH = 24
GREEN, ORANGE, RED = "green", "orange", "red"


def full(query: str) -> str:
    """The query as Prometheus and Grafana take it."""
    named = re.sub(r"(?<![\w\]$]):(?=[a-z])", "salesos_webhooks_", query)
    return named.replace("@", SELECTORS)


@dataclass
class Panel:
    """One panel. `queries` are pairs of a query and its legend; `steps` are thresholds, each a value and its colour."""

    title: str
    description: str
    unit: str
    queries: list[tuple[str, str]]
    kind: str = "timeseries"
    steps: list[tuple[float, str]] = field(default_factory=list)
    width: int = 8
    stacked: bool = False
    most: float | None = None
    decimals: int | None = None

    def json(self, number: int, x: int, y: int) -> dict:
        return {
            "id": number,
            "type": self.kind,
            "title": self.title,
            "description": self.description,
            "datasource": DATASOURCE,
            "gridPos": {"h": self.height, "w": self.width, "x": x, "y": y},
            "fieldConfig": {"defaults": self.defaults(), "overrides": []},
            "options": self.options(),
            "targets": [self.target(*pair) for pair in enumerate(self.queries)],
            **({"transformations": TABLE} if self.kind == "table" else {}),
        }

    @property
    def height(self) -> int:
        return 4 if self.kind == "stat" else 8

    def target(self, place: int, pair: tuple[str, str]) -> dict:
        query, legend = pair
        target = {"refId": chr(ord("A") + place), "datasource": DATASOURCE, "expr": full(query), "legendFormat": legend}
        match self.kind:
            case "table":
                return target | {"instant": True, "range": False, "format": "table"}
            case "heatmap":
                return target | {"format": "heatmap"}
            case _:
                return target

    def defaults(self) -> dict:
        steps = [{"color": GREEN, "value": None}, *({"color": colour, "value": value} for value, colour in self.steps)]
        defaults = {"unit": self.unit, "min": 0, "thresholds": {"mode": "absolute", "steps": steps}}
        if self.most is not None:
            defaults["max"] = self.most
        if self.decimals is not None:
            defaults["decimals"] = self.decimals
        if self.kind == "stat":
            return defaults | {"color": {"mode": "thresholds"}, "noValue": "no data"}
        if self.kind == "timeseries":
            return defaults | {"color": {"mode": "palette-classic"}, "custom": self.lines()}
        return defaults

    def lines(self) -> dict:
        return {
            "drawStyle": "line",
            "lineWidth": 1,
            "fillOpacity": 25 if self.stacked else 8,
            "showPoints": "never",
            "spanNulls": False,
            "stacking": {"mode": "normal" if self.stacked else "none", "group": "A"},
            "thresholdsStyle": {"mode": "line" if self.steps else "off"},
        }

    def options(self) -> dict:
        match self.kind:
            case "stat":
                calculation = {"calcs": ["lastNotNull"], "fields": "", "values": False}
                return {"reduceOptions": calculation, "colorMode": "value", "graphMode": "area", "textMode": "auto"}
            case "heatmap":
                colours = {"mode": "scheme", "scheme": "Oranges", "steps": 64}
                return {"calculate": False, "yAxis": {"unit": self.unit}, "color": colours, "cellGap": 1}
            case "table":
                return {"showHeader": True}
            case _:
                legend = {"displayMode": "table", "placement": "bottom", "calcs": ["lastNotNull", "max"]}
                return {"legend": legend, "tooltip": {"mode": "multi", "sort": "desc"}}


TABLE = [
    {
        "id": "organize",
        "options": {"excludeByName": {name: True for name in ("Time", "Value", "__name__", "container", "endpoint", "service")}},
    }
]


@dataclass
class Dashboard:
    """One file. `rows` are pairs of a title and the row's panels."""

    uid: str
    title: str
    description: str
    rows: list[tuple[str, list[Panel]]]

    def json(self) -> dict:
        return {
            "uid": self.uid,
            "title": self.title,
            "description": self.description,
            "tags": ["salesos-webhooks"],
            "schemaVersion": 39,
            "version": 1,
            "editable": True,
            "graphTooltip": 1,
            "timezone": "browser",
            "time": {"from": "now-1h", "to": "now"},
            "refresh": "30s",
            "annotations": {"list": []},
            "links": [LINK],
            "templating": {"list": VARIABLES},
            "panels": self.panels(),
        }

    def panels(self) -> list[dict]:
        """Rows from top to bottom, in each the panels from left to right."""
        panels: list[dict] = []
        y = 0
        for title, row in self.rows:
            place = {"h": 1, "w": WIDTH, "x": 0, "y": y}
            panels.append({"id": len(panels) + 1, "type": "row", "title": title, "collapsed": False, "gridPos": place, "panels": []})
            x, y, height = 0, y + 1, 0
            for panel in row:
                if x + panel.width > WIDTH:
                    x, y, height = 0, y + height, 0
                panels.append(panel.json(len(panels) + 1, x, y))
                x, height = x + panel.width, max(height, panel.height)
            y += height
        return panels


LINK = {
    "type": "dashboards",
    "title": "SalesOS Webhooks",
    "tags": ["salesos-webhooks"],
    "asDropdown": True,
    "includeVars": True,
    "keepTime": True,
}


def variable(name: str, label: str, among: str) -> dict:
    """A variable with the values of one label of our nodes."""
    query = full(f"label_values(:build_info{among}, {name})")
    return {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": DATASOURCE,
        "query": {"query": query, "refId": name},
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
    }


VARIABLES = [
    {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus", "current": {}},
    variable("namespace", "Namespace", ""),
    variable("job", "Job", '{namespace=~"$namespace"}'),
    variable("instance", "Node", '{namespace=~"$namespace",job=~"$job"}'),
]


def stat(title: str, description: str, unit: str, query: str, steps: list[tuple[float, str]], width: int = 4) -> Panel:
    return Panel(title, description, unit, [(query, "")], kind="stat", steps=steps, width=width)


def quantiles(histogram: str, by: str = "", chosen: str = "@") -> list[tuple[str, str]]:
    """p50, p95 and p99 of a histogram of ours."""
    buckets = f"sum by (le{by and ', ' + by}) (rate(:{histogram}_bucket{{{chosen}}}[$__rate_interval]))"
    legend = f" {{{{{by}}}}}" if by else ""
    return [(f"histogram_quantile({share}, {buckets})", f"p{share * 100:.0f}{legend}") for share in (0.5, 0.95, 0.99)]


def rate(counter: str, by: str, legend: str) -> tuple[str, str]:
    return f"sum by ({by}) (rate(:{counter}{{@}}[$__rate_interval]))", legend


def total(counter: str, legend: str, more: str = "") -> tuple[str, str]:
    return f"sum(rate(:{counter}{{@{more}}}[$__rate_interval]))", legend


# In Kubernetes the pod's name says more than an address; elsewhere there is no such label and nothing is added.
NODE, OF_NODE = "{{instance}} {{pod}}", "instance, pod"

FLEET = Dashboard(
    uid="salesos-webhooks-fleet",
    title="SalesOS Webhooks / Fleet",
    description="The nodes, what they own, their Redis, their API and their processes.",
    rows=[
        (
            "At a glance",
            [
                stat("Nodes live", "Nodes that beat in Redis, as the node that sees most of them sees it.", "short",
                     "max(:nodes_live{@})", []),
                stat("Nodes not ready", "Nodes whose /health/ready is 503: Redis does not answer them, or they are stopping.",
                     "short", "count(:ready{@}) - sum(:ready{@})", [(1, RED)]),
                stat("Partitions without an owner",
                     "Configured partitions less those that nodes say they own. Above 0 for some seconds after a node died; longer "
                     "means that some webhooks get nothing.",
                     "short", f"max(:partitions{{{OF_ALL}}}) - sum(:partitions_owned{{{OF_ALL}}})", [(1, RED)]),
                stat("Oldest delivery held by a node",
                     "Age of the oldest delivery that is due and that nothing of its own webhook holds back.",
                     "s", 'max(:oldest_due_age_seconds{@,held_by="node"})', [(5, ORANGE), (30, RED)]),
                stat("Redis memory", "Used share of maxmemory. 0 when Redis has no limit. From 90 % on bodies are let go early.",
                     "percentunit",
                     "max(:redis_memory_used_bytes{@}) / (max(:redis_memory_limit_bytes{@}) > 0) or max(:redis_memory_limit_bytes{@})",
                     [(0.8, ORANGE), (0.9, RED)]),
                stat("API answers 5xx", "Share of the API's answers that are 5xx.", "percentunit",
                     '(sum(rate(:api_requests_total{@,status=~"5.."}[$__rate_interval])) or vector(0)) '
                     "/ sum(rate(:api_requests_total{@}[$__rate_interval]))",
                     [(0.01, ORANGE), (0.05, RED)]),
            ],
        ),
        (
            "Nodes and partitions",
            [
                Panel("Partitions owned",
                      "By node, stacked: the height is the number of partitions that have an owner, the line is how many there are.",
                      "short",
                      [(f"sum by ({OF_NODE}) (:partitions_owned{{@}})", NODE)], stacked=True),
                Panel("Nodes live and ready", "Live: seen beating by the others. Ready: takes requests. Answering: scraped just now.",
                      "short",
                      [("max(:nodes_live{@})", "live"), ("sum(:ready{@})", "ready"), (f"sum(up{{@}} {OURS})", "answering")]),
                Panel("Versions", "Which version and revision each node runs. More than one outside of an upgrade is a mistake.",
                      "short", [(":build_info{@}", "")], kind="table"),
                Panel("Time to take a partition",
                      "From wanting a partition to owning it, hand-overs included. After a kill it is 3.5 to 5 s; the bound is 6 s.",
                      "s", quantiles("takeover_duration_seconds"), steps=[(6, RED)]),
                Panel("Partitions taken",
                      "Partitions that came to a node a second: starts, stops, hand-overs and take-overs. Retaken ones were read anew "
                      "after a disturbance of Redis.",
                      "ops",
                      [total("takeover_duration_seconds_count", "taken"), total("partitions_retaken_total", "retaken")]),
                Panel("Leases lost, calls fenced",
                      "Partitions lost instead of handed over, and calls that Redis refused because another node owns the partition. "
                      "Both are harmless to the data; they say that a node stalled for seconds.",
                      "ops", [total("leases_lost_total", "leases lost"), total("calls_fenced_total", "calls fenced off")]),
                Panel("Faults in data and program",
                      "Entries set aside because they could not be read, actors rebuilt after a panic, and how often Redis was found "
                      "empty; webhooks that wait because their secrets cannot be decrypted. All of them should be 0 for ever.",
                      "short",
                      [("sum(:entries_quarantined_total{@})", "entries set aside"),
                       ("sum(:webhooks_locked{@})", "webhooks not decrypted"),
                       ("sum(:actors_restarted_total{@})", "actors rebuilt"),
                       ("max(:redis_emptied_total{@})", "Redis found empty")]),
            ],
        ),
        (
            "Redis",
            [
                Panel("Call duration, p99 by call", "Time of a call of Redis, pool not included.", "s",
                      [(f"histogram_quantile(0.99, sum by (le, call) (rate(:redis_call_duration_seconds_bucket{{@}}[$__rate_interval])))",
                        "{{call}}")]),
                Panel("Call duration", "Over all calls.", "s", quantiles("redis_call_duration_seconds")),
                Panel("Calls", "Calls a second, by what they are for.", "ops",
                      [rate("redis_call_duration_seconds_count", "call", "{{call}}")]),
                Panel("Wait for a connection",
                      "Of the calls that found no connection open. Any of it after the start means that connections break.",
                      "s", quantiles("redis_pool_wait_seconds")),
                Panel("Failed calls", "By what went wrong.", "ops", [rate("redis_call_errors_total", "kind", "{{kind}}")]),
                Panel("Repeated calls of the delivery path",
                      "Calls that failed and are made again until they succeed: while there are any, deliveries wait.", "ops",
                      [rate("redis_errors_total", OF_NODE, NODE)]),
                Panel("Memory of Redis", "What Redis uses, and maxmemory (0 = no limit). In a Redis Cluster: of the fullest primary.", "bytes",
                      [("max(:redis_memory_used_bytes{@})", "used"), ("max(:redis_memory_limit_bytes{@})", "limit")]),
                Panel("Fit and roomy",
                      "Unfit: Redis may lose what it accepts (no append-only file, or it evicts). Scarce: nearly full. Encrypted: all "
                      "nodes write webhooks' secrets encrypted. 1 = yes.",
                      "short",
                      [("max(:redis_unfit{@})", "unfit"), ("max(:redis_memory_scarce{@})", "memory scarce"),
                       ("min(:secrets_encrypted{@})", "secrets encrypted")], most=1),
            ],
        ),
        (
            "API",
            [
                Panel("Requests by answer", "Requests a second, by status code.", "reqps",
                      [rate("api_requests_total", "status", "{{status}}")], stacked=True),
                Panel("Requests by route", "Requests a second, by method and route.", "reqps",
                      [rate("api_requests_total", "method, route", "{{method}} {{route}}")], stacked=True),
                Panel("Server errors by route", "Answers 5xx a second. 503 says that Redis does not answer, refuses or is full.", "reqps",
                      [('sum by (route, status) (rate(:api_requests_total{@,status=~"5.."}[$__rate_interval])) > 0',
                        "{{status}} {{route}}")]),
                Panel("Time to answer", "Over all routes.", "s", quantiles("api_request_duration_seconds")),
                Panel("Time to answer, p95 by route", "By method and route.", "s",
                      [("histogram_quantile(0.95, sum by (le, method, route) "
                        "(rate(:api_request_duration_seconds_bucket{@}[$__rate_interval])))", "{{method}} {{route}}")]),
                Panel("Refusals by route",
                      "Answers 4xx a second. 401: no good token; 409: a key with another body; 429: a limit.", "reqps",
                      [('sum by (route, status) (rate(:api_requests_total{@,status=~"4.."}[$__rate_interval])) > 0',
                        "{{status}} {{route}}")]),
                Panel("Refused tokens", "Requests a second whose token was not taken, by reason.", "reqps",
                      [rate("authentications_failed_total", "reason", "{{reason}}")], stacked=True),
                Panel("Readings of keys", "Readings of the identity provider's keys (auth.jwks_url, auth.jwks_file), by result.", "ops",
                      [rate("jwks_readings_total", "result", "{{result}}")]),
                Panel("Age of the keys", "Time since the identity provider's keys were last read, by node; 0 where none are configured.", "s",
                      [(f"max by ({OF_NODE}) (:jwks_age_seconds{{@}})", NODE)]),
            ],
        ),
        (
            "Processes",
            [
                Panel("CPU", "Cores in use, by node.", "short",
                      [(f"sum by ({OF_NODE}) (rate(process_cpu_seconds_total{{@}}[$__rate_interval]) {OURS})", NODE)], decimals=2),
                Panel("Memory of the process", "Resident memory, by node.", "bytes",
                      [(f"sum by ({OF_NODE}) (process_resident_memory_bytes{{@}} {OURS})", NODE)]),
                Panel("Open files", "Share of the allowed number of open files (sockets included), by node.", "percentunit",
                      [(f"sum by ({OF_NODE}) (process_open_fds{{@}} / process_max_fds{{@}} {OURS})", NODE)],
                      steps=[(0.8, RED)]),
                Panel("Threads", "Threads, by node.", "short", [(f"sum by ({OF_NODE}) (process_threads{{@}} {OURS})", NODE)]),
                Panel("Webhook actors", "Webhooks that have something to do now, by node.", "short",
                      [(f"sum by ({OF_NODE}) (:actors_active{{@}})", NODE)], stacked=True),
                Panel("Traces", "Spans that the collector took, and those that were dropped because it did not in time (telemetry.otlp_endpoint).",
                      "ops",
                      [total("trace_spans_exported_total", "sent"), total("trace_spans_dropped_total", "dropped")]),
                Panel("Lost log lines", "Lines that were dropped because whoever reads the log did not keep up.", "ops",
                      [total("log_lines_dropped_total", "dropped")]),
                Panel("Time since the start", "By node. A saw tooth is a node that dies again and again.", "s",
                      [(f"time() - max by ({OF_NODE}) (process_start_time_seconds{{@}} {OURS})", NODE)]),
            ],
        ),
    ],
)

DELIVERIES = Dashboard(
    uid="salesos-webhooks-deliveries",
    title="SalesOS Webhooks / Deliveries",
    description="What is published, what is delivered, how fast, what waits and what fails.",
    rows=[
        (
            "At a glance",
            [
                stat("Events published", "New events a second.", "ops",
                     'sum(rate(:events_published_total{@,result="new"}[$__rate_interval]))', []),
                stat("Deliveries made", "Deliveries that ended with an answer 2xx, a second.", "ops",
                     'sum(rate(:deliveries_ended_total{@,result="delivered"}[$__rate_interval]))', []),
                stat("Attempts that fail", "Share of all attempts. A dead endpoint of one customer raises it as well.", "percentunit",
                     'sum(rate(:attempts_total{@,outcome!="success"}[$__rate_interval])) '
                     "/ sum(rate(:attempts_total{@}[$__rate_interval]))",
                     [(0.2, ORANGE), (0.5, RED)]),
                stat("First attempt within, p95", "From the acceptance of an event to the start of its first attempt.", "s",
                     "histogram_quantile(0.95, sum by (le) "
                     "(rate(:publish_to_first_attempt_seconds_bucket{@}[$__rate_interval])))",
                     [(1, ORANGE), (5, RED)]),
                stat("Oldest delivery held by a node",
                     "Age of the oldest delivery that is due and that nothing of its own webhook holds back.",
                     "s", 'max(:oldest_due_age_seconds{@,held_by="node"})', [(5, ORANGE), (30, RED)]),
                stat("Backlog now", "Deliveries queued or between two attempts, over all nodes.", "short",
                     "sum(:backlog_deliveries{@})", []),
            ],
        ),
        (
            "Traffic",
            [
                Panel("Publications by result",
                      "New: taken. Duplicate: a key seen before. Conflict: the same key with another body. Full, unavailable: refused, "
                      "to be repeated by the publisher. Invalid: refused for good.",
                      "ops", [rate("events_published_total", "result", "{{result}}")], stacked=True),
                Panel("The way of events",
                      "Accepted, matched against the webhooks, and put into queues: the last is higher by as many webhooks as an event "
                      "matches. Not queued: subscribed, but switched off or filtered.",
                      "ops",
                      [total("events_published_total", "published", ',result="new"'), total("events_dispatched_total", "dispatched"),
                       total("events_matched_total", "matched by a webhook"), total("deliveries_enqueued_total", "deliveries queued"),
                       rate("deliveries_skipped_total", "reason", "not queued: {{reason}}")]),
                Panel("Deliveries by end", "Delivered: answered 2xx. Dead: given up after the last retry, too old, or not queued.", "ops",
                      [rate("deliveries_ended_total", "result", "{{result}}")], stacked=True),
                Panel("Attempts by node", "Recorded attempts a second.", "ops", [rate("attempts_total", OF_NODE, NODE)], stacked=True),
                Panel("Attempts on their way", "By node. delivery.max_in_flight bounds it (4096 by default).", "short",
                      [(f"sum by ({OF_NODE}) (:attempts_in_flight{{@}})", NODE)], stacked=True),
            ],
        ),
        (
            "How fast",
            [
                Panel("From publish to the first attempt", "Until the first attempt starts, including the queue and the webhook's limits.",
                      "s", quantiles("publish_to_first_attempt_seconds")),
                Panel("Time of an attempt", "Connection, request and answer: mostly the endpoint's.", "s",
                      quantiles("attempt_duration_seconds")),
                Panel("Attempts by their time", "How many attempts took how long.", "s",
                      [("sum by (le) (increase(:attempt_duration_seconds_bucket{@}[$__rate_interval]))", "{{le}}")], kind="heatmap"),
            ],
        ),
        (
            "What waits",
            [
                Panel("Backlog", "Deliveries queued or between two attempts, by the node that owns them.", "short",
                      [(f"sum by ({OF_NODE}) (:backlog_deliveries{{@}})", NODE)], stacked=True),
                Panel("Age of the oldest due delivery",
                      "Held by the node: nothing of the webhook's own holds it back, so it should start at once. Held by the webhook: its "
                      "rate, concurrency, order or breaker does.",
                      "s", [("max by (held_by) (:oldest_due_age_seconds{@})", "held by the {{held_by}}")], steps=[(30, RED)]),
                Panel("Events to dispatch", "Events that await matching, by node. More than a moment's worth means that Redis or a node is slow.",
                      "short", [(f"sum by ({OF_NODE}) (:undispatched_events{{@}})", NODE)], stacked=True),
            ],
        ),
        (
            "What fails",
            [
                Panel("Failed attempts by cause",
                      "A jump of dns or connect over all nodes is the network of the nodes; http_status and timeout are the endpoints'.",
                      "ops",
                      [('sum by (outcome) (rate(:attempts_total{@,outcome!="success"}[$__rate_interval]))', "{{outcome}}")], stacked=True),
                Panel("Share of attempts that fail", "By node: one node alone points at its network.", "percentunit",
                      [(f'sum by ({OF_NODE}) (rate(:attempts_total{{@,outcome!="success"}}[$__rate_interval])) '
                        f"/ sum by ({OF_NODE}) (rate(:attempts_total{{@}}[$__rate_interval]))", NODE)], most=1, steps=[(0.5, RED)]),
                Panel("Retries and dead deliveries", "Failed attempts to be made again, and deliveries given up.", "ops",
                      [total("retries_scheduled_total", "retries scheduled"),
                       total("deliveries_ended_total", "dead", ',result="dead"')]),
                Panel("Breakers", "Webhooks by the state of their breaker: paused ones wait, probing ones try one delivery.", "short",
                      [("sum by (state) (:breakers{@})", "{{state}}")], stacked=True),
                Panel("Webhooks switched off", "By the service: gone = the endpoint answered 410, failing = nothing but failure for days.",
                      "short", [("sum by (reason) (increase(:webhooks_disabled_total{@}[$__rate_interval]))", "{{reason}}")], stacked=True),
                Panel("Changes", "What users, operators and the service itself changed (audit log): denied = refused for a role or a scope, "
                      "unknown = Redis did not say whether it was done.",
                      "short", [("sum by (action, result) (increase(:changes_total{@}[$__rate_interval]))", "{{action}} {{result}}")], stacked=True),
                Panel("Publications refused", "What publishers must repeat (full, unavailable) or correct (invalid, conflict).", "ops",
                      [('sum by (result) (rate(:events_published_total{@,result!~"new|duplicate"}[$__rate_interval]))', "{{result}}")]),
            ],
        ),
    ],
)

FILES = {"fleet.json": FLEET, "deliveries.json": DELIVERIES}


def main() -> None:
    stale = []
    for name, dashboard in FILES.items():
        path, text = HERE / name, json.dumps(dashboard.json(), indent=2, ensure_ascii=False) + "\n"
        if sys.argv[1:] != ["--check"]:
            path.write_text(text)
        elif not path.exists() or path.read_text() != text:
            stale.append(str(path))
    if stale:
        sys.exit(f"not what charts/dashboards.py writes: {', '.join(stale)}")


if __name__ == "__main__":
    main()
