#!/usr/bin/env bash
# Opens /api/docs in a real browser: see page.mjs. Installs its driver under target/tools, nothing outside of it; needs
# chromium (CHROMIUM names another one). A missing tool is a failure, not a skip.
set -euo pipefail
cd "$(dirname "$0")/../.."

# A release whose verdict is known; raise it on purpose.
npm=playwright-core@1.65.1
tools=$PWD/target/tools
export CHROMIUM=${CHROMIUM:-chromium}

for tool in cargo python3 node npm redis-server "$CHROMIUM"; do
    command -v "$tool" >/dev/null || { echo "tests/browser: $tool is not in PATH" >&2; exit 1; }
done
CHROMIUM=$(command -v "$CHROMIUM")

mkdir -p "$tools"
npm install --prefix "$tools/browser" --no-save --no-audit --no-fund --silent "$npm"

cargo build --locked --quiet
# Where cargo really builds to: a target directory may be set from outside.
target=$(cargo metadata --locked --no-deps --format-version 1 \
    | python3 -c 'import json, sys; print(json.load(sys.stdin)["target_directory"])')

NODE_PATH="$tools/browser/node_modules" exec node tests/browser/page.mjs "$target/debug/salesos-webhooks"
