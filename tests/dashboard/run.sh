#!/usr/bin/env bash
# Uses the dashboard as people do, in a real browser: see run.mjs. Arguments are words: only tests whose names hold one of
# them run. Installs its driver and axe under target/tools, nothing outside of it; needs chromium (CHROMIUM names another
# one) and openssl. A missing tool is a failure, not a skip. `run.sh --images` takes the pictures in docs/images instead.
set -euo pipefail
cd "$(dirname "$0")/../.."

# Releases whose verdict is known; raise them on purpose. The driver is that of tests/browser, in the same place.
npm=(playwright-core@1.65.1 axe-core@4.14.1)
tools=$PWD/target/tools
export CHROMIUM=${CHROMIUM:-chromium}

scripts/require-package openssl openssl "Install OpenSSL with its command line (https://openssl.org)."
scripts/require-package curl curl "Install curl (https://curl.se)."
for tool in cargo python3 node npm openssl curl redis-server redis-cli "$CHROMIUM"; do
    command -v "$tool" >/dev/null || { echo "tests/dashboard: $tool is not in PATH" >&2; exit 1; }
done
CHROMIUM=$(command -v "$CHROMIUM")

mkdir -p "$tools"
npm install --prefix "$tools/browser" --no-save --no-audit --no-fund --silent "${npm[@]}"

cargo build --locked --quiet
# Where cargo really builds to: a target directory may be set from outside.
target=$(cargo metadata --locked --no-deps --format-version 1 \
    | python3 -c 'import json, sys; print(json.load(sys.stdin)["target_directory"])')

script=tests/dashboard/run.mjs
[ "${1:-}" != --images ] || { script=tests/dashboard/images.mjs; shift; }
NODE_PATH="$tools/browser/node_modules" BINARY="$target/debug/salesos-webhooks" SHOTS="$target/dashboard" \
    exec node "$script" "$@"
