#!/usr/bin/env bash
# Runs the dashboards, the alerts and the numbers against a real Prometheus that scrapes real nodes: see check.py. What it
# needs is put under target/tools, nothing outside of it. A missing tool is a failure, not a skip.
set -euo pipefail
cd "$(dirname "$0")/../.."

# Releases whose verdict is known; raise them on purpose.
pypi=(promql-parser==0.12.0 PyYAML==6.0.4 opentelemetry-proto==1.45.2)
tools=$PWD/target/tools

for tool in cargo python3 redis-server; do
    command -v "$tool" >/dev/null || { echo "tests/observability: $tool is not in PATH" >&2; exit 1; }
done
prometheus=$(scripts/require-prometheus)

mkdir -p "$tools"
[ -x "$tools/venv/bin/python" ] || python3 -m venv "$tools/venv"
"$tools/venv/bin/python" -m pip install --quiet --disable-pip-version-check "${pypi[@]}"

python3 charts/dashboards.py --check

cargo build --locked --quiet
# Where cargo really builds to: a target directory may be set from outside.
target=$(cargo metadata --locked --no-deps --format-version 1 \
    | python3 -c 'import json, sys; print(json.load(sys.stdin)["target_directory"])')

exec "$tools/venv/bin/python" -B tests/observability/check.py "$target/debug/salesos-webhooks" "$prometheus"
