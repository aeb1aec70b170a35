"""The chunk store: what is written is read, at any place, and damage is noticed."""

import pytest

from radit_jax.corpus import store
from radit_jax.types import Chunk


def chunk(i):
    return Chunk(i, f"d{i // 2}", f"text {i} “é𝔘\n", "Title" if i % 2 else "", 7 * i)


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "chunks.array_record"
    assert store.write_chunks(path, map(chunk, range(2500))) == 2500
    return path


def test_round_trip(path):
    chunks = store.ChunkStore(path)
    assert len(chunks) == 2500
    assert chunks[0] == chunk(0)
    assert chunks[2499] == chunk(2499)
    assert chunks.get_many([7, 3, 7]) == [chunk(7), chunk(3), chunk(7)]
    assert chunks.get_many([]) == []
    assert list(chunks) == [chunk(i) for i in range(2500)]


def test_chunk_ids_are_checked(tmp_path):
    with pytest.raises(store.StoreError, match="chunk 5 came in place 1. Number the"):
        store.write_chunks(tmp_path / "c.array_record", [chunk(0), chunk(5)])


@pytest.mark.parametrize("chunk_id", [-1, 2500])
def test_unknown_chunk(path, chunk_id):
    with pytest.raises(IndexError, match=rf"chunk {chunk_id} is not in .* has 2500"):
        store.ChunkStore(path)[chunk_id]


def test_empty_store(tmp_path):
    path = tmp_path / "c.array_record"
    assert store.write_chunks(path, []) == 0
    chunks = store.ChunkStore(path)
    assert len(chunks) == 0
    with pytest.raises(IndexError, match="chunk 0 is not in"):
        chunks[0]


def test_missing_store(tmp_path):
    with pytest.raises(store.StoreError, match="no chunk store .* Run chunk_corpus"):
        store.ChunkStore(tmp_path / "nowhere")


def test_truncated_store(path):
    path.write_bytes(path.read_bytes()[:70_000])
    with pytest.raises(store.StoreError, match="is damaged: .* Delete its folder"):
        store.ChunkStore(path)


def test_flipped_byte(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(store.StoreError, match="(?s)is damaged: .* Delete its folder"):
        list(store.ChunkStore(path))
