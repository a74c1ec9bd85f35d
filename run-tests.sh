#!/usr/bin/env bash
# Lints, type-checks and tests. Arguments go to pytest: ./run-tests.sh tests/feeder -k late, or -n 0 for one process
set -euo pipefail
cd "$(dirname "$0")"
. deploy/environment.sh
ensure_environment dev '.[dev]'
export PATH="$PWD/.venv/bin:$PATH"
echo "ruff"
ruff check .
echo "mypy"
mypy
echo "import-linter"
lint-imports --no-cache
echo "pytest"
# Four, as servers that start and workers that are killed leave two cores waiting. tests/conftest.py groups files.
exec pytest -n 4 --no-loadscope-reorder "$@"
