"""Spoils good files in every way that the lint should notice, and tells what it did not."""

import copy
from collections.abc import Callable, Iterator

from lint import Files, all_faults

Spoil = Callable[[Files], object]


def panel(files: Files) -> dict:
    """Some panel with lines."""
    return next(panel for _, panel in files.panels() if panel["type"] == "timeseries")


def query(change: Callable[[str], str]) -> Spoil:
    def spoil(files: Files) -> None:
        target = next(target for _, each in files.panels() for target in each["targets"] if "$__rate_interval" in target["expr"])
        target["expr"] = change(target["expr"])

    return spoil


def runbook(before: str, after: str) -> Spoil:
    def spoil(files: Files) -> None:
        assert before in files.runbooks, before
        files.runbooks = files.runbooks.replace(before, after)

    return spoil


WAYS: dict[str, Spoil] = {
    "a metric that does not exist": query(lambda expr: expr.replace("salesos_webhooks_", "salesos_webhooks_no_such_")),
    "a range of its own": query(lambda expr: expr.replace("$__rate_interval", "5m")),
    "a selector without a variable": query(lambda expr: expr.replace('job=~"$job",', "")),
    "no description": lambda files: panel(files).update(description=""),
    "no unit": lambda files: panel(files)["fieldConfig"]["defaults"].pop("unit"),
    "no legend": lambda files: panel(files)["targets"][0].update(legendFormat=""),
    "a data source of its own": lambda files: panel(files).update(datasource={"type": "prometheus", "uid": "mine"}),
    "an id twice": lambda files: panel(files).update(id=1),
    "a panel over another": lambda files: panel(files)["gridPos"].update(x=panel(files)["gridPos"]["x"] + 1),
    "a variable less": lambda files: [each["templating"]["list"].pop() for each in files.dashboards.values()],
    "an alert without a severity": lambda files: files.alerts[0]["labels"].clear(),
    "an alert without a value": lambda files: files.alerts[0]["annotations"].update(description="something is late"),
    "an alert that leads nowhere": lambda files: files.alerts[0]["annotations"].update(runbook_url="docs/runbooks.md"),
    "a runbook of no alert": runbook("## SalesOSWebhooksAbsent", "## SalesOSWebhooksPresent"),
    "a runbook without a part": runbook("**Impact.**", ""),
    "a runbook's link that leads nowhere": runbook("](#salesoswebhooksrediserrors)", "](#redis)"),
    "a runbook's panel that does not exist": runbook("*Fleet / CPU*", "*Fleet / CPUs*"),
    "a runbook's log line that does not exist": runbook("`partition lost`", "`a partition was lost`"),
}


def unnoticed(files: Files, exposition: str) -> Iterator[str]:
    """What the lint says nothing about. The files themselves are left as they are."""
    for what, spoil in WAYS.items():
        spoiled = copy.deepcopy(files)
        spoil(spoiled)
        if not all_faults(spoiled, exposition):
            yield f"it does not notice {what}"
    if not all_faults(files, exposition + "# TYPE salesos_webhooks_new_total counter\n"):
        yield "it does not notice a metric that is shown nowhere"
