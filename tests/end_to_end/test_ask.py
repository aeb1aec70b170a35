"""Asking a finished run."""

import numpy as np
import pytest

from launch import ask
from radit_jax.artifacts import ArtifactError
from radit_jax.inference.answers import Answer
from radit_jax.stages import evaluate, inputs, predict
from radit_jax.types import Chunk
from radit_jax.workdir import Workdir


def test_the_answer_comes_with_its_passages(toy_run):
    asker = ask.Asker(toy_run.config, toy_run.workdir, "ra_it", "tuned")
    said = asker.ask("What is the river of Corvia ?").splitlines()
    assert said[0] == "Q: What is the river of Corvia ?"
    assert said[1].startswith("A: ")
    weights = [float(line[2:7].strip("%")) for line in said if "→" in line]
    assert len(weights) == toy_run.config.predict.num_chunks
    assert sum(weights) == pytest.approx(100, abs=0.3)
    assert any("of Corvia is" in line for line in said)


def test_closed_book_has_no_passages(toy_run):
    asker = ask.Asker(toy_run.config, toy_run.workdir, "base", "none")
    assert "→" not in asker.ask("What is the river of Corvia ?")


def test_render_marks_the_passages_that_agree():
    answer = Answer(
        text="Pell",
        log_probability=float(np.log(0.25)),
        candidates=("Pell", "Isk"),
        log_likelihood=np.zeros((2, 2), np.float32),
        candidate_log_probability=np.zeros(2, np.float32),
        chunk_answers=("Isk", "Pell"),
        gold_log_likelihood=None,
    )
    chunks = [Chunk(0, "d0", "One.", "Title"), Chunk(1, "d1", "Two.")]
    said = ask.render("Q?", answer, chunks, [0.4, 0.6])
    assert "A: Pell   (p = 0.25)" in said
    assert "  40.0%  Title → Isk" in said
    assert "* 60.0%  d1 → Pell" in said


def test_other_dev_questions_are_refused(toy_run, tmp_path):
    workdir = toy_run.copy(tmp_path / "run")
    file = workdir.retrieved("tuned") / "dev.jsonl"
    file.write_text("".join(file.read_text().splitlines(keepends=True)[1:]))
    with pytest.raises(ArtifactError, match="holds other dev questions than"):
        predict._dev_questions(workdir, ("base", "tuned"))


def test_a_split_that_was_not_retrieved_is_named(toy_run):
    with pytest.raises(ArtifactError, match="has no split 'train', only"):
        inputs.read_retrieved(toy_run.workdir, "tuned", "train")


def test_no_predictions_no_report(toy_run, tmp_path):
    with pytest.raises(ArtifactError, match="holds no predictions; run"):
        evaluate.run(toy_run.config, Workdir(toy_run.world))


def test_predictions_of_another_retrieval_are_refused(toy_run, tmp_path):
    workdir = toy_run.copy(tmp_path / "run")
    manifest = workdir.retrieved("base") / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"created"', '"made"'))
    with pytest.raises(ArtifactError, match="answers from another retrieval"):
        evaluate.run(toy_run.config, workdir)
