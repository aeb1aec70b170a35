#!/usr/bin/env bash
# RA-DIT on real models and real text, on this machine's CPU.
#
#   bash launch/quickstart.sh                 20 to 25 minutes on 2 cores
#   bash launch/quickstart.sh smoke           about 4 minutes, once installed
#   bash launch/quickstart.sh smoke FOLDER    in another workdir
#
# A second run finds everything done. A killed run resumes.
set -euo pipefail
cd "$(dirname "$0")/.."
. launch/environment.sh

variant="${1:-}"
if [ -n "$variant" ] && [ "$variant" != smoke ]; then
  echo "error: unknown variant '$variant'; leave it out, or say smoke." >&2
  exit 1
fi
workdir="${2:-runs/quickstart${variant:+-$variant}}"
install ""
export RADIT_CACHE="${RADIT_CACHE:-.cache}"
export JAX_PLATFORMS="${JAX_PLATFORMS:-cpu}"
"$VENV/bin/python" -m launch.fetch_quickstart --cache="$RADIT_CACHE"
"$VENV/bin/python" -m launch.run_pipeline \
  --config="configs/quickstart.py${variant:+:$variant}" --workdir="$workdir"
