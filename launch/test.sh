#!/usr/bin/env bash
# The tests: ruff, then pytest on the CPU with 8 simulated devices.
#
#   bash launch/test.sh                       all that needs nothing but pip
#   bash launch/test.sh -m real_models        needs the quickstart's models
#   bash launch/test.sh tests/ops -k lsr      any pytest arguments
set -euo pipefail
cd "$(dirname "$0")/.."
. launch/environment.sh

# Debian's chromium, for the tests of pages; without a browser they are skipped.
install_browser() {
  if command -v chromium chromium-browser google-chrome >/dev/null; then
    return
  fi
  if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    return
  fi
  echo "Installing chromium …"
  { timeout 300 apt-get -qq update && DEBIAN_FRONTEND=noninteractive timeout 600 \
    apt-get -qq install -y --no-install-recommends chromium; } >/dev/null 2>&1 ||
    echo "… it can't be installed; the tests that need a browser will be skipped." >&2
}

install "[test]"
install_browser
"$VENV/bin/python" -m ruff check .
"$VENV/bin/python" -m ruff format --check .
exec "$VENV/bin/python" -m pytest "$@"
