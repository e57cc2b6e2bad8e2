"""What the chart renders is what the program takes."""

import base64
import os
import subprocess

import pytest

import manifests
from conftest import CI
from helm import HELMS, merged
from manifests import one

# What stands in Secrets that are made outside of the chart.
KEY, FORMER = (base64.b64encode(bytes([byte] * 32)).decode() for byte in (7, 8))
OUTSIDE = {"encryption-key": KEY, "jwt-secret": "k" * 32, "token-key": "k" * 32, "redis-url": "rediss://:p@redis:6379", "nodes": "redis://a:6379,redis://b:6379"}


def environment(objects, container, translate=lambda name, value: value):
    """The variables that Kubernetes would give to that container, but for those of the pod itself."""
    secrets = {found["metadata"]["name"]: {key: base64.b64decode(value).decode() for key, value in found.get("data", {}).items()}
               for found in manifests.of_kind(objects, "Secret")}
    variables = {}
    for entry in container["env"]:
        if "value" in entry:
            variables[entry["name"]] = entry["value"]
            continue
        source = entry["valueFrom"].get("secretKeyRef")
        if source is None:
            continue
        of_chart = secrets.get(source["name"])
        value = OUTSIDE.get(source["key"]) if of_chart is None else of_chart.get(source["key"])
        if value is None:
            assert source.get("optional"), f"{entry['name']}: {source['name']} has no key {source['key']}"
            continue
        variables[entry["name"]] = translate(entry["name"], value)
    return variables


def write_settings(objects, directory, name):
    """The files of the ConfigMap, with the places in them moved to `directory`."""
    data = one(objects, "ConfigMap", name)["data"]
    for file, text in data.items():
        text = text.replace("/etc/salesos-webhooks/", f"{directory}/")
        (directory / file).write_text(text)
    return directory / "config.toml"


@pytest.mark.parametrize("file", CI, ids=lambda file: file.stem)
def test_the_rendered_settings_are_taken(chart, program, report, tmp_path, file):
    objects = HELMS[0].render(chart, merged([file], {}))
    deployment = one(objects, "Deployment")
    container = deployment["spec"]["template"]["spec"]["containers"][0]
    settings = write_settings(objects, tmp_path, deployment["metadata"]["name"])
    variables = environment(objects, container) | {"WEBHOOKS_NODE__ID": deployment["metadata"]["name"] + "-0123456789-abcde"}
    done = subprocess.run([program, "check-config", "--config", settings], env=variables, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    lines = [line.strip() for line in done.stdout.splitlines()]
    report("check-config of the rendered ConfigMap", f"{file.stem.removesuffix('-values'):<12} {' · '.join(lines)}")


def test_a_setting_arrives(chart, program, tmp_path):
    """And it is the rendered file that was read: numbers as they were given, whole or not."""
    minimal = [file for file in CI if "minimal" in file.name]
    objects = HELMS[0].render(chart, merged(minimal, {"config": {"server": {"base_path": "/elsewhere"}, "delivery": {"max_in_flight": 7},
                            "queue": {"max_pending_bytes_per_tenant": 1099511627776}, "telemetry": {"otlp_sample_ratio": 0.25}}}))
    settings = write_settings(objects, tmp_path, "trial-salesos-webhooks")
    text = settings.read_text()
    for line in ("max_in_flight = 7", "max_pending_bytes_per_tenant = 1099511627776", "otlp_sample_ratio = 0.25"):
        assert f"{line}\n" in text
    env = {"WEBHOOKS_AUTH__JWT_SECRET": "k" * 32}
    done = subprocess.run([program, "check-config", "--config", settings], env=env, capture_output=True, text=True, timeout=60)
    assert "/elsewhere" in done.stdout, done.stderr


@pytest.mark.parametrize("security", [
    {"encryptionKey": KEY, "formerEncryptionKeys": [FORMER]},
    {"existingSecret": "webhooks-encryption"},
    {"existingSecret": "elsewhere", "existingSecretKeys": {"encryptionKey": "encryption-key", "formerEncryptionKeys": "none"}},
], ids=["of-the-chart", "existing", "other-names"])
def test_the_encryption_keys_arrive(chart, program, tmp_path, security):
    minimal = [file for file in CI if "minimal" in file.name]
    objects = HELMS[0].render(chart, merged(minimal, {"security": security}))
    container = one(objects, "Deployment")["spec"]["template"]["spec"]["containers"][0]
    variables = environment(objects, container)
    assert variables["WEBHOOKS_SECURITY__ENCRYPTION_KEY"] == KEY
    assert variables.get("WEBHOOKS_SECURITY__FORMER_ENCRYPTION_KEYS") == (None if "existingSecret" in security else FORMER)
    settings = write_settings(objects, tmp_path, "trial-salesos-webhooks")
    done = subprocess.run([program, "check-config", "--config", settings], env=variables, capture_output=True, text=True, timeout=60)
    assert "encrypted with the key" in done.stdout, done.stderr


def test_without_an_encryption_key_no_variable_names_one(chart):
    minimal = [file for file in CI if "minimal" in file.name]
    container = one(HELMS[0].render(chart, merged(minimal, {})), "Deployment")["spec"]["template"]["spec"]["containers"][0]
    assert not [entry for entry in container["env"] if "SECURITY" in entry["name"]]
