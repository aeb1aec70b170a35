"""The study on the toy world: arms, controls, answers, a page, and a killed run."""

import dataclasses
import json
import pathlib

import numpy as np
import pytest
from safetensors import numpy as safetensors

from launch import study as launch_study
from radit_jax import artifacts
from radit_jax.evaluation import arms
from radit_jax.models import pretrained
from radit_jax.retrieval.embedder import Embedder
from radit_jax.stages import finetune_retriever, inputs, study

NAMES = ("lsr", "gold", "both_towers")
SOME = tuple(arm for arm in arms.ARMS if arm.name in NAMES)


@pytest.fixture(scope="module")
def config(toy_run):
    training = dataclasses.replace(
        toy_run.config.retriever_training,
        num_steps=4,
        checkpoint_every=4,
        validate_every=4,
        warmup_steps=1,
    )
    answering = dataclasses.replace(
        toy_run.config.predict, max_questions=4, num_chunks=1
    )
    return dataclasses.replace(
        toy_run.config, retriever_training=training, predict=answering
    )


@pytest.fixture(scope="module")
def done(toy_run, config, tmp_path_factory):
    """A whole study in a finished workdir, killed once in its second arm."""
    workdir = toy_run.copy(tmp_path_factory.mktemp("study") / "run")
    finetune, seen = finetune_retriever.run, []

    def killed(config, branch, overwrite):
        seen.append(branch.path.name)
        if len(seen) == 2:
            raise KeyboardInterrupt
        return finetune(config, branch, overwrite)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(arms, "ARMS", SOME)
        patch.setattr(finetune_retriever, "run", killed)
        with pytest.raises(KeyboardInterrupt):
            launch_study.run(config, workdir)
        first = (workdir.study_arm("lsr").query_tower / "manifest.json").read_bytes()
        launch_study.run(config, workdir)
    assert seen == ["lsr", "gold", *NAMES]
    again = (workdir.study_arm("lsr").query_tower / "manifest.json").read_bytes()
    assert again == first
    return workdir


@pytest.fixture(scope="module")
def results(done):
    return json.loads((done.study / "results.json").read_text())


def test_the_arms_are_measured_against_the_base(done, results):
    assert {arm["name"] for arm in results["arms"]} == set(NAMES)
    assert (results["num_questions"], results["num_chunks"]) == (12, 48)
    for arm in results["arms"]:
        for name in ("mrr", "recall@1", "recall@5", "recall@10"):
            gain = arm["gain"][name]
            change = arm["after"][name]["value"] - results["base"][name]["value"]
            assert gain["value"] == pytest.approx(change)
            assert gain["low"] <= gain["value"] <= gain["high"]
        assert set(arm["diagnostics"]) >= {"entropy_p_lsr", "nearly_uniform"}
        assert arm["kept_step"] in (0, 4)


def test_the_base_is_what_retrieve_found(config, done, results):
    """By another way: the reciprocal ranks of `retrieve`'s own five chunks."""
    documents = [d["id"] for d in artifacts.read_lines(config.corpus.documents)]
    lines = artifacts.read_lines(done.retrieved("base") / "dev.jsonl")
    rankings = artifacts.read_lines(done.study_arm("base").ranking / "dev.jsonl")
    ranks = []
    for line, ranking in zip(lines, rankings, strict=True):
        assert ranking["chunk_ids"][:5] == line["chunk_ids"]
        found = [documents[i] in line["positives"] for i in ranking["chunk_ids"]]
        ranks.append(1 / (found.index(True) + 1) if any(found) else 0.0)
    assert results["base"]["mrr"]["value"] == pytest.approx(np.mean(ranks))


def perturb(folder):
    """Other word vectors, so that the tower ranks otherwise; returns the old file."""
    file = folder / "model.safetensors"
    old = file.read_bytes()
    weights = safetensors.load(old)
    generator = np.random.default_rng(3)
    for name, value in weights.items():
        if "word_embeddings" in name:
            weights[name] = generator.normal(size=value.shape).astype(value.dtype)
    file.write_bytes(safetensors.save(weights))
    return old


def test_towers_rank_by_their_own_parameters(config, done):
    """The one compiled program must not keep the parameters of the tower before."""
    model = done.study_arm("gold").query_tower / "model"
    old = perturb(model)
    ranker = study._Ranker(config, done)
    base, gold = ranker.rank("base"), ranker.rank("gold")
    np.testing.assert_array_equal(gold, study._Ranker(config, done).rank("gold"))
    np.testing.assert_array_equal(ranker.rank("base"), base)
    assert (gold != base).any()
    (model / "model.safetensors").write_bytes(old)


def test_a_passage_tower_of_its_own_ranks_the_bases_candidates(config, done, results):
    [both] = [arm for arm in results["arms"] if arm["name"] == "both_towers"]
    assert both["searched"] == "candidates"
    assert both["gain"]["recall@10"] == {"value": 0, "low": 0, "high": 0}
    tower = done.study_arm("both_towers").query_tower
    old = perturb(tower / "passage_model")
    ranked = study._Ranker(config, done).rank("both_towers")
    base = study._read_ranking(done, "base")
    np.testing.assert_array_equal(np.sort(ranked), np.sort(base))
    assert (ranked != base).any()
    query = inputs.query_tower(config, done.study_arm("both_towers"), "tuned")
    passage = pretrained.load_tower(
        tower / "passage_model", **inputs.passage_settings(config)
    )
    asked = inputs.read_retrieved(done, "base", "dev")[0].instruction.query
    texts = [c.passage for c in inputs.chunk_store(done).get_many(ranked[0])]
    scores = Embedder(passage).embed(texts) @ Embedder(query).embed([asked])[0]
    assert (np.diff(scores) <= 1e-6).all()
    (tower / "passage_model" / "model.safetensors").write_bytes(old)


def test_answers_come_from_the_tower_that_validates_best(done, results):
    assert results["answers"]["arm"] == "lsr"  # of both others none is a choice
    assert results["answers"]["num_questions"] == 4
    assert set(results["answers"]["gain"]) == {"em", "f1", "contains"}
    answered = done.study_arm("lsr").predictions("base")
    asked = artifacts.load(answered, "predict").counts["questions"]
    assert asked == 4


def test_the_workdirs_own_run_stays_as_it_was(toy_run, done):
    before = pathlib.Path(toy_run.workdir.path)
    for path in before.rglob("manifest.json"):
        copy = done.path / path.relative_to(before)
        assert copy.read_bytes() == path.read_bytes()


def test_the_page_and_the_table_have_every_arm(done):
    page = (done.study / "study.html").read_text()
    table = (done.study / "table.md").read_text()
    for name in NAMES:
        assert f"<code>{name}</code>" in page
        assert f"| {name}" in table
    assert "| gold (control) |" in table
    assert "| both_towers (candidates alone) |" in table


def test_nothing_is_measured_twice(config, done, monkeypatch):
    monkeypatch.setattr(arms, "ARMS", SOME)
    monkeypatch.setattr(study, "_Ranker", None)  # would be called
    manifest = (done.study / "manifest.json").read_bytes()
    study.run(config, done)
    assert (done.study / "manifest.json").read_bytes() == manifest
