"""Wrong command lines, as a user meets them: one line that says what to do."""

import json
import subprocess
import sys

import pytest

from radit_jax.testing import toy
from radit_jax.training import preemption


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return toy.write(tmp_path_factory.mktemp("world"))


def launch(name, *arguments):
    done = subprocess.run(
        [sys.executable, "-m", f"launch.{name}", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stderr


def test_unknown_field_names_the_nearest(world, tmp_path):
    code, said = launch(
        "chunk_corpus",
        f"--config=configs/toy.py:{world}",
        f"--workdir={tmp_path}",
        "--config.corpus.max_chunk_word=3",
    )
    assert code == 1
    assert "--config.corpus.max_chunk_word is not a field of the config" in said
    assert "--config.corpus.max_chunk_words" in said
    assert "Traceback" not in said


def test_a_workdir_of_another_config_is_refused(world, tmp_path):
    run = ("chunk_corpus", f"--config=configs/toy.py:{world}", f"--workdir={tmp_path}")
    code, said = launch(*run, "--config.corpus.id_field=id")
    assert code == 0
    assert "MiB of disk (" in said or "KiB of disk (" in said
    assert f" in {tmp_path}/chunks, " in said
    assert (
        f"Next: python -m launch.embed_corpus --config=configs/toy.py:{world} "
        f"--config.corpus.id_field=id --workdir={tmp_path}\n"
    ) in said
    code, said = launch(*run, "--config.corpus.max_chunk_words=12")
    assert code == 1
    assert "corpus.max_chunk_words was 200 and is now 12" in said
    assert "--overwrite" in said
    assert "Traceback" not in said
    assert launch(*run, "--config.corpus.max_chunk_words=12", "--overwrite")[0] == 0


def test_a_run_keeps_what_auto_stood_for(world, tmp_path):
    code, said = launch(
        "chunk_corpus",
        f"--config=configs/toy.py:{world}",
        f"--workdir={tmp_path}",
        "--config.lm.compute_dtype=auto",
    )
    assert code == 0, said
    kept = json.loads((tmp_path / "config.json").read_text())
    assert kept["lm"]["compute_dtype"] == "float32"  # tests run on the CPU


def test_missing_files_and_stages_are_named(world, tmp_path):
    code, said = launch(
        "retrieve", f"--config=configs/toy.py:{world}", f"--workdir={tmp_path}"
    )
    assert code == 1
    assert "index does not exist; run `python -m launch.build_index`" in said
    code, said = launch("ask", f"--workdir={tmp_path / 'none'}", "Why?")
    assert code == 1
    assert "is no run's folder" in said


def test_serving_other_machines_needs_a_token(tmp_path):
    code, said = launch("serve", f"--workdir={tmp_path}", "--host=0.0.0.0")
    assert code == 1
    assert "there is no token. Set the environment variable RADIT_TOKEN" in said


def test_a_run_that_was_asked_to_end_has_a_status_of_its_own():
    program = (
        "from launch import cli\n"
        "from radit_jax.training.preemption import PreemptedError\n"
        "def main(argv):\n"
        "    raise PreemptedError('SIGTERM after step 3; saved x.')\n"
        "cli.run_main(main)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == preemption.EXIT_STATUS == 75
    assert done.stderr.splitlines()[-1] == "SIGTERM after step 3; saved x."
