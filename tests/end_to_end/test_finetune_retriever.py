"""The LSR training reaches the query tower, and nothing else."""

import dataclasses

import numpy as np
import pytest
from flax import nnx

from radit_jax import artifacts, fingerprint
from radit_jax.config import ConfigError
from radit_jax.evaluation.tower_quality import TowerQuality
from radit_jax.models import huggingface
from radit_jax.models.encoder import Encoder
from radit_jax.retrieval import lm_scores
from radit_jax.stages import finetune_retriever, inputs
from radit_jax.training import mesh
from radit_jax.training.metrics import read_metrics


def with_training(config, **changes):
    training = dataclasses.replace(config.retriever_training, **changes)
    return dataclasses.replace(config, retriever_training=training)


def short(config, **changes):
    """A run of a few steps, whose metrics are all that is looked at."""
    return with_training(
        config, num_steps=3, warmup_steps=0, validate_every=3, **changes
    )


def test_it_trains_the_query_tower_alone(toy_run, tmp_path):
    """Towards the gold chunk, so that it learns even from a random LM's pipeline."""
    config = with_training(toy_run.config, teacher="gold", lm_temperature=0.3)
    encoder, embeddings = config.encoder.passage_path, toy_run.workdir.embeddings
    before = [fingerprint.hash_files(path) for path in (encoder, embeddings)]
    found = finetune_retriever.run(config, toy_run.workdir, folder=tmp_path / "gold")
    losses = [m["loss"] for m in read_metrics(found.path / "metrics") if "loss" in m]
    assert np.mean(losses[-5:]) < 0.7 * np.mean(losses[:5])
    base = toy_run.world / "encoder" / "model.safetensors"
    tuned = found.path / "model" / "model.safetensors"
    assert base.read_bytes() != tuned.read_bytes()
    assert [fingerprint.hash_files(path) for path in (encoder, embeddings)] == before
    assert not (found.path / "passage_model").exists()
    assert not (found.path / "checkpoints").exists()


def test_it_says_what_was_gained(toy_run, caplog):
    counts = artifacts.load(toy_run.workdir.query_tower, "finetune_retriever").counts
    validation = counts["validation"]
    assert validation["questions"] == 7
    assert validation["judged_by"] == "chunks of positives"
    assert validation["searched"] == "whole corpus"
    assert validation["before"]["mrr"] == counts["validation_mrr_before"]
    assert validation["after"]["mrr"] == counts["validation_mrr"]
    assert set(validation["difference"]) == {"mrr", "recall@1", "recall@5", "recall@10"}
    assert set(validation["difference"]["mrr"]) == {"value", "low", "high"}
    assert counts["lm_temperature"] == 0.01
    assert counts["retriever_temperature"] == toy_run.config.encoder.temperature
    assert counts["score"] == "mean_log_likelihood"


@pytest.mark.parametrize(
    ("loss", "own"),
    [
        ("replug_lsr", ("likelihood", 0.1, 0.1)),
        ("pdist", ("mean_log_likelihood", 0.01, 0.01)),
        ("emdr2", ("log_likelihood", 1.0, 1.0)),
    ],
)
def test_every_loss_trains_and_tells_of_itself(toy_run, tmp_path, loss, own):
    config = short(toy_run.config, loss=loss)
    found = finetune_retriever.run(config, toy_run.workdir, folder=tmp_path / loss)
    fields = "score", "lm_temperature", "retriever_temperature"
    assert tuple(found.counts[name] for name in fields) == own
    recorded = found.manifest["config"]["retriever_training"]
    assert tuple(recorded[name] for name in fields) == own
    lines = [m for m in read_metrics(found.path / "metrics") if "loss" in m]
    assert len(lines) == 3
    wanted = {"entropy_p_r", "kl_p_r_p_lsr", "agreement", "nearly_uniform"}
    assert all(wanted <= line.keys() for line in lines)
    assert all(line["gradient_norm"] > 0 for line in lines)


def test_both_towers_learn_where_asked(toy_run, tmp_path, caplog):
    config = short(toy_run.config, train="both", teacher="gold")
    found = finetune_retriever.run(config, toy_run.workdir, folder=tmp_path / "both")
    base = (toy_run.world / "encoder" / "model.safetensors").read_bytes()
    for name in ("model", "passage_model"):
        assert (found.path / name / "model.safetensors").read_bytes() != base
    assert "embeddings and index are stale" in caplog.text
    assert f"passage_path={found.path / 'passage_model'}" in caplog.text


def test_scores_of_another_retrieval_are_refused(toy_run, tmp_path):
    workdir = toy_run.copy(tmp_path / "run")
    manifest = workdir.retrieved("base") / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"created"', '"made"'))
    with pytest.raises(artifacts.ArtifactError, match="scores another retrieval"):
        finetune_retriever.run(toy_run.config, workdir)


def test_a_score_that_is_not_finite_is_refused_by_name(toy_run, monkeypatch):
    monkeypatch.setattr(
        lm_scores.likelihood,
        "sequence_score",
        lambda values, mask, form: np.full(len(values), np.nan, np.float32),
    )
    with pytest.raises(ConfigError, match="LM score of question 'q-.*' is .*nan"):
        finetune_retriever.supervised(toy_run.config, toy_run.workdir, "train")


def test_a_tower_of_another_width_is_refused_before_work(toy_run, tmp_path):
    tower = inputs.query_tower(toy_run.config, toy_run.workdir, "base")
    narrow = dataclasses.replace(tower.encoder.config, width=32)
    folder = tmp_path / "narrow"
    huggingface.save_encoder(Encoder(narrow, rngs=nnx.Rngs(0)), folder, tower.tokenizer)
    encoder = dataclasses.replace(toy_run.config.encoder, query_path=str(folder))
    config = dataclasses.replace(toy_run.config, encoder=encoder)
    with pytest.raises(ConfigError, match="embeds in 32 numbers, .* have 64"):
        finetune_retriever.run(config, toy_run.workdir, folder=tmp_path / "out")
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["started.json"]


@pytest.mark.parametrize("form", ["likelihood", "mean_likelihood"])
def test_every_score_form_is_a_view_of_the_same_artifact(toy_run, form):
    logs = form.replace("likelihood", "log_likelihood")
    values, expected = (
        finetune_retriever.supervised(
            with_training(toy_run.config, score=name), toy_run.workdir, "train"
        ).scores.values
        for name in (form, logs)
    )
    np.testing.assert_allclose(values, np.exp(expected), rtol=1e-5)


def test_validation_is_the_mrr_that_the_report_measures(toy_run):
    """On the base tower: the mean reciprocal rank of what `retrieve` found."""
    config, workdir = toy_run.config, toy_run.workdir
    matrix = inputs.embeddings_of(artifacts.load(workdir.embeddings, "embed_corpus"))
    tower = inputs.query_tower(config, workdir, "base")
    graphdef, params = nnx.split(tower.encoder)
    store = inputs.chunk_store(workdir)
    retrieved = inputs.retriever_questions(config, workdir, "validation")
    quality = TowerQuality(retrieved, tower, graphdef, matrix, store, mesh.make_mesh())
    ranks = []
    for item in retrieved:
        documents = [store[row].document_id for row in item.chunk_ids]
        hits = [d in item.instruction.positives for d in documents]
        ranks.append(1 / (hits.index(True) + 1) if any(hits) else 0.0)
    assert len(ranks) == 7
    assert 0 < np.mean(ranks) < 1
    assert quality.mrr(params) == pytest.approx(np.mean(ranks))
