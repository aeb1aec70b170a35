"""Retrieval on its own, as a user runs it: quality, BEIR's layout, own questions."""

import json
import types

import numpy as np
import pytest
from absl import app
from etils import epath

from configs import toy as toy_config
from configs import wiki_mix
from launch import retrieve as launch_retrieve
from radit_jax import artifacts
from radit_jax.config import Config, ConfigError
from radit_jax.corpus.json_lines import CorpusError
from radit_jax.evaluation.retrieval_quality import QualityError
from radit_jax.retrieval import trec
from radit_jax.stages import (
    build_index,
    chunk_corpus,
    embed_corpus,
    evaluate_beir,
    evaluate_retrieval,
    retrieve,
    retrieve_queries,
)
from radit_jax.testing import toy
from radit_jax.workdir import Workdir

pytest.importorskip("bm25s")
pytest.importorskip("ir_measures")


def make_config(world, **retrieve_settings) -> Config:
    config = toy_config.get_config(str(world))
    config.index.kind = "exact"
    config.retrieve.splits = ("dev",)
    for name, value in retrieve_settings.items():
        setattr(config.retrieve, name, value)
    return config


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return toy.write(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def run(world, tmp_path_factory):
    """Stages 1 to 3, dense and BM25."""
    workdir = Workdir(epath.Path(tmp_path_factory.mktemp("run")))
    config = make_config(world, kind="hybrid")
    for stage in (chunk_corpus, embed_corpus, build_index):
        stage.run(config, workdir)
    return workdir


def read_lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_the_quality_table(world, run):
    config = make_config(world)
    found = evaluate_retrieval.run(config, run, ("exact", "bm25", "hybrid"))
    results = json.loads((found.path / "results.json").read_text())
    assert (results["num_questions"], results["num_chunks"]) == (12, 48)
    # Every fact's words are its question's: BM25 finds all of them first.
    assert results["systems"]["bm25"]["recall@1"]["value"] == 100
    assert 0 < results["systems"]["exact"]["MRR@10"]["value"] <= 100
    assert "| hybrid | " in (found.path / "table.md").read_text()
    rankings = trec.read_run(found.path / "exact.run")
    qrels = trec.read_qrels(found.path / "dev.qrels")
    first = [next(iter(qrels[q])) == ranking[0][0] for q, ranking in rankings.items()]
    recall = results["systems"]["exact"]["recall@1"]["value"]
    assert recall == pytest.approx(100 * np.mean(first))
    again = evaluate_retrieval.run(config, run, ("exact", "bm25", "hybrid"))
    assert again.manifest == found.manifest


def test_a_killed_evaluation_keeps_the_systems_it_measured(world, run, monkeypatch):
    def killed(*_):
        raise RuntimeError("killed")

    config, systems = make_config(world), ("bm25", "exact")
    with monkeypatch.context() as patch:
        patch.setattr(evaluate_retrieval, "_index", killed)
        with pytest.raises(RuntimeError, match="killed"):
            evaluate_retrieval.run(config, run, systems, overwrite=True)
    monkeypatch.setattr(evaluate_retrieval.inputs, "bm25", killed)
    found = evaluate_retrieval.run(config, run, systems)
    results = json.loads((found.path / "results.json").read_text())
    assert list(results["systems"]) == ["bm25", "exact"]


def test_the_real_datas_config_needs_its_folder(monkeypatch):
    monkeypatch.delenv("RADIT_WIKI_MIX", raising=False)
    with pytest.raises(ValueError, match="needs a data folder: give it as --config="):
        wiki_mix.get_config()
    assert wiki_mix.get_config("wiki").corpus.documents == "wiki/psgs.tsv.gz"
    monkeypatch.setenv("RADIT_WIKI_MIX", "other")
    assert wiki_mix.get_config().instructions.dev == "other/dev.jsonl"


def test_quality_refuses_what_it_cannot_measure(world, run, tmp_path):
    with pytest.raises(ConfigError, match="'scann@2' is no retriever; choose of"):
        evaluate_retrieval.run(make_config(world), run, ("scann@2",))
    config = make_config(world)
    for positives, match in (
        ({}, "none of the 1 questions .* has positives"),
        ({"positives": ["nowhere"]}, "1 judged documents are not in the corpus"),
    ):
        dev = tmp_path / "dev.jsonl"
        line = {"id": "q", "question": "x", "answers": ["y"]} | positives
        dev.write_text(json.dumps(line))
        config.instructions.dev = str(dev)
        with pytest.raises(QualityError, match=match):
            evaluate_retrieval.run(config, run, ("bm25",), overwrite=True)


@pytest.mark.parametrize("kind", ["dense", "bm25", "hybrid"])
def test_anyones_questions(world, run, tmp_path, kind):
    (tmp_path / "asked.txt").write_text("river of Corvia ?\n\nking of Hest ?\n")
    config = make_config(world, kind=kind, num_chunks=3, unique_texts=True)
    out = tmp_path / "found.jsonl"
    run_file = retrieve_queries.run(config, run, tmp_path / "asked.txt", out)
    lines = read_lines(out)
    assert [line["id"] for line in lines] == ["asked.txt:1", "asked.txt:3"]
    assert all(len(line["chunks"]) == 3 for line in lines)
    found = {line["id"]: line["chunks"][0]["document_id"] for line in lines}
    if kind == "bm25":
        assert set(found.values()) == {"Corvia-river", "Hest-king"}
    rankings = trec.read_run(run_file)
    assert {query: ranking[0][0] for query, ranking in rankings.items()} == found
    assert "The " in lines[0]["chunks"][0]["text"]


def test_questions_that_cannot_be_asked(world, run, tmp_path):
    config = make_config(world)
    with pytest.raises(ValueError, match="out.txt must be a .jsonl file in a folder"):
        retrieve_queries.run(config, run, tmp_path / "q", tmp_path / "out.txt")
    (tmp_path / "q.txt").write_text(" \n")
    with pytest.raises(CorpusError, match="holds no questions"):
        retrieve_queries.run(config, run, tmp_path / "q.txt", tmp_path / "o.jsonl")


def test_queries_and_out_go_together(monkeypatch):
    for flag, value in (("_QUERIES", "asked.txt"), ("_OUT", None)):
        monkeypatch.setattr(launch_retrieve, flag, types.SimpleNamespace(value=value))
    with pytest.raises(app.UsageError, match="--queries=FILE and --out=FILE.jsonl go"):
        launch_retrieve.main(["retrieve"])


def test_the_stage_writes_trec_files(world, run):
    config = make_config(world, kind="hybrid")
    found = retrieve.run(config, run)
    lines = read_lines(found.path / "dev.jsonl")
    rankings = trec.read_run(found.path / "dev.run")
    assert list(rankings) == [line["id"] for line in lines]
    qrels = trec.read_qrels(found.path / "dev.qrels")
    assert qrels == {line["id"]: {line["positives"][0]: 1} for line in lines}
    assert set(found.manifest["inputs"]) >= {"index", "bm25", "query_tower"}


def test_an_index_of_another_corpus_or_encoder_is_refused(world, tmp_path):
    workdir = Workdir(epath.Path(tmp_path) / "run")
    config = make_config(world, kind="hybrid")
    for stage in (chunk_corpus, embed_corpus, build_index):
        stage.run(config, workdir)
    config.encoder.pooling = "cls"
    with pytest.raises(artifacts.ArtifactError, match="embeddings by other encoder th"):
        retrieve.run(config, workdir)
    config = make_config(world, kind="bm25")
    config.corpus.max_documents = 40
    chunk_corpus.run(config, workdir, overwrite=True)
    with pytest.raises(artifacts.ArtifactError, match="bm25 was not built from the ch"):
        retrieve.run(config, workdir)
    config.retrieve.kind = "dense"
    with pytest.raises(artifacts.ArtifactError, match="embeddings by other chunks tha"):
        retrieve.run(config, workdir)


def test_bm25_has_no_tuned_tower(world):
    config = make_config(world, kind="bm25", query_tower="tuned")
    with pytest.raises(ConfigError, match="kind=bm25 has no query tower that could"):
        config.validate("retrieve")


@pytest.fixture
def beir_set(world, tmp_path):
    folder = tmp_path / "beir"
    (folder / "qrels").mkdir(parents=True)
    documents = read_lines(world / "documents.jsonl")
    dev = read_lines(world / "dev.jsonl")
    # The first question has its document's id: that document is left out for it.
    ids = [dev[0]["positives"][0], *(question["id"] for question in dev[1:])]
    lines = {
        "corpus": [{"_id": d["id"], "title": "", "text": d["text"]} for d in documents],
        "queries": [
            {"_id": i, "text": q["question"]} for i, q in zip(ids, dev, strict=True)
        ],
    }
    for name, records in lines.items():
        text = "".join(json.dumps(record) + "\n" for record in records)
        (folder / f"{name}.jsonl").write_text(text)
    rows = [f"{i}\t{q['positives'][0]}\t1" for i, q in zip(ids, dev, strict=True)]
    (folder / "qrels" / "test.tsv").write_text("\n".join(["q\td\ts", *rows]) + "\n")
    return folder


def test_beir(world, run, beir_set, tmp_path):
    config, workdir = make_config(world), Workdir(epath.Path(tmp_path) / "run")
    evaluate_beir.chunk(config, workdir, beir_set)
    embed_corpus.run(config, workdir)
    found = evaluate_beir.run(config, workdir, beir_set)
    results = json.loads((found.path / "results.json").read_text())
    rankings = trec.read_run(found.path / "exact.run")
    itself = next(iter(rankings))
    assert itself not in dict(rankings[itself])
    assert {len(ranking) for ranking in rankings.values()} == {47}
    # The same encoder and corpus as the run's, less the question that lost its answer.
    ours = evaluate_retrieval.run(config, run, ("exact",), overwrite=True)
    ranked = trec.read_run(ours.path / "exact.run")
    qrels = trec.read_qrels(ours.path / "dev.qrels")
    hits = [ranked[q][0][0] in qrels[q] for q in ranked]
    expected = 100 * (sum(hits) - hits[0]) / len(hits)
    measured = results["systems"]["exact"]["recall@1"]["value"]
    assert measured == pytest.approx(expected)


def test_beir_refuses_what_does_not_fit(world, beir_set, tmp_path):
    config, workdir = make_config(world), Workdir(epath.Path(tmp_path) / "run")
    qrels = beir_set / "qrels" / "test.tsv"
    whole = qrels.read_text()
    qrels.write_text(whole + "unknown\tArvon-king\t1\n")
    with pytest.raises(CorpusError, match="1 of 13 questions with judgements are not"):
        evaluate_beir.chunk(config, workdir, beir_set)
    assert not workdir.chunks.exists()
    qrels.write_text(whole + "q-Belmar-river\tunknown\t1\n")
    evaluate_beir.chunk(config, workdir, beir_set)
    embed_corpus.run(config, workdir)
    with pytest.raises(QualityError, match="is 'unknown' of question 'q-Belmar-river'"):
        evaluate_beir.run(config, workdir, beir_set)
    evaluate_beir.run(config, workdir, beir_set, allow_missing=True, overwrite=True)
