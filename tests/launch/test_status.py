"""What `launch.status` says of a run, whole and broken.

The run has every step's manifest, of the toy config, and a line in place of its work:
what is told hangs on no more.
"""

import dataclasses
import json
import subprocess
import sys

import pytest
from absl import flags
from etils import epath

from configs import toy as toy_config
from launch import run_pipeline, status, steps
from radit_jax import artifacts, lock, states
from radit_jax.artifacts import ArtifactError
from radit_jax.testing import toy
from radit_jax.workdir import Workdir
from tests.toy_run import ToyRun


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    flags.FLAGS.mark_as_parsed()
    folder = epath.Path(tmp_path_factory.mktemp("status"))
    world = toy.write(folder / "world")
    config, workdir = toy_config.get_config(str(world)), Workdir(folder / "run")
    for step in steps.of(config):
        finish(step, config, workdir)
    return ToyRun(config, workdir, world)


def finish(step, config, workdir):
    """Leaves the step's artifact as a run does, but for its content."""
    stage, config = run_pipeline.STAGES[step.stage], step.config(config)
    path, made_of = stage.output(config, workdir), stage.identity(config, workdir)
    with artifacts.writing(path, step.stage, *made_of) as draft:
        draft.write_lines("lines.jsonl", [{"step": step.label}])
        draft.temporary = ("checkpoints",)
        (draft.path / "checkpoints").mkdir()
        (draft.path / "checkpoints" / "0").write_text("deleted once it is done")
    (path / "checkpoints").rmtree()


def survey(run, workdir, config=None):
    lines = status.survey(config or run.config, workdir)
    return lines, {line.step.label: line.state for line in lines}


def test_all_steps_are_done_and_have_sizes(run):
    lines, found = survey(run, run.workdir)
    assert {state.name for state in found.values()} == {states.DONE}
    for line in lines:
        size = (line.folder / "lines.jsonl").stat().length
        assert line.state.num_bytes == size > 0
        made = artifacts.find(line.folder)
        assert sum(made.manifest["files"].values()) == line.state.num_bytes
        assert line.state.seconds == made.manifest["seconds"]
    assert "launch.ask" in status.next_command(lines, run.workdir)


def test_a_changed_field_makes_a_step_and_what_reads_it_stale(run):
    training = dataclasses.replace(run.config.lm_training, seed=1)
    config = dataclasses.replace(run.config, lm_training=training)
    lines, found = survey(run, run.workdir, config)
    stale = {label for label, state in found.items() if state.name == states.STALE}
    assert stale == {
        "finetune_lm ra_it",
        "finetune_lm it",
        "predict it",
        "predict ra_it",
        "evaluate",
    }
    match = "lm_training.seed was 0 and is now 1"
    assert found["finetune_lm ra_it"].reason == f"config.{match}"
    assert found["predict it"].reason == "reads finetune_lm it, to be made again"
    with pytest.raises(ArtifactError, match=match):  # the same comparison
        run_pipeline.run(config, run.workdir)
    command = status.next_command(lines, run.workdir)
    assert "launch.finetune_lm" in command
    assert "--config.lm_training.examples=ra_it --overwrite" in command


def test_lost_files_are_damage_and_are_not_skipped(run, tmp_path):
    workdir = run.copy(tmp_path / "run")
    (workdir.retrieved("base") / "lines.jsonl").unlink()
    _, found = survey(run, workdir)
    assert found["retrieve base"].name == states.DAMAGED
    assert "files are gone or cut: lines.jsonl" in found["retrieve base"].reason
    assert found["build_examples it"].name == states.STALE
    with pytest.raises(ArtifactError, match="cut: lines.jsonl. Give --overwrite"):
        run_pipeline.run(run.config, workdir)
    (workdir.chunks / "manifest.json").write_text("{")
    _, found = survey(run, workdir)
    assert "is no manifest: it lacks JSON" in found["chunk_corpus"].reason
    assert found["embed_corpus"].name == states.STALE
    assert "chunks/manifest.json is no manifest" in found["embed_corpus"].reason


def test_who_writes_and_why_it_failed(run, tmp_path):
    workdir = run.copy(tmp_path / "run")
    workdir.evaluation.rmtree()
    made_of = run_pipeline.STAGES["evaluate"].identity(run.config, workdir)

    def broken(error):
        with (
            pytest.raises(type(error)),
            artifacts.writing(workdir.evaluation, "evaluate", *made_of),
        ):
            raise error

    broken(ValueError("no such thing"))
    state = survey(run, workdir)[1]["evaluate"]
    assert state.name == states.FAILED
    assert state.reason.startswith("no such thing (20")
    broken(KeyboardInterrupt())
    assert survey(run, workdir)[1]["evaluate"].reason.startswith("interrupted (20")
    with lock.hold(workdir.evaluation):
        lines, found = survey(run, workdir)
        assert found["evaluate"].name == states.RUNNING
        assert "wait for process" in status.next_command(lines, workdir)
    finish(steps.ALL[-1], run.config, workdir)
    assert survey(run, workdir)[1]["evaluate"].name == states.DONE
    assert not (workdir.path / ".evaluation.failed.json").exists()
    (workdir.evaluation / "manifest.json").unlink()  # as a killed run leaves it
    state = survey(run, workdir)[1]["evaluate"]
    assert "stopped without a word" in state.reason


def launch(*arguments):
    done = subprocess.run(
        [sys.executable, "-m", "launch.status", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def test_a_config_of_another_version_is_told(run, tmp_path):
    (tmp_path / "config.json").write_text('{"corpus": {"gone": 1}}')
    code, said = launch(f"--workdir={tmp_path}")
    assert code == 1
    assert "is no config of this version: corpus.gone is no field" in said
    code, said = launch(
        f"--workdir={tmp_path}", f"--config=configs/toy.py:{run.world}", "--json"
    )
    assert code == 0, said
    found = json.loads(said)
    assert {step["state"] for step in found["steps"]} == {"not begun"}
    assert found["next"].startswith("python -m launch.chunk_corpus --config=configs/")


def test_auto_is_what_it_was_in_the_run(run, tmp_path):
    workdir = run.copy(tmp_path / "run")
    (workdir.path / "config.json").write_text(
        json.dumps(dataclasses.asdict(run.config))
    )
    code, said = launch(
        f"--workdir={workdir.path}",
        f"--config=configs/toy.py:{run.world}",
        "--config.lm.compute_dtype=auto",
        "--json",
    )
    assert code == 0, said
    assert {step["state"] for step in json.loads(said)["steps"]} == {"done"}


def test_a_folder_that_is_no_runs_is_told(tmp_path):
    code, said = launch(f"--workdir={tmp_path / 'none'}")
    assert code == 1
    assert "none does not exist; check --workdir" in said
    assert "Traceback" not in said
