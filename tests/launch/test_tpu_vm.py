"""The gcloud commands that `launch/tpu_vm.sh` would run."""

import pathlib
import shlex
import subprocess

import pytest

ROOT = pathlib.Path(__file__).parents[2]
SLICE = ("--name=radit", "--zone=us-east5-a", "--topology=v5p:4x4x4")
LAUNCH = ("--", "finetune_lm", "--config=configs/ra_dit_65b.py", "--workdir=gs://b/a c")


def launch(*arguments):
    return subprocess.run(
        ["bash", "launch/tpu_vm.sh", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def commands(*arguments):
    """What a dry run prints, taken apart as a shell would."""
    done = launch("--dry_run", *arguments)
    assert done.returncode == 0, done.stderr
    text = " ".join(shlex.split(done.stdout, comments=True))
    starts = text.split("gcloud compute tpus tpu-vm ")[1:]
    return [start.strip() for start in starts]


def test_it_creates_copies_installs_and_launches():
    describe, create, copy, install, run = commands(*SLICE, *LAUNCH)
    assert describe == "describe radit --zone=us-east5-a"
    assert create == (
        "create radit --accelerator-type=v5p-128 --version=v2-alpha-tpuv5 "
        "--zone=us-east5-a"
    )
    assert copy.startswith("scp ")
    assert copy.endswith("radit:radit.tar.gz --worker=all --zone=us-east5-a")
    assert install.startswith("ssh radit --worker=all --command=mkdir -p radit")
    assert "-r requirements.txt" in install
    assert ".venv/bin/python -m launch.finetune_lm --distributed --config=" in run
    # The host's shell splits it once more.
    assert r"--workdir=gs://b/a\ c" in run


def test_options_reach_gcloud_and_the_hosts():
    _, create, *_, run = commands(
        *SLICE[:2], "--topology=v5e:4x8", "--spot", "--project=p", "--data=/d", *LAUNCH
    )
    assert "--accelerator-type=v5litepod-32" in create.split()
    assert "--spot" in create.split()
    assert "--project=p" in create.split()
    assert "RADIT_DATA=/d .venv/bin/python" in run


def test_deleting():
    [delete] = commands(*SLICE[:2], "--delete")
    assert delete == "delete radit --quiet --zone=us-east5-a"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--zone=z",), "--name is missing"),
        (("--name=n",), "--zone is missing"),
        ((*SLICE[:2], "--topology=v5p", *LAUNCH), "'v5p' is no slice; give e.g."),
        ((*SLICE[:2], "--topology=v9:2x2", *LAUNCH), "the chip 'v9'; known are v4"),
        (SLICE, "no launcher; give one after --"),
        ((*SLICE, "--", "finetune"), "launch/finetune.py does not exist"),
        ((*SLICE, "--workdir=gs://b", *LAUNCH), "unknown flag '--workdir=gs://b'"),
        ((*SLICE[:2], "--delete", *LAUNCH), "--delete takes no launcher"),
    ],
)
def test_wrong_flags(arguments, message):
    done = launch("--dry_run", *arguments)
    assert done.returncode == 1
    assert message in done.stderr
    assert not done.stdout


def test_without_gcloud(tmp_path):
    done = subprocess.run(
        ["/bin/bash", "launch/tpu_vm.sh", *SLICE, *LAUNCH],
        cwd=ROOT,
        env={"PATH": f"{tmp_path}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "gcloud is not installed" in done.stderr
