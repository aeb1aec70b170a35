"""The LSR training reaches the query tower, and nothing else."""

import dataclasses

import numpy as np
import pytest
from flax import nnx

from radit_jax import artifacts, fingerprint
from radit_jax.config import ConfigError
from radit_jax.stages import finetune_retriever, inputs
from radit_jax.training.metrics import read_metrics


def gold_scores(load_scored, store_documents):
    """Scores that favour the chunk of the positive document: a perfect LM."""

    def load(config, workdir, split):
        found, scores = load_scored(config, workdir, split)
        if not found:
            return found, scores
        is_gold = [
            [store_documents[c] in item.instruction.positives for c in ids]
            for item, ids in ((i, i.chunk_ids[: scores.shape[1]]) for i in found)
        ]
        return found, np.where(is_gold, 0.0, -0.05).astype(np.float32)

    return load


@pytest.fixture
def taught(toy_run, tmp_path, monkeypatch):
    """A run whose LM scores are perfect and whose base tower has lost its way."""
    workdir = toy_run.copy(tmp_path / "run")
    workdir.query_tower.rmtree()
    documents = [
        record["id"] for record in artifacts.read_lines(toy_run.config.corpus.documents)
    ]
    monkeypatch.setattr(
        finetune_retriever,
        "load_scored",
        gold_scores(finetune_retriever.load_scored, documents),
    )
    monkeypatch.setattr(finetune_retriever, "_validation", lambda *_: None)
    return workdir


def test_it_trains_the_query_tower_alone(toy_run, taught):
    passage = fingerprint.hash_files(toy_run.config.encoder.passage_path)
    embedded = fingerprint.hash_files(taught.embeddings)
    finetune_retriever.run(toy_run.config, taught)
    losses = [m["loss"] for m in read_metrics(taught.query_tower / "metrics")]
    assert np.mean(losses[-5:]) < 0.7 * np.mean(losses[:5])
    base = toy_run.world / "encoder" / "model.safetensors"
    tuned = taught.query_tower / "model" / "model.safetensors"
    assert base.read_bytes() != tuned.read_bytes()
    assert fingerprint.hash_files(toy_run.config.encoder.passage_path) == passage
    assert fingerprint.hash_files(taught.embeddings) == embedded


def test_scores_of_another_retrieval_are_refused(toy_run, tmp_path):
    workdir = toy_run.copy(tmp_path / "run")
    manifest = workdir.retrieved("base") / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"created"', '"made"'))
    with pytest.raises(artifacts.ArtifactError, match="scores another retrieval"):
        finetune_retriever.run(toy_run.config, workdir)


def test_a_score_that_is_not_finite_is_refused_by_name(toy_run, monkeypatch):
    monkeypatch.setattr(
        finetune_retriever.likelihood,
        "sequence_score",
        lambda values, mask, form: np.full(len(values), np.nan, np.float32),
    )
    with pytest.raises(ConfigError, match="LM score of question 'q-.*' is .*nan"):
        finetune_retriever.load_scored(toy_run.config, toy_run.workdir, "train")


@pytest.mark.parametrize("form", ["likelihood", "mean_likelihood"])
def test_every_score_form_is_a_view_of_the_same_artifact(toy_run, form):
    training = dataclasses.replace(toy_run.config.retriever_training, score=form)
    config = dataclasses.replace(toy_run.config, retriever_training=training)
    logs = dataclasses.replace(
        training, score=form.replace("likelihood", "log_likelihood")
    )
    _, values = finetune_retriever.load_scored(config, toy_run.workdir, "train")
    config = dataclasses.replace(config, retriever_training=logs)
    _, expected = finetune_retriever.load_scored(config, toy_run.workdir, "train")
    np.testing.assert_allclose(values, np.exp(expected), rtol=1e-5)


def test_validation_is_the_mrr_that_the_report_measures(toy_run):
    """On the base tower: the mean reciprocal rank of what `retrieve` found."""
    config, workdir = toy_run.config, toy_run.workdir
    matrix = inputs.embeddings_of(artifacts.load(workdir.embeddings, "embed_corpus"))
    tower = inputs.query_tower(config, workdir, "base")
    graphdef, params = nnx.split(tower.encoder)
    validate = finetune_retriever._validation(config, workdir, matrix, tower, graphdef)
    store = inputs.chunk_store(workdir)
    ranks = []
    for item in inputs.read_retrieved(workdir, "base", "validation"):
        documents = [store[row].document_id for row in item.chunk_ids]
        hits = [d in item.instruction.positives for d in documents]
        ranks.append(1 / (hits.index(True) + 1) if any(hits) else 0.0)
    assert len(ranks) == 7
    assert 0 < np.mean(ranks) < 1
    assert validate(params) == pytest.approx(np.mean(ranks))
