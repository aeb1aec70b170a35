"""A stage says what it will take, and is refused before it has written anything."""

import collections
import dataclasses
import logging

import pytest
from etils import epath

from configs import toy as toy_config
from radit_jax import room
from radit_jax.room import RoomError
from radit_jax.stages import chunk_corpus
from radit_jax.testing import toy
from radit_jax.workdir import Workdir

Usage = collections.namedtuple("Usage", "total used free")


@pytest.fixture
def disk(monkeypatch):
    """The bytes that are free; in a list, to be set."""
    free = [10 * 2**20]
    monkeypatch.setattr(
        room.shutil, "disk_usage", lambda path: Usage(2**40, 0, free[0])
    )
    return free


def test_what_is_needed_is_told(tmp_path, disk, caplog):
    caplog.set_level(logging.INFO, logger="absl")
    (tmp_path / "half").write_bytes(bytes(2**20))  # by a killed run
    room.check(tmp_path / "not" / "made", "embed_corpus", 10 * 2**20)
    room.check(tmp_path, "embed_corpus", 11 * 2**20, 3 * 2**30)
    assert caplog.messages == [
        "embed_corpus will take about 10.0 MiB of disk (10.0 MiB are free).",
        "embed_corpus will take about 10.0 MiB of disk (10.0 MiB are free) and at "
        "least 3.0 GiB of memory.",
    ]


def test_a_disk_that_is_too_small_is_refused(tmp_path, disk):
    match = (
        r"embed_corpus needs about 12.0 MiB of disk, but .* has 10.0 MiB free. Free "
        "2.0 MiB more, or name a --workdir on another disk"
    )
    with pytest.raises(RoomError, match=match):
        room.check(tmp_path, "embed_corpus", 12 * 2**20)


def test_a_stage_is_refused_before_it_writes(tmp_path, disk):
    disk[0] = 100
    config = toy_config.get_config(str(toy.write(epath.Path(tmp_path) / "world")))
    workdir = Workdir(epath.Path(tmp_path) / "run")
    with pytest.raises(RoomError, match="chunk_corpus needs about"):
        chunk_corpus.run(config, workdir)
    assert [file.name for file in workdir.chunks.iterdir()] == ["started.json"]
    disk[0] = 2**30
    config.corpus = dataclasses.replace(config.corpus, max_chunk_words=20)
    assert chunk_corpus.run(config, workdir).counts["chunks"] > 0
