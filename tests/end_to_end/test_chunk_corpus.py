"""Stage 1 as a user meets it: what makes another corpus, and mended documents."""

import dataclasses
import json

import pytest
from etils import epath

from radit_jax import artifacts
from radit_jax.config import Config
from radit_jax.corpus import contamination
from radit_jax.corpus.json_lines import CorpusError
from radit_jax.stages import chunk_corpus, inputs
from radit_jax.workdir import Workdir

TEXT = "One two three four five six seven eight nine ten eleven twelve thirteen."


@pytest.fixture
def config(tmp_path):
    config = Config()
    config.corpus.documents = str(tmp_path / "d.jsonl")
    config.instructions.dev = str(tmp_path / "dev.jsonl")
    write(config, json.dumps({"text": TEXT}), json.dumps({"text": f"Zero {TEXT}"}))
    question = {"id": "q", "question": TEXT, "answers": ["Yes"]}
    epath.Path(config.instructions.dev).write_text(json.dumps(question))
    return config


@pytest.fixture
def workdir(tmp_path):
    return Workdir(epath.Path(tmp_path / "run"))


def write(config, *lines):
    text = "".join(f"{line}\n" for line in lines)
    epath.Path(config.corpus.documents).write_text(text)


def change(config, **fields):
    corpus = dataclasses.replace(config.corpus, **fields)
    return dataclasses.replace(config, corpus=corpus)


def test_what_changes_no_chunk_makes_no_other_corpus(config, workdir):
    first = chunk_corpus.run(config, workdir)
    assert [chunk.text for chunk in inputs.chunk_store(workdir)] == [
        TEXT,
        f"Zero {TEXT}",
    ]
    runner = change(config, runner="NoSuchRunner", max_bad_share=0.5, benchmarks="x")
    assert chunk_corpus.run(runner, workdir).sha256 == first.sha256
    shorter = change(config, max_chunk_words=10)
    with pytest.raises(artifacts.ArtifactError, match="max_chunk_words was 200 and is"):
        chunk_corpus.run(shorter, workdir)
    assert chunk_corpus.run(shorter, workdir, overwrite=True).counts["chunks"] == 4


def test_mended_documents_need_no_other_workdir(config, workdir):
    write(config, json.dumps({"text": TEXT}), "{")
    with pytest.raises(CorpusError, match="d.jsonl:2 is not valid JSON"):
        chunk_corpus.run(config, workdir)
    write(config, json.dumps({"text": TEXT}))
    assert chunk_corpus.run(config, workdir).counts["chunks"] == 1


def test_more_bad_records_may_be_allowed_afterwards(config, workdir):
    write(config, json.dumps({"text": TEXT}), "{")
    with pytest.raises(CorpusError, match="max_bad_share=0.001 may be"):
        chunk_corpus.run(config, workdir)
    found = chunk_corpus.run(change(config, max_bad_share=0.5), workdir)
    assert (found.counts["chunks"], found.counts["bad_records"]) == (1, 1)


def test_benchmarks_are_the_dev_questions_unless_named(config, workdir, tmp_path):
    contamination.read_benchmarks.cache_clear()
    found = chunk_corpus.run(change(config, decontaminate="list"), workdir)
    assert found.counts["contaminated_chunks"] == 2
    assert "benchmarks" in found.manifest["inputs"]
    lines = artifacts.read_lines(found.path / "contaminated.jsonl")
    assert [line["chunk"] for line in lines] == [0, 1]
    other = tmp_path / "other.jsonl"
    other.write_text(json.dumps({"question": "Who wrote it?", "answers": ["Ada"]}))
    named = change(config, decontaminate="drop", benchmarks=str(other))
    counts = chunk_corpus.run(named, workdir, overwrite=True).counts
    assert (counts["chunks"], counts["benchmark_questions_too_short"]) == (2, 1)
