"""The chunk store: what is written is read, at any place, and damage is noticed."""

import pytest

from radit_jax.corpus import store
from radit_jax.types import Chunk


def chunk(i):
    title, section = ("Title", "Part") if i % 2 else ("", "")
    return Chunk(i, f"d{i // 2}", f"text {i} “é𝔘\n", title, 7 * i, section)


@pytest.fixture
def folder(tmp_path):
    """2500 chunks in shards of 1000, 1000 and 500."""
    assert store.write_chunks(tmp_path, map(chunk, range(2500)), 1000) == 2500
    return tmp_path


def shard(folder, number):
    return folder / f"chunks-{number:05}-of-00003.array_record"


def damage(path, place):
    content = bytearray(path.read_bytes())
    content[place] ^= 0xFF
    path.write_bytes(content)


def test_round_trip(folder):
    chunks = store.ChunkStore(folder)
    assert [one.num_chunks for one in chunks.shards] == [1000, 1000, 500]
    assert len(chunks) == 2500
    for i in (0, 999, 1000, 2000, 2499):
        assert chunks[i] == chunk(i)
    assert list(chunks) == [chunk(i) for i in range(2500)]


def test_many_chunks_come_in_the_order_asked_for(folder):
    ids = [2400, 3, 1007, 3, 999, 2001]
    assert store.ChunkStore(folder).get_many(ids) == [chunk(i) for i in ids]
    assert store.ChunkStore(folder).get_many([]) == []


def test_records_can_be_copied(folder, tmp_path):
    records = store.read_shard(shard(folder, 1), range(0, 1000, 300))
    assert store.write_shard(tmp_path / "copy.array_record", records) == 4
    assert [s.num_chunks for s in store.write_index(tmp_path, ["copy.array_record"])]
    copied = store.ChunkStore(tmp_path)
    assert [c.text for c in copied] == [
        chunk(1000 + i).text for i in (0, 300, 600, 900)
    ]
    assert [c.id for c in copied] == [0, 1, 2, 3]


def test_shards_are_closed_when_many_are_open(folder, monkeypatch):
    monkeypatch.setattr(store, "_MOST_OPEN", 2)
    chunks = store.ChunkStore(folder)
    for i in (0, 1000, 2000, 1001, 1, 2001):
        assert chunks[i] == chunk(i)
        assert len(chunks._readers) <= 2
    assert list(chunks._readers) == [0, 2]


def test_chunk_ids_are_checked(tmp_path):
    with pytest.raises(store.StoreError, match="chunk 5 came in place 1. Number the"):
        store.write_chunks(tmp_path, [chunk(0), chunk(5)])


@pytest.mark.parametrize("chunk_id", [-1, 2500])
def test_unknown_chunk(folder, chunk_id):
    with pytest.raises(IndexError, match=rf"chunk {chunk_id} is not in .* has 2500"):
        store.ChunkStore(folder)[chunk_id]


def test_empty_store(tmp_path):
    assert store.write_chunks(tmp_path, []) == 0
    chunks = store.ChunkStore(tmp_path)
    assert len(chunks) == 0
    with pytest.raises(IndexError, match="chunk 0 is not in"):
        chunks[0]


def test_missing_store(tmp_path):
    with pytest.raises(store.StoreError, match="no chunk store .* Run chunk_corpus"):
        store.ChunkStore(tmp_path / "nowhere")


def test_missing_shard(folder):
    shard(folder, 1).unlink()
    with pytest.raises(store.StoreError, match="lacks 1 of 3 .* is chunks-00001-of-"):
        store.ChunkStore(folder)


def test_shard_that_is_not_there_can_not_be_listed(tmp_path):
    with pytest.raises(store.StoreError, match="no shard .*x.array_record. Run chunk"):
        store.write_index(tmp_path, ["x.array_record"])


def test_truncated_shard(folder):
    path = shard(folder, 1)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(store.StoreError, match="(?s)is damaged.* has .* Delete its f"):
        store.ChunkStore(folder)


def test_shard_of_another_corpus(folder, tmp_path):
    other = tmp_path / "other"
    store.write_chunks(other, (chunk(i) for i in range(2000)), 1000)
    path = shard(folder, 1)
    assert (other / "chunks-00000-of-00002.array_record").stat().st_size == (
        path.stat().st_size
    )
    (other / "chunks-00000-of-00002.array_record").replace(path)
    chunks = store.ChunkStore(folder)
    assert chunks[999] == chunk(999)
    with pytest.raises(store.StoreError, match="another corpus': its content is not"):
        chunks[1000]


def test_flipped_byte(folder, monkeypatch):
    path = shard(folder, 0)
    damage(path, 5000)
    with pytest.raises(store.StoreError, match="damaged, or another .* its content is"):
        store.ChunkStore(folder)[0]
    # A shard longer than its two sealed ends may be damaged between them.
    monkeypatch.setattr(store.ChunkStore, "_check_seal", lambda *_: None)
    with pytest.raises(store.StoreError, match="(?s)is damaged.* Delete its folder"):
        list(store.ChunkStore(folder))


def test_damaged_index_of_a_shard(tmp_path):
    path = tmp_path / "x.array_record"
    store.write_shard(path, [b"{}"] * 1000)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(store.StoreError, match="its index can't be read"):
        store.write_index(tmp_path, [path.name])
