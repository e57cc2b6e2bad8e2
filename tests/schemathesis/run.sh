#!/usr/bin/env bash
# Holds a running node to its own OpenAPI document: the document is valid, its examples meet their schemas, and schemathesis
# finds nothing that answers otherwise than it says (drive.py). What it needs is put under target/tools, nothing outside of
# it. A missing tool is a failure, not a skip. SEED=N chooses other requests, SEED=random any; arguments go to `st run`, such as --include-operation-id createWebhook --phases coverage.
set -euo pipefail
cd "$(dirname "$0")/../.."

# Releases whose verdict is known; raise them on purpose.
pypi=(schemathesis==4.32.5 openapi-spec-validator==0.9.0 jsonschema==4.26.0)
# A tree of its own: its dependencies are many, and those of other checks are pinned apart.
venv=$PWD/target/tools/schemathesis

for tool in cargo python3 redis-server; do
    command -v "$tool" >/dev/null || { echo "tests/schemathesis: $tool is not in PATH" >&2; exit 1; }
done

mkdir -p "$(dirname "$venv")"
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check "${pypi[@]}"

cargo build --locked --quiet
# Where cargo really builds to: a target directory may be set from outside.
target=$(cargo metadata --locked --no-deps --format-version 1 \
    | python3 -c 'import json, sys; print(json.load(sys.stdin)["target_directory"])')
binary=$target/debug/salesos-webhooks

"$venv/bin/python" -B tests/schemathesis/document.py "$binary"
exec "$venv/bin/python" -B tests/schemathesis/drive.py "$binary" "$venv/bin/st" "$@"
