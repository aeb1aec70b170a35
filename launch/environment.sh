# Sourced by quickstart.sh and test.sh: makes .venv and installs what is pinned.
# `install EXTRA` does nothing when the pins it installed last are still the same.

PYTHON="${PYTHON:-python3}"
VENV="${RADIT_VENV:-.venv}"

install() {
  local extra="$1" wanted
  "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "error: $("$PYTHON" --version) is too old; set PYTHON to Python 3.11 or newer." >&2
    exit 1
  }
  wanted="$(cat requirements.txt setup.py | cksum) $extra"
  if [ ! -x "$VENV/bin/python" ]; then
    "$PYTHON" -m venv "$VENV"
  fi
  if [ "$(cat "$VENV/installed$extra" 2>/dev/null)" != "$wanted" ]; then
    echo "Installing the pinned requirements into $VENV …"
    "$VENV/bin/python" -m pip install --quiet --disable-pip-version-check \
      -r requirements.txt -e ".$extra"
    echo "$wanted" >"$VENV/installed$extra"
  fi
}
