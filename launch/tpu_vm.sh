#!/usr/bin/env bash
# Any launcher on all hosts of a TPU slice, which is made if it is not there.
#
#   bash launch/tpu_vm.sh --name=radit --zone=us-east5-a --topology=v5p:4x4x4 -- \
#     finetune_lm --config=configs/ra_dit_65b.py --workdir=gs://BUCKET/runs/65b
#
#   --project=ID        of Google Cloud; left out: gcloud's own
#   --spot              cheaper, and may be taken away: the same command resumes
#   --data=PATH         RADIT_DATA on the hosts, such as a mounted bucket
#   --dry_run           prints the gcloud commands, and runs none
#   --delete            deletes the slice; no launcher then
#
# The tree's committed files are copied, with the packages that requirements.txt pins.
# The workdir must be one that all hosts share: a bucket, or a mounted disk.
set -euo pipefail
cd "$(dirname "$0")/.."

fail() {
  echo "error: $1" >&2
  exit 1
}

name="" zone="" topology="" project="" data="" spot=false dry_run=false delete=false
while [ $# -gt 0 ]; do
  case "$1" in
    --name=*) name="${1#*=}" ;;
    --zone=*) zone="${1#*=}" ;;
    --topology=*) topology="${1#*=}" ;;
    --project=*) project="${1#*=}" ;;
    --data=*) data="${1#*=}" ;;
    --spot) spot=true ;;
    --dry_run) dry_run=true ;;
    --delete) delete=true ;;
    --) shift; break ;;
    *) fail "unknown flag '$1'; give --name, --zone, --topology, then -- and a launcher." ;;
  esac
  shift
done

[ -n "$name" ] || fail "--name is missing: what the slice is called."
[ -n "$zone" ] || fail "--zone is missing, such as --zone=us-east5-a."
place=(--zone="$zone")
[ -z "$project" ] || place+=(--project="$project")
$dry_run || command -v gcloud >/dev/null ||
  fail "gcloud is not installed; see cloud.google.com/sdk, or give --dry_run."

run() {
  if $dry_run; then
    printf '%q ' "$@" | sed 's/ $//'
    echo
  else
    "$@"
  fi
}
tpu() { run gcloud compute tpus tpu-vm "$@" "${place[@]}"; }
on_all() { tpu ssh "$name" --worker=all --command="$1"; }

if $delete; then
  [ $# = 0 ] || fail "--delete takes no launcher; leave out '$*'."
  tpu delete "$name" --quiet
  exit
fi

chip="${topology%%:*}" shape="${topology#*:}"
[[ "$topology" =~ ^[a-z0-9]+:[0-9]+(x[0-9]+){1,2}$ ]] ||
  fail "--topology='$topology' is no slice; give e.g. --topology=v5e:4x8."
chips=$((${shape//x/*}))
# Newer chips are sold by their number, in one shape each; v5p's by its cores.
case "$chip" in
  v4) kind=(--type=v4 --topology="$shape" --version=tpu-ubuntu2204-base) ;;
  v5e) kind=(--accelerator-type="v5litepod-$chips" --version=v2-alpha-tpuv5-lite) ;;
  v5p) kind=(--accelerator-type="v5p-$((2 * chips))" --version=v2-alpha-tpuv5) ;;
  v6e) kind=(--accelerator-type="v6e-$chips" --version=v2-alpha-tpuv6e) ;;
  *) fail "--topology=$topology names the chip '$chip'; known are v4, v5e, v5p, v6e." ;;
esac
[ $# -gt 0 ] || fail "no launcher; give one after --, e.g. -- finetune_lm --config=…"
launcher="$1"
shift
[ -f "launch/$launcher.py" ] ||
  fail "launch/$launcher.py does not exist; give the name of a launcher, such as finetune_lm."

create=(create "$name" "${kind[@]}")
if $spot; then create+=(--spot); fi
if $dry_run; then
  echo "# unless it exists:"
  tpu describe "$name"
  tpu "${create[@]}"
elif ! tpu describe "$name" >/dev/null 2>&1; then
  tpu "${create[@]}"
fi

archive="$(mktemp -d)/radit.tar.gz"
trap 'rm -rf "$(dirname "$archive")"' EXIT
$dry_run || git archive --format=tar.gz --output="$archive" HEAD
tpu scp "$archive" "$name:radit.tar.gz" --worker=all
# The images' own Python is too old.
steps=(
  "mkdir -p radit"
  "tar -xzf radit.tar.gz -C radit"
  "cd radit"
  "python3 -m pip install --quiet --user uv"
  "export PATH=\$HOME/.local/bin:\$PATH"
  "{ [ -d .venv ] || uv venv --quiet --python 3.12 .venv; }"
  "uv pip install --quiet --python .venv -r requirements.txt -e '.[tpu,data]'"
)
on_all "$(printf '%s && ' "${steps[@]}")true"

program="cd radit && "
[ -z "$data" ] || program+="RADIT_DATA=$(printf '%q' "$data") "
program+=".venv/bin/python -m launch.$launcher --distributed"
for argument in "$@"; do program+=" $(printf '%q' "$argument")"; done
on_all "$program"
