#!/usr/bin/env bash
# Lints, type-checks and tests. Arguments go to pytest: ./run-tests.sh tests/feeder -k late
set -euo pipefail
cd "$(dirname "$0")"
. deploy/environment.sh
ensure_environment dev '.[dev]'
export PATH="$PWD/.venv/bin:$PATH"
echo "ruff"
ruff check .
echo "mypy"
mypy
echo "pytest"
exec pytest "$@"
