"""A killed stage resumes, with the bytes of an undisturbed run."""

import numpy as np
import pytest

from radit_jax import artifacts
from radit_jax.instruct.batches import RowBatches
from radit_jax.retrieval import embeddings
from radit_jax.stages import embed_corpus, finetune_lm, score_chunks


class Killed(BaseException):
    """Not an Exception: no handler may catch it, as none catches kill -9."""


def kill_after(monkeypatch, owner, name, calls):
    """The call after `calls` calls of `owner.name` ends the run."""
    original, seen = getattr(owner, name), []

    def counted(*args, **kwargs):
        if len(seen) == calls:
            raise Killed
        seen.append(None)
        return original(*args, **kwargs)

    monkeypatch.setattr(owner, name, counted)


def files(folder):
    return {f.name: f.read_bytes() for f in folder.iterdir() if f.is_file()}


def test_finetune_lm(toy_run, tmp_path, monkeypatch):
    workdir = toy_run.copy(tmp_path / "run")
    whole = files(workdir.lm("ra_it") / "model")
    workdir.lm("ra_it").rmtree()
    with monkeypatch.context() as patch, pytest.raises(Killed):
        kill_after(patch, RowBatches, "__next__", 12)
        finetune_lm.run(toy_run.config, workdir)
    assert artifacts.find(workdir.lm("ra_it")) is None
    steps = (workdir.lm("ra_it") / "checkpoints").iterdir()
    assert {int(s.name) for s in steps if s.name.isdigit()} == {5, 10}
    finetune_lm.run(toy_run.config, workdir)
    assert files(workdir.lm("ra_it") / "model") == whole
    assert not (workdir.lm("ra_it") / "checkpoints").exists()


def test_embed_corpus(toy_run, tmp_path, monkeypatch):
    workdir = toy_run.copy(tmp_path / "run")
    names = embeddings.shard_names(3)
    whole = [(workdir.embeddings / name).read_bytes() for name in names]
    workdir.embeddings.rmtree()
    with monkeypatch.context() as patch, pytest.raises(Killed):
        kill_after(patch, embeddings, "write_shard", 1)
        embed_corpus.run(toy_run.config, workdir)
    assert [(workdir.embeddings / name).exists() for name in names] == [True, 0, 0]
    written = (workdir.embeddings / names[0]).stat().mtime
    embed_corpus.run(toy_run.config, workdir)
    assert (workdir.embeddings / names[0]).stat().mtime == written
    assert [(workdir.embeddings / name).read_bytes() for name in names] == whole


def test_score_chunks(toy_run, tmp_path, monkeypatch):
    workdir = toy_run.copy(tmp_path / "run")
    whole = files(workdir.scores("base"))
    workdir.scores("base").rmtree()
    with monkeypatch.context() as patch, pytest.raises(Killed):
        kill_after(patch, score_chunks, "_score_shard", 1)
        score_chunks.run(toy_run.config, workdir)
    score_chunks.run(toy_run.config, workdir)
    again = files(workdir.scores("base"))
    shards = [name for name in whole if name.endswith(".safetensors")]
    assert len(shards) == 2
    for name in shards:
        np.testing.assert_array_equal(
            np.frombuffer(again[name], np.uint8), np.frombuffer(whole[name], np.uint8)
        )
