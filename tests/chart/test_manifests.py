"""Every values file of ci/ with every Helm, against every schema."""

import copy
import ipaddress
import re

import helm_python
import pytest
import yaml

import manifests
from conftest import CI
from helm import HELMS, NAMESPACE, RELEASE, ROOT, Refused, merged
from manifests import one

CASES = [pytest.param(file, helm, id=f"{file.stem.removesuffix('-values')}-{helm.name.replace(' ', '')}") for file in CI for helm in HELMS]


@pytest.mark.parametrize("file, helm", CASES)
def test_what_is_rendered_is_right(chart, report, file, helm):
    values = merged([file], {})
    helm.lint(chart, values)
    objects = helm.render(chart, values)
    assert manifests.operator_faults(objects) == []
    assert manifests.security_faults(objects) == []
    assert manifests.reference_faults(objects) == []
    for version in manifests.VERSIONS:
        assert manifests.schema_faults(objects, version) == []
        name = file.stem.removesuffix("-values")
        report("values file × Helm × Kubernetes", f"{name:<12} {helm.name:<12} {version:<6} ok   {len(objects)} manifests")


@pytest.mark.parametrize("file", CI, ids=lambda file: file.stem)
def test_both_helms_render_the_same(chart, file):
    values = merged([file], {})
    by_key = lambda helm: {manifests.key(found): found for found in helm.render(chart, values)}
    three, four = (by_key(helm) for helm in HELMS)
    assert three.keys() == four.keys()
    for name in three:
        assert three[name] == four[name]


@pytest.mark.parametrize("helm", HELMS, ids=lambda helm: helm.name)
def test_the_package_renders_like_the_directory(chart, tmp_path, helm):
    archive = helm.package(chart, str(tmp_path))
    values = merged([CI[0]], {})
    sort = lambda objects: sorted(objects, key=manifests.key)
    assert sort(helm.render(str(archive), values)) == sort(helm.render(chart, values))


def test_a_checker_that_finds_nothing_would_be_found_out(chart):
    """Each check is itself checked on an object that is wrong."""
    objects = HELMS[0].render(chart, merged([file for file in CI if "everything" in file.name], {}))

    def broken(change):
        changed = copy.deepcopy(objects)
        change(changed)
        return changed

    def unknown_field(changed):
        one(changed, "Deployment")["spec"]["template"]["spec"]["containers"][0]["imagee"] = "x"

    def no_selector(changed):
        del one(changed, "ServiceMonitor")["spec"]["selector"]

    def as_root(changed):
        one(changed, "Deployment")["spec"]["template"]["spec"]["securityContext"]["runAsUser"] = 0

    def wrong_port(changed):
        one(changed, "Service", "hooks")["spec"]["ports"][0]["targetPort"] = "nothing"

    for version in manifests.VERSIONS:
        assert manifests.schema_faults(broken(unknown_field), version)
    assert manifests.operator_faults(broken(no_selector))
    assert manifests.security_faults(broken(as_root))
    assert manifests.reference_faults(broken(wrong_port))


def test_a_node_gets_longer_to_end_than_it_may_take(chart):
    for file in CI:
        values = merged([file], {})
        spec = one(HELMS[0].render(chart, values), "Deployment")["spec"]["template"]["spec"]
        hook = spec["containers"][0]["lifecycle"]["preStop"]["exec"]["command"]
        drain = values.get("config", {}).get("server", {}).get("drain_seconds", 25)
        assert spec["terminationGracePeriodSeconds"] > int(hook[-1].removesuffix("s")) + drain


def test_pods_restart_when_their_settings_change_and_only_then(chart):
    minimal = [file for file in CI if "minimal" in file.name]
    render = lambda more: one(HELMS[0].render(chart, merged(minimal, more)), "Deployment")["spec"]["template"]
    assert render({}) == render({"service": {"port": 81}})
    checksums = [render(more)["metadata"]["annotations"] for more in (
        {}, {"config": {"log": {"max_attempts": 7}}}, {"auth": {"jwtSecret": "another key of at least thirty-two bytes"}})]
    assert len({entry["checksum/config"] for entry in checksums}) == 2
    assert len({entry["checksum/secret"] for entry in checksums}) == 2


def test_no_secret_is_in_a_config_map(chart):
    for file in CI:
        objects = HELMS[0].render(chart, merged([file], {}))
        for found in manifests.of_kind(objects, "ConfigMap"):
            text = yaml.safe_dump(found)
            assert not re.search(r"rediss?://|example-key|quoted|s3cret", text), found["metadata"]["name"]


def test_the_probes_mean_different_things(chart):
    node = one(HELMS[0].render(chart, merged([CI[0]], {})), "Deployment")["spec"]["template"]["spec"]["containers"][0]
    path = lambda probe: node[probe]["httpGet"]["path"]
    assert (path("startupProbe"), path("livenessProbe"), path("readinessProbe")) == ("/health/live", "/health/live", "/health/ready")


def test_the_network_policy_closes_what_the_address_guard_closes(chart):
    """Every network that the program refuses is excepted from what the policy opens."""
    source = (ROOT / "src/policy/address.rs").read_text()
    table = source[source.index("const SPECIAL_V4"):source.index("];", source.index("const SPECIAL_V4"))]
    special = [f"{'.'.join(octets.split(', '))}/{prefix}" for octets, prefix in re.findall(r"v4\(\[([\d, ]+)\], (\d+)\)", table)]
    assert len(special) > 10
    special += ["::1/128", "64:ff9b::/96", "fc00::/7", "fe80::/10", "ff00::/8", "2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"]
    minimal = [file for file in CI if "minimal" in file.name]
    policy = one(HELMS[0].render(chart, merged(minimal, {})), "NetworkPolicy", "trial-salesos-webhooks")
    blocks = [peer["ipBlock"] for rule in policy["spec"]["egress"] for peer in rule.get("to", []) if "ipBlock" in peer]
    for block in blocks:
        for excepted in block["except"]:
            assert ipaddress.ip_network(excepted).subnet_of(ipaddress.ip_network(block["cidr"]))
    excepted = [ipaddress.ip_network(network) for block in blocks for network in block["except"]]
    for network in map(ipaddress.ip_network, special):
        assert any(wall.version == network.version and network.subnet_of(wall) for wall in excepted), network


@pytest.mark.parametrize("endpoint, port", [("http://c:4318", 4318), ("https://c.example/v1/traces", 443), ("http://[fd00::1]", 80), ("", None)])
def test_traces_get_through_the_network_policy(chart, endpoint, port):
    minimal = [file for file in CI if "minimal" in file.name]
    values = merged(minimal, {"config": {"telemetry": {"otlp_endpoint": endpoint}}})
    policy = one(HELMS[0].render(chart, values), "NetworkPolicy", "trial-salesos-webhooks")
    opened = {entry["port"] for rule in policy["spec"]["egress"] for entry in rule.get("ports", [])}
    assert opened == {53, 6379} | ({port} if port else set())


def test_alerts_and_dashboards_are_taken_as_they_are(chart):
    objects = HELMS[0].render(chart, merged([file for file in CI if "production" in file.name], {}))
    rules = yaml.safe_load((ROOT / "charts/salesos-webhooks/rules/alerts.yaml").read_text())
    assert one(objects, "PrometheusRule")["spec"] == rules
    files = {path.name: path.read_text() for path in (ROOT / "charts/salesos-webhooks/dashboards").glob("*.json")}
    maps = [found for found in manifests.of_kind(objects, "ConfigMap") if found["metadata"]["labels"].get("grafana_dashboard") == "1"]
    shown = {name: text for found in maps for name, text in found["data"].items()}
    assert files and {name: text.strip() for name, text in shown.items()} == {name: text.strip() for name, text in files.items()}


def test_runbooks_are_found_from_an_alert(chart):
    objects = HELMS[0].render(chart, merged([file for file in CI if "everything" in file.name], {}))
    alerts = [rule for group in one(objects, "PrometheusRule")["spec"]["groups"] for rule in group["rules"] if "alert" in rule]
    assert alerts
    for alert in alerts:
        assert alert["annotations"]["runbook_url"].startswith("https://git.example/webhooks/blob/main/docs/runbooks.md#"), alert["alert"]


@pytest.mark.parametrize("enabled, paths", [(True, ["/api", "/dashboard"]), (False, ["/api"])])
def test_the_ingress_leads_to_the_dashboard_where_there_is_one(chart, enabled, paths):
    everything = [file for file in CI if "everything" in file.name]
    objects = HELMS[0].render(chart, merged(everything, {"config": {"dashboard": {"enabled": enabled}}}))
    rules = {rule["host"]: [path["path"] for path in rule["http"]["paths"]] for rule in one(objects, "Ingress")["spec"]["rules"]}
    assert rules == {"a.example": paths, "b.example": ["/hooks", "/api/events"]}


def test_the_notes_tell_what_to_do_next(chart):
    """Only the newer Helm shows them without a cluster."""
    with helm_python.Chart.load(chart) as loaded:
        files = loaded.render(values=merged([CI[0]], {}), name=RELEASE, namespace=NAMESPACE)
    notes = files["salesos-webhooks/templates/NOTES.txt"]
    for command in (f"helm -n {NAMESPACE} test {RELEASE}", "salesos-webhooks token", "/api/events", "cluster status"):
        assert command in notes


def test_without_a_secret_nothing_signs(chart):
    """The nodes get no secret, no pod would make tokens, and the notes name no command that does."""
    values = merged([file for file in CI if "identity" in file.name], {})
    objects = HELMS[0].render(chart, values)
    container = one(objects, "Deployment")["spec"]["template"]["spec"]["containers"][0]
    assert "WEBHOOKS_AUTH__JWT_SECRET" not in {entry["name"] for entry in container["env"]}
    assert not manifests.of_kind(objects, "Pod")
    with helm_python.Chart.load(chart) as loaded:
        notes = loaded.render(values=values, name=RELEASE, namespace=NAMESPACE)["salesos-webhooks/templates/NOTES.txt"]
    assert "identity provider" in notes and "salesos-webhooks token" not in notes and f"test {RELEASE}" not in notes


def test_names_leave_room_for_a_node_id(chart):
    """A pod's name is the node's id: at most 64 characters, `-` and ten and five more after the Deployment's."""
    long = {"fullnameOverride": "n" * 80}
    deployment = one(HELMS[0].render(chart, merged([CI[0]], long)), "Deployment")
    assert len(deployment["metadata"]["name"]) + len("-0123456789-01234") <= 63


def test_nothing_is_rendered_without_an_image(chart):
    with pytest.raises(Refused, match="docker build"):
        HELMS[0].render(chart, {})
