import dataclasses
import json

import numpy as np
import pytest
from etils import epath
from safetensors import numpy as safetensors

from launch import run_pipeline, steps
from radit_jax import artifacts
from radit_jax.config import ConfigError
from radit_jax.stages import chunk_corpus, evaluate, predict, retrieve
from radit_jax.training.metrics import read_metrics
from radit_jax.workdir import Workdir


def results(toy_run):
    return json.loads((toy_run.workdir.evaluation / "results.json").read_text())


def test_six_systems_are_measured_with_intervals(toy_run):
    systems = results(toy_run)["systems"]
    assert [s["name"] for s in systems] == [
        "LM alone",
        "REPLUG",
        "IT + retriever",
        "RA-IT",
        "R-ft only",
        "RA-DIT",
    ]
    for system in systems:
        for metric in ("em", "f1", "contains"):
            interval = system[metric]
            assert interval["low"] <= interval["value"] <= interval["high"]
    assert "<svg" in (toy_run.workdir.evaluation / "report.html").read_text()


def test_retrieval_beats_chance(toy_run):
    # 48 documents: a random order has recall@5 of about 10 %.
    retriever = results(toy_run)["retriever"]
    assert retriever["base"]["recall@5"]["value"] > 80
    assert retriever["base"]["num_questions"] == 12


def test_both_lms_learn(toy_run):
    for name in ("ra_it", "it"):
        counts = artifacts.load(toy_run.workdir.lm(name), "finetune_lm").counts
        assert counts["validation_loss"] < counts["validation_loss_before"] - 0.5
        losses = [
            line["loss"]
            for line in read_metrics(toy_run.workdir.lm(name) / "metrics")
            if "loss" in line
        ]
        assert len(losses) == toy_run.config.lm_training.num_steps


def test_every_chunk_makes_its_own_example(toy_run):
    train = artifacts.load(toy_run.workdir.examples("ra_it"), "build_examples").counts
    plain = artifacts.load(toy_run.workdir.examples("it"), "build_examples").counts
    num_chunks = toy_run.config.examples.num_chunks
    assert train["train"]["examples"] == num_chunks * train["train"]["questions"]
    assert plain["train"]["examples"] == plain["train"]["questions"]


def test_dev_questions_never_train(toy_run):
    found = {
        split: {
            record["id"]
            for record in artifacts.read_lines(
                toy_run.workdir.retrieved("base") / f"{split}.jsonl"
            )
        }
        for split in ("train", "validation", "dev")
    }
    assert len(found["dev"]) == 12
    assert not found["dev"] & (found["train"] | found["validation"])
    assert not found["train"] & found["validation"]


def test_scores_hold_every_answer_token(toy_run):
    scores = artifacts.load(toy_run.workdir.scores("base"), "score_chunks")
    lines = artifacts.read_lines(toy_run.workdir.retrieved("base") / "train.jsonl")
    shards = [
        safetensors.load((scores.path / file).read_bytes())
        for file in scores.counts["shards"]
    ]
    num_tokens = np.concatenate([shard["num_tokens"] for shard in shards])
    assert num_tokens.shape == (len(lines), toy_run.config.scoring.num_chunks)
    assert num_tokens.sum() == sum(len(s["token_log_likelihood"]) for s in shards)
    assert all((s["token_log_likelihood"] < 0).all() for s in shards)
    # One question's chunks score the same answer.
    assert (num_tokens == num_tokens[:, :1]).all()


def test_a_second_run_does_nothing(toy_run):
    def manifests():
        found = sorted(toy_run.workdir.path.glob("*/manifest.json"))
        found += sorted(toy_run.workdir.path.glob("*/*/manifest.json"))
        found += sorted(toy_run.workdir.path.glob("*/*/*/manifest.json"))
        return {str(path): path.read_bytes() for path in found}

    before = manifests()
    assert len(before) == len(steps.ALL)
    run_pipeline.run(toy_run.config, toy_run.workdir)
    assert manifests() == before


def test_probes_are_artifacts_of_their_own(toy_run, tmp_path):
    workdir = toy_run.copy(tmp_path / "run")
    asked = dataclasses.replace(toy_run.config.evaluation, probe_questions=4)
    config = dataclasses.replace(toy_run.config, evaluation=asked)
    wanted = [step for step in steps.of(config) if "predict.probe" in step.overrides]
    wanted = [step for step in wanted if step.overrides["predict.lm"] == "ra_it"][1:]
    made = [predict.run(step.config(config), workdir) for step in wanted]
    again = [predict.run(step.config(config), workdir) for step in wanted]
    assert [one.manifest["created"] for one in again] == [
        one.manifest["created"] for one in made
    ]
    assert made[-1].path == workdir.probe("ra_it", "concatenate")
    assert made[-1].manifest["config"]["predict"]["mode"] == "concatenate"
    systems = artifacts.load(workdir.predictions("ra_it"), "predict")
    assert "probe" not in systems.manifest["config"]["predict"]
    evaluate.run(config, workdir)
    probed = json.loads((workdir.evaluation / "results.json").read_text())["probes"]
    rows = probed["depth"]["ra_it"]
    assert [row["name"] for row in rows] == ["k=0", "k=1", "k=3"]  # 5 are retrieved
    assert {row["num_questions"] for row in rows} == {4}
    # Every document states its fact, so each question has a right passage.
    names = [row["name"] for row in probed["passages"]["ra_it"]]
    assert names == ["none", "right", "random"]
    (together,) = probed["together"]
    assert (together["lm"], together["name"]) == ("ra_it", "k=3")


def test_the_corpus_can_be_limited(toy_run, tmp_path):
    corpus = dataclasses.replace(toy_run.config.corpus, max_documents=5)
    config = dataclasses.replace(toy_run.config, corpus=corpus)
    found = chunk_corpus.run(config, Workdir(epath.Path(tmp_path)))
    assert (found.counts["documents"], found.counts["chunks"]) == (5, 5)
    assert found.counts["words"] == 35


def test_manifests_chain_their_inputs(toy_run):
    workdir = toy_run.workdir
    chunks = artifacts.load(workdir.chunks, "chunk_corpus")
    embedded = artifacts.load(workdir.embeddings, "embed_corpus")
    assert embedded.manifest["inputs"]["chunks"] == chunks.sha256
    scores = artifacts.load(workdir.scores("base"), "score_chunks")
    retrieved = artifacts.load(workdir.retrieved("base"), "retrieve")
    assert scores.manifest["inputs"]["retrieved"] == retrieved.sha256


def test_the_answer_is_the_likeliest_of_the_mixture(toy_run):
    found = artifacts.load(toy_run.workdir.predictions("ra_it"), "predict")
    records = [
        record
        for file in found.counts["shards"]
        for record in artifacts.read_lines(found.path / file)
    ]
    assert len(records) == 2 * 12
    for record in records:
        log_likelihood = np.array(record["log_likelihood"])  # [a k]
        mixed = np.logaddexp.reduce(log_likelihood + record["log_p_r"], axis=1)
        np.testing.assert_allclose(
            mixed, record["candidate_log_probability"], rtol=1e-4
        )
        assert record["answer"] == record["candidates"][int(np.argmax(mixed))]
        np.testing.assert_allclose(np.exp(record["log_p_r"]).sum(), 1, rtol=1e-5)


def test_a_dev_question_among_the_train_questions_is_refused(toy_run):
    instructions = dataclasses.replace(
        toy_run.config.instructions, dev=toy_run.config.instructions.train
    )
    config = dataclasses.replace(toy_run.config, instructions=instructions)
    with pytest.raises(ConfigError, match="36 of 36 dev questions are train questions"):
        retrieve.read_splits(config, toy_run.workdir)


def test_a_report_draws_what_there_is_and_names_what_is_not(toy_run, tmp_path):
    workdir = toy_run.copy(tmp_path / "run")
    for gone in (
        *(workdir.predictions(lm) for lm in ("it", "ra_it")),
        *(workdir.path / name for name in ("lm", "scores", "embeddings")),
    ):
        gone.rmtree()
    evaluate.run(toy_run.config, workdir)
    text = (workdir.evaluation / "report.html").read_text()
    for name in ("embeddings", "lm/ra_it", "lm/it", "scores/base", "predictions/it"):
        assert f"<code>{name}</code>" in text
    assert text.count("not run") == 3 + 6  # of six systems, and of stages
    assert "No probes ran" in text
    workdir.predictions("base").rmtree()
    with pytest.raises(artifacts.ArtifactError, match="holds no predictions"):
        evaluate.run(toy_run.config, workdir)
