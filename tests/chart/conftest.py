"""What the tests share: the chart, the values files, the program, and a report that is printed at the end."""

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from helm import CHART, chart_copy  # noqa: E402

CI = sorted((CHART / "ci").glob("*-values.yaml"))
REPORT = []


@pytest.fixture(scope="session")
def chart(tmp_path_factory):
    """The chart in a directory of its own."""
    return str(chart_copy(tmp_path_factory.mktemp("chart")))


@pytest.fixture(scope="session")
def program():
    return os.environ["SALESOS_WEBHOOKS"]


@pytest.fixture(scope="session")
def report():
    """Takes (heading, line)."""
    return lambda heading, line: REPORT.append((heading, line))


def pytest_terminal_summary(terminalreporter):
    headings = list(dict.fromkeys(heading for heading, _ in REPORT))
    for heading in headings:
        terminalreporter.section(heading)
        for line in (line for of, line in REPORT if of == heading):
            terminalreporter.write_line(line)
