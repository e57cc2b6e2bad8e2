#!/usr/bin/env bash
# Checks the signatures with other people's code: the standardwebhooks packages of PyPI and npm, and SalesOS's own recipe,
# against a real node. Installs them under target/tools, nothing outside of it. A missing tool is a failure, not a skip.
set -euo pipefail
cd "$(dirname "$0")/../.."

# Releases whose verdict is known; raise them on purpose.
pypi=standardwebhooks==1.1.0
npm=standardwebhooks@1.1.1
tools=$PWD/target/tools

for tool in cargo python3 node npm redis-server; do
    command -v "$tool" >/dev/null || { echo "tests/foreign: $tool is not in PATH" >&2; exit 1; }
done

mkdir -p "$tools"
[ -x "$tools/venv/bin/python" ] || python3 -m venv "$tools/venv"
"$tools/venv/bin/python" -m pip install --quiet --disable-pip-version-check "$pypi"
npm install --prefix "$tools/npm" --no-save --no-audit --no-fund --silent "$npm"

cargo build --locked --quiet
# Where cargo really builds to: a target directory may be set from outside.
target=$(cargo metadata --locked --no-deps --format-version 1 \
    | python3 -c 'import json, sys; print(json.load(sys.stdin)["target_directory"])')

NODE_PATH="$tools/npm/node_modules" exec "$tools/venv/bin/python" tests/foreign/drive.py "$target/debug/salesos-webhooks"
