"""What `launch.status` says of a run, whole and broken."""

import dataclasses
import json
import subprocess
import sys

import pytest
from absl import flags

from launch import run_pipeline, status
from radit_jax import artifacts, lock, states
from radit_jax.artifacts import ArtifactError


@pytest.fixture(scope="module", autouse=True)
def parsed_flags():
    flags.FLAGS.mark_as_parsed()


def survey(toy_run, workdir, config=None):
    lines = status.survey(config or toy_run.config, workdir)
    return lines, {line.step.label: line.state for line in lines}


def test_all_steps_are_done_and_have_sizes(toy_run):
    lines, found = survey(toy_run, toy_run.workdir)
    assert {state.name for state in found.values()} == {states.DONE}
    for line in lines:
        files = [file for file in line.folder.glob("**/*") if file.is_file()]
        assert line.state.num_bytes == sum(
            file.stat().length
            for file in files
            if file.name not in ("manifest.json", "started.json")
        )
        made = artifacts.find(line.folder)
        assert sum(made.manifest["files"].values()) == line.state.num_bytes
        assert line.state.seconds == made.manifest["seconds"]
    assert "launch.ask" in status.next_command(lines, toy_run.workdir)


def test_a_changed_field_makes_a_step_and_what_reads_it_stale(toy_run):
    training = dataclasses.replace(toy_run.config.lm_training, seed=1)
    config = dataclasses.replace(toy_run.config, lm_training=training)
    lines, found = survey(toy_run, toy_run.workdir, config)
    stale = {label for label, state in found.items() if state.name == states.STALE}
    assert stale == {
        "finetune_lm ra_it",
        "finetune_lm it",
        "predict it",
        "predict ra_it",
        "evaluate",
    }
    match = "lm_training.seed was 0 and is now 1"
    assert found["finetune_lm ra_it"].reason == match
    assert found["predict it"].reason == "reads finetune_lm it, to be made again"
    with pytest.raises(ArtifactError, match=match):  # the same comparison
        run_pipeline.run(config, toy_run.workdir)
    command = status.next_command(lines, toy_run.workdir)
    assert "launch.finetune_lm" in command
    assert "--config.lm_training.examples=ra_it --overwrite" in command


def test_lost_files_are_damage_and_are_not_skipped(toy_run, tmp_path):
    workdir = toy_run.copy(tmp_path / "run")
    (workdir.retrieved("base") / "dev.jsonl").unlink()
    _, found = survey(toy_run, workdir)
    assert found["retrieve base"].name == states.DAMAGED
    assert "files are gone or cut: dev.jsonl" in found["retrieve base"].reason
    assert found["build_examples it"].name == states.STALE
    with pytest.raises(ArtifactError, match="gone or cut: dev.jsonl. Give --overwrite"):
        run_pipeline.run(toy_run.config, workdir)
    (workdir.chunks / "manifest.json").write_text("{")
    _, found = survey(toy_run, workdir)
    assert "is no manifest: it lacks JSON" in found["chunk_corpus"].reason
    assert found["embed_corpus"].name == states.STALE
    assert "chunks/manifest.json is no manifest" in found["embed_corpus"].reason


def test_who_writes_and_why_it_failed(toy_run, tmp_path):
    workdir = toy_run.copy(tmp_path / "run")
    workdir.evaluation.rmtree()
    made_of = run_pipeline.STAGES["evaluate"].identity(toy_run.config, workdir)

    def broken(error):
        with (
            pytest.raises(type(error)),
            artifacts.writing(workdir.evaluation, "evaluate", *made_of),
        ):
            raise error

    broken(ValueError("no such thing"))
    state = survey(toy_run, workdir)[1]["evaluate"]
    assert state.name == states.FAILED
    assert state.reason.startswith("no such thing (20")
    broken(KeyboardInterrupt())
    assert survey(toy_run, workdir)[1]["evaluate"].reason.startswith("interrupted (20")
    with lock.hold(workdir.evaluation):
        lines, found = survey(toy_run, workdir)
        assert found["evaluate"].name == states.RUNNING
        assert "wait for process" in status.next_command(lines, workdir)
    run_pipeline.STAGES["evaluate"].run(toy_run.config, workdir)
    assert survey(toy_run, workdir)[1]["evaluate"].name == states.DONE
    assert not (workdir.path / ".evaluation.failed.json").exists()
    (workdir.evaluation / "manifest.json").unlink()  # as a killed run leaves it
    state = survey(toy_run, workdir)[1]["evaluate"]
    assert "stopped without a word" in state.reason


def launch(*arguments):
    done = subprocess.run(
        [sys.executable, "-m", "launch.status", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def test_a_config_of_another_version_is_told(toy_run, tmp_path):
    (tmp_path / "config.json").write_text('{"corpus": {"gone": 1}}')
    code, said = launch(f"--workdir={tmp_path}")
    assert code == 1
    assert "is no config of this version: corpus.gone is no field" in said
    code, said = launch(
        f"--workdir={tmp_path}", f"--config=configs/toy.py:{toy_run.world}", "--json"
    )
    assert code == 0, said
    found = json.loads(said)
    assert {step["state"] for step in found["steps"]} == {"not begun"}
    assert found["next"].startswith("python -m launch.chunk_corpus --config=configs/")


def test_a_folder_that_is_no_runs_is_told(tmp_path):
    code, said = launch(f"--workdir={tmp_path / 'none'}")
    assert code == 1
    assert "none does not exist; check --workdir" in said
    assert "Traceback" not in said
