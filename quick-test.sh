#!/usr/bin/env bash
# Runs the whole system once around and says whether all is well. Needs Python 3.11 or newer, and nothing else.
# With TEMPORAL_ADDRESS and TIMELINE_PULSAR_URL set, those servers are used instead of embedded ones.
set -euo pipefail
cd "$(dirname "$0")"
. deploy/environment.sh
trap 'status=$?; [ $status -eq 0 ] || echo "Quick test FAILED: the environment could not be set up"' EXIT
ensure_environment runtime '.[web]'
trap - EXIT
# In place of the shell, so that a signal reaches the test itself, which stops all it has started.
exec "$python" deploy/quick_test.py
