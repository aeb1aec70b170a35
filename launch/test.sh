#!/usr/bin/env bash
# The tests: ruff, then pytest on the CPU with 8 simulated devices.
#
#   bash launch/test.sh                       all that needs nothing but pip
#   bash launch/test.sh -m real_models        needs the quickstart's models
#   bash launch/test.sh tests/ops -k lsr      any pytest arguments
set -euo pipefail
cd "$(dirname "$0")/.."
. launch/environment.sh

install "[test]"
"$VENV/bin/python" -m ruff check .
"$VENV/bin/python" -m ruff format --check .
exec "$VENV/bin/python" -m pytest "$@"
