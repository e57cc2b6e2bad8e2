#!/usr/bin/env bash
# Checks the signatures with other people's code, against a real node: the standardwebhooks packages of PyPI and npm, SalesOS's
# own recipe, the programs of docs/receivers.md in JavaScript, Python and Rust (with --all-languages those in Go and Java too), and
# those that the dashboard shows, in JavaScript, Python and PHP. Installs the packages under target/tools, and outside of it only
# PHP from Debian where it is missing. A missing tool is a failure, not a skip.
set -euo pipefail
cd "$(dirname "$0")/../.."

# Releases whose verdict is known; raise them on purpose.
pypi=standardwebhooks==1.1.0
npm=(standardwebhooks@1.1.1 express@5.2.1)
tools=$PWD/target/tools

languages=(js python rust)
needed=(cargo python3 node npm redis-server)
case "${1-}" in
    "") ;;
    --all-languages) languages+=(go java); needed+=(go java) ;;
    *) echo "tests/foreign/run.sh [--all-languages]" >&2; exit 2 ;;
esac

scripts/require-package php php-cli "Install PHP 8.0 or later with its command line (https://www.php.net)."
for tool in "${needed[@]}"; do
    command -v "$tool" >/dev/null || { echo "tests/foreign: $tool is not in PATH" >&2; exit 1; }
done

mkdir -p "$tools"
[ -x "$tools/venv/bin/python" ] || python3 -m venv "$tools/venv"
"$tools/venv/bin/python" -m pip install --quiet --disable-pip-version-check "$pypi"
npm install --prefix "$tools/npm" --no-save --no-audit --no-fund --silent "${npm[@]}"

cargo build --locked --quiet
# Where cargo really builds to: a target directory may be set from outside.
target=$(cargo metadata --locked --no-deps --format-version 1 \
    | python3 -c 'import json, sys; print(json.load(sys.stdin)["target_directory"])')

export NODE_PATH="$tools/npm/node_modules"
"$tools/venv/bin/python" tests/foreign/drive.py "$target/debug/salesos-webhooks"
"$tools/venv/bin/python" tests/foreign/guide.py "$target/debug/salesos-webhooks" "$tools" "${languages[@]}"
