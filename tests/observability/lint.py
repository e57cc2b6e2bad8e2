"""What the dashboards, the alerts and the runbooks promise of themselves and of each other. Every function gives faults, as
lines."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import promql
import yaml

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts" / "salesos-webhooks"
ALERTS = CHART / "rules" / "alerts.yaml"
RUNBOOKS = ROOT / "docs" / "runbooks.md"

VARIABLES = ["datasource", "namespace", "job", "instance"]
PREFIX = "salesos_webhooks_"
SELECTORS = ",".join(f'{name}=~"${name}"' for name in VARIABLES[1:])
# Metrics that Prometheus itself makes.
OF_PROMETHEUS = {"up"}
# Metrics that are on purpose on no dashboard and in no alert, each with the reason.
UNSHOWN = {
    "process_virtual_memory_bytes": "says nothing that resident memory does not say better",
}
# How what is no log line begins, of the lower-case words in the runbooks.
COMMANDS = ("cluster drain", "cluster status", "appendonly", "noeviction", "maxmemory")
SECTION = ["Meaning", "Impact", "First look", "Causes", "Ends"]


@dataclass
class Target:
    """A query of a panel."""

    dashboard: str
    panel: str
    query: str
    kind: str


@dataclass
class Files:
    """All of it, read."""

    dashboards: dict[str, dict] = field(default_factory=dict)
    rules: list[dict] = field(default_factory=list)
    runbooks: str = ""

    @classmethod
    def read(cls) -> "Files":
        dashboards = {path.name: json.loads(path.read_text()) for path in sorted((CHART / "dashboards").glob("*.json"))}
        groups = yaml.safe_load(ALERTS.read_text())["groups"]
        return cls(dashboards, [rule for group in groups for rule in group["rules"]], RUNBOOKS.read_text())

    @property
    def alerts(self) -> list[dict]:
        return [rule for rule in self.rules if "alert" in rule]

    @property
    def records(self) -> set[str]:
        return {rule["record"] for rule in self.rules if "record" in rule}

    def panels(self) -> Iterator[tuple[str, dict]]:
        """Every panel that shows something, with its dashboard's title."""
        for dashboard in self.dashboards.values():
            title = dashboard["title"].rpartition("/")[2].strip()
            yield from ((title, panel) for panel in dashboard["panels"] if panel["type"] != "row")

    def targets(self) -> list[Target]:
        return [
            Target(title, panel["title"], target["expr"], panel["type"])
            for title, panel in self.panels()
            for target in panel["targets"]
        ]


def all_faults(files: Files, exposition: str) -> list[str]:
    """Everything; the exposition is what a node answers at /metrics."""
    families = dict(re.findall(r"(?m)^# TYPE (\S+) (\S+)$", exposition))
    checks = [
        *(of_dashboard(name, dashboard) for name, dashboard in files.dashboards.items()),
        of_queries(files),
        of_alerts(files),
        of_runbooks(files, families),
        of_metrics(files, families),
    ]
    return [fault for check in checks for fault in check]


def of_dashboard(name: str, dashboard: dict) -> Iterator[str]:
    for key in ("uid", "title", "description", "tags", "refresh", "time"):
        if not dashboard.get(key):
            yield f"{name} has no {key}"
    if [variable["name"] for variable in dashboard["templating"]["list"]] != VARIABLES:
        yield f"{name} must have the variables {', '.join(VARIABLES)}, in this order"
    panels = dashboard["panels"]
    ids = [panel["id"] for panel in panels]
    if len(set(ids)) < len(ids):
        yield f"{name}: panel ids are not unique"
    titles = [panel["title"] for panel in panels]
    yield from (f"{name}: two panels are called {title}" for title in sorted({t for t in titles if titles.count(t) > 1}))
    if panels[0]["type"] != "row":
        yield f"{name} must begin with a row"
    for panel in panels:
        if panel["type"] != "row":
            yield from (f"{name} / {panel['title']}: {fault}" for fault in of_panel(panel))
    yield from (f"{name}: {fault}" for fault in overlaps(panels))


def of_panel(panel: dict) -> Iterator[str]:
    unit = panel["fieldConfig"]["defaults"].get("unit")
    if not panel.get("description", "").strip().endswith("."):
        yield "has no description that is a sentence"
    if not unit:
        yield "has no unit"
    for holder in (panel, *panel["targets"]):
        if holder.get("datasource") != {"type": "prometheus", "uid": "${datasource}"}:
            yield "does not use the data source variable"
    if panel["type"] == "timeseries" and not all(target["legendFormat"] for target in panel["targets"]):
        yield "has a series without a legend"
    if len({target["refId"] for target in panel["targets"]}) < len(panel["targets"]):
        yield "has targets of the same name"


def overlaps(panels: list[dict]) -> Iterator[str]:
    taken: dict[tuple[int, int], str] = {}
    for panel in panels:
        place = panel["gridPos"]
        for cell in ((x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])):
            if cell[0] >= 24 or cell in taken:
                yield f"{panel['title']} lies over {taken.get(cell, 'the edge')}"
                break
            taken[cell] = panel["title"]


# What one node alone cannot tell: the variable that chooses a node is left out.
OF_ALL_NODES = {"Partitions without an owner"}


def of_queries(files: Files) -> Iterator[str]:
    """Each selector takes the variables, each rate the range that Grafana gives."""
    all_of_them = {(name, "=~", f"${name}") for name in VARIABLES[1:]}
    for target in files.targets():
        where = f"{target.dashboard} / {target.panel}"
        wanted = all_of_them
        if target.panel in OF_ALL_NODES:
            wanted = all_of_them - {("instance", "=~", "$instance")}
        for _, _, span in promql.rated(target.query):
            if span != "$__rate_interval":
                yield f"{where}: a range of {span} instead of $__rate_interval"
        for matchers in re.findall(r"\b(?:salesos_webhooks_|process_|up\b)\w*(\{[^}]*\})?", target.query):
            found = {tuple(each) for each in re.findall(r'(\w+)(=~|=|!=|!~)"([^"]*)"', matchers)}
            if not wanted <= found:
                yield f"{where}: a selector does not take all variables: {target.query}"


def of_alerts(files: Files) -> Iterator[str]:
    names = [alert["alert"] for alert in files.alerts]
    if len(set(names)) < len(names):
        yield "alerts of the same name"
    for alert in files.alerts:
        name, notes = alert["alert"], alert["annotations"]
        if alert["labels"].get("severity") not in ("warning", "critical"):
            yield f"{name}: severity must be warning or critical"
        if not notes.get("summary") or not notes.get("description"):
            yield f"{name} has no summary or no description"
        if notes.get("runbook_url") != f"docs/runbooks.md#{name.lower()}":
            yield f"{name}: runbook_url must lead to its section"
        text = notes["summary"] + notes["description"]
        if "absent(" not in alert["expr"] and not re.search(r"\$labels\.(instance|job)", text):
            yield f"{name} names neither instance nor job"
        if not re.search(r"(== 0|_scarce|_unfit|_emptied|absent)", alert["expr"]) and "$value" not in text:
            yield f"{name} does not tell the value"


def of_runbooks(files: Files, families: dict[str, str]) -> Iterator[str]:
    sections = dict(re.findall(r"(?ms)^## (\S+)\n(.*?)(?=^## |\Z)", files.runbooks))
    alerts = {alert["alert"] for alert in files.alerts}
    yield from (f"{name} has no section in the runbooks" for name in sorted(alerts - set(sections)))
    yield from (f"the runbook {name} belongs to no alert" for name in sorted(set(sections) - alerts))
    for name, text in sections.items():
        yield from (f"the runbook {name} does not tell: {part}" for part in SECTION if f"**{part}" not in text)
    anchors = {name.lower() for name in sections}
    yield from (f"the runbooks lead to #{to}" for to in re.findall(r"\]\(#([^)]+)\)", files.runbooks) if to not in anchors)
    known = set(families) | {f"{name}_{part}" for name in families for part in ("bucket", "count", "sum")}
    named = set(re.findall(rf"{PREFIX}[a-z0-9_]+(?=[{{\[)`])", files.runbooks))
    yield from (f"the runbooks name {metric}, which does not exist" for metric in sorted(named - known))
    source = re.sub(r"\\\n\s*", "", "\n".join(path.read_text() for path in sorted((ROOT / "src").rglob("*.rs"))))
    for line in re.findall(r"`([a-z]+(?: [a-z,:]+)+)(?: ?…)?`", files.runbooks):
        if not line.startswith(COMMANDS) and '"' + line.rstrip(":") not in source:
            yield f"the runbooks name the log line {line}, which is nowhere in the source"
    panels = {f"{title} / {panel['title']}" for title, panel in files.panels()}
    shown = {re.sub(r"\s+", " ", panel) for panel in re.findall(r"\*((?:Fleet|Deliveries) / [^*]+)\*", files.runbooks)}
    yield from (f"the runbooks name the panel {panel}, which does not exist" for panel in sorted(shown - panels))


def of_metrics(files: Files, families: dict[str, str]) -> Iterator[str]:
    """Every metric that is used exists, and every one that exists is used."""
    series = {name for name, kind in families.items() if kind != "histogram"}
    series |= {f"{name}_{part}" for name, kind in families.items() if kind == "histogram" for part in ("bucket", "sum", "count")}
    queries = [promql.substitute(target.query, dict.fromkeys(VARIABLES, ".*")) for target in files.targets()]
    queries += [rule["expr"] for rule in files.rules]
    used = {metric for query in queries for metric in promql.metrics(query)}
    for metric in sorted(used - series - OF_PROMETHEUS - files.records):
        yield f"{metric} is used and does not exist"
    shown = {re.sub(r"_(bucket|sum|count)$", "", metric) for metric in used} | used
    for metric in sorted(set(families) - shown - set(UNSHOWN)):
        yield f"{metric} is on no dashboard, in no alert and not listed as unshown"
    for metric in sorted(set(UNSHOWN) - set(families)):
        yield f"{metric} is listed as unshown and does not exist"


def variable_query(variable: dict) -> tuple[str, str]:
    """The selector and the label of a variable."""
    selector, label = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["query"]["query"]).groups()
    return selector, label


def variables(files: Files) -> Iterator[tuple[str, dict[str, Any]]]:
    """The variables that are asked from Prometheus."""
    for name, dashboard in files.dashboards.items():
        yield from ((name, variable) for variable in dashboard["templating"]["list"] if variable["type"] == "query")
