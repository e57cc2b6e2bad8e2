"""The values: complete, documented, and refused with a message that helps where they are wrong."""

import json
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

from conftest import CI
from helm import CHART, HELMS, ROOT, Refused, merged

WRONG = sorted((Path(__file__).parent / "wrong").glob("*.yaml"))
# What each message must name: the value, and what is expected or to be done.
NAMES = {
    "unknown-value": ["replicas"],
    "unknown-setting": ["require_tls"],
    "wrong-type": ["drain_seconds", "integer"],
    "out-of-range": ["partitions", "1024"],
    "unknown-mode": ["mode", "standalone", "sentinel", "cluster"],
    "plain-secret": ["config.auth.jwt_secret", "auth.existingSecret"],
    "plain-encryption-key": ["config.security.encryption_key", "security.existingSecret"],
    "two-encryption-keys": ["security.existingSecret", "give one"],
    "short-grace": ["terminationGracePeriodSeconds", "preStop.sleepSeconds", "config.server.drain_seconds"],
    "slow-handover": ["config.cluster.handover_seconds", "config.server.drain_seconds"],
    "too-many-nodes": ["70", "config.cluster.partitions"],
    "long-first-pause": ["config.breaker.pause_seconds", "config.breaker.max_pause_seconds"],
    "short-key": ["auth.jwtSecret", "32"],
    "no-key": ["auth.existingSecret", "config.auth.jwks_url"],
    "two-key-sets": ["config.auth.jwks_file", "config.auth.jwks_url", "give one"],
    "plain-keys": ["config.auth.jwks_url", "http://login.example/keys", "https"],
    "no-redis": ["redis.existingSecret", "valkey.enabled"],
    "two-redis": ["valkey.enabled", "give one"],
    "sentinel-without-master": ["redis.sentinelMaster"],
    "loopback": ["config.server.bind", "0.0.0.0"],
    "https-only": ["tests.privateReceiver", "config.delivery.require_https"],
    "no-image": ["image.repository", "docker build"],
}
# Those that the schema alone refuses, before any template.
BY_SCHEMA = {"unknown-value", "unknown-setting", "wrong-type", "out-of-range", "unknown-mode"}


def shortened(text):
    """The message without the places in templates that Helm puts before it."""
    text = re.sub(r"^.*error calling fail:", "", text, flags=re.S).removesuffix("Use --debug flag to render out invalid YAML")
    return re.sub(r"\s*\n\s*", " ", text).strip()


def test_every_wrong_file_is_expected():
    assert {file.stem for file in WRONG} == NAMES.keys() and BY_SCHEMA <= NAMES.keys()


@pytest.mark.parametrize("helm", HELMS, ids=lambda helm: helm.name)
@pytest.mark.parametrize("file", WRONG, ids=lambda file: file.stem)
def test_wrong_values_are_refused_with_a_word_that_helps(chart, report, file, helm):
    minimal = [file for file in CI if "minimal" in file.name]
    with pytest.raises(Refused) as refused:
        helm.render(chart, merged([*minimal, file], {}))
    message = shortened(str(refused.value))
    for name in NAMES[file.stem]:
        # One of them writes numbers as 1,024.
        assert name in message or name in message.replace(",", "")
    assert ("schema" in str(refused.value)) == (file.stem in BY_SCHEMA)
    if helm is HELMS[0]:
        report("wrong values, and what a person gets", f"{file.stem}: {message}")


def test_the_settings_are_those_of_the_program():
    """`config` holds the keys and defaults of config/default.toml, but for what a pod needs otherwise."""
    settings = tomllib.loads((ROOT / "config/default.toml").read_text())
    config = yaml.safe_load((CHART / "values.yaml").read_text())["config"]
    assert {section: set(keys) for section, keys in config.items()} == {section: set(keys) for section, keys in settings.items()}
    differ = {(section, key) for section, keys in settings.items() for key, value in keys.items() if config[section][key] != value}
    assert differ == {("server", "bind")}


def test_what_is_made_from_the_settings_is_up_to_date():
    done = subprocess.run([ROOT / "scripts/chart-values", "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def leaves(values, schema, path=""):
    """Every value whose content is our own business, by its path."""
    for key, value in values.items():
        name = f"{path}.{key}" if path else key
        own = schema["properties"][key]
        if isinstance(value, dict) and own.get("additionalProperties") is False:
            yield from leaves(value, own, name)
        else:
            yield name


def test_every_value_is_in_the_schema_and_in_the_readme():
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    schema = json.loads((CHART / "values.schema.json").read_text())
    readme = (CHART / "README.md").read_text()
    values["global"] = {}
    for name in leaves(values, schema):
        assert re.search(rf"^\| `{re.escape(name)}[`.]", readme, re.M), name

    def closed(part, path):
        if "properties" in part and path != "global":
            assert part.get("additionalProperties") is False, path
        for key, inner in part.get("properties", {}).items():
            closed(inner, f"{path}.{key}".strip("."))

    closed(schema, "")


def test_every_number_of_the_settings_has_its_range_in_the_schema():
    config = json.loads((CHART / "values.schema.json").read_text())["properties"]["config"]["properties"]
    for section, keys in config.items():
        for key, schema in keys["properties"].items():
            assert schema["type"] not in ("integer", "number") or {"minimum", "maximum"} <= schema.keys(), f"{section}.{key}"
