"""The chunk store: ArrayRecord shards of JSON records, read at any place.

Only this file knows of ArrayRecord. A chunk's id is its place: the chunks of the shards
before it, and its row in its own. `chunks.json`, written last, lists the shards.

Records are compressed (zstd) in groups of 32. Measured on 1,059,595 chunks of Wikipedia
passages, of which a record has 667 bytes, by benchmarks/corpus.py:

==========  ===================  =======================================
group       bytes on disk each   bytes of memory each, all shards open
==========  ===================  =======================================
1           450                  8.2
16          273                  0.55
32          265                  0.39
64          249                  0.17
==========  ===================  =======================================

One chunk is read in about 40 µs (a group of 64: 65 µs; each alone, 225 µs). The paper's
399M chunks take 106 GB of disk and 160 MB of memory.
"""

import bisect
import collections
import dataclasses
import hashlib
import itertools
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import SupportsIndex

from array_record.python.array_record_module import ArrayRecordReader, ArrayRecordWriter
from etils import epath

from radit_jax.types import Chunk

_INDEX = "chunks.json"
_WRITER_OPTIONS = "group_size:32"
# Without it every look-up reads 16 MiB ahead.
_READER_OPTIONS = "readahead_buffer_size:0"
_READ_AHEAD = 1024  # records, when the whole store is read
_MOST_OPEN = 512  # shards; many systems let a process open 1024 files
_SEALED_BYTES = 128 << 10  # at each end of a shard: what tells it from another's
_RECORD_FIELDS = ("document_id", "text", "title", "start", "section")


class StoreError(ValueError):
    """A chunk store that can't be written or read: the facts and the remedy."""


@dataclasses.dataclass(frozen=True, slots=True)
class Shard:
    """A line of the store's index."""

    name: str  # of the file
    num_chunks: int
    num_bytes: int
    seal: str  # hash of the file's two ends


def shard_names(num_shards: int) -> list[str]:
    """The file names, in the order of the chunks."""
    return [
        f"chunks-{shard:05}-of-{num_shards:05}.array_record"
        for shard in range(num_shards)
    ]


def encode(chunk: Chunk) -> bytes:
    """The record of a chunk; its id is its place, and fields at their default go."""
    values = {name: getattr(chunk, name) for name in _RECORD_FIELDS}
    return json.dumps(
        {k: v for k, v in values.items() if v}, ensure_ascii=False
    ).encode()


def write_shard(path: epath.PathLike, records: Iterable[bytes]) -> int:
    """Writes one shard of `encode`d chunks; returns their number."""
    writer = ArrayRecordWriter(os.fspath(path), _WRITER_OPTIONS)
    num_written = 0
    try:
        for record in records:
            writer.write(record)
            num_written += 1
    finally:
        writer.close()
    return num_written


def read_shard(path: epath.PathLike, rows: Iterable[SupportsIndex]) -> Iterator[bytes]:
    """The records in these rows of a shard, in this order."""
    path = epath.Path(path)
    reader = _open(path)
    wanted = [int(row) for row in rows]
    for begin in range(0, len(wanted), _READ_AHEAD):
        yield from _read(reader, path, wanted[begin : begin + _READ_AHEAD])


def write_index(folder: epath.PathLike, names: Iterable[str]) -> list[Shard]:
    """Lists these shards, in this order, as the store that the folder holds.

    Raises:
      StoreError: one is missing or damaged.
    """
    folder = epath.Path(folder)
    shards = [_describe(folder / name) for name in names]
    aside = folder / f"{_INDEX}.tmp"
    aside.write_text(json.dumps([dataclasses.astuple(shard) for shard in shards]))
    aside.replace(folder / _INDEX)
    return shards


def write_chunks(
    folder: epath.PathLike, chunks: Iterable[Chunk], shard_chunks: int = 1 << 16
) -> int:
    """Writes a store; the chunks' ids must be 0, 1, 2, …; returns their number.

    Raises:
      StoreError: an id is not the chunk's place.
    """
    folder = epath.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    asides, records = [], _records(chunks)
    for first in records:
        asides.append(folder / f"{len(asides)}.tmp")
        rest = itertools.islice(records, shard_chunks - 1)
        write_shard(asides[-1], itertools.chain([first], rest))
    names = shard_names(len(asides))
    for aside, name in zip(asides, names, strict=True):
        aside.replace(folder / name)
    return sum(shard.num_chunks for shard in write_index(folder, names))


class ChunkStore:
    """The chunks of a corpus, by id; shards are opened when they are first read."""

    def __init__(self, folder: epath.PathLike):
        """Reads the index of a store, and looks for its shards.

        Raises:
          StoreError: there is no store, or shards are missing or cut short.
        """
        self._folder = epath.Path(folder)
        index = self._folder / _INDEX
        if not index.exists():
            raise StoreError(
                f"there is no chunk store in {folder}: it has no {_INDEX}. Run "
                "chunk_corpus first."
            )
        self._shards = [Shard(*fields) for fields in json.loads(index.read_text())]
        self._check_sizes()
        counts = (shard.num_chunks for shard in self._shards)
        self._starts = list(itertools.accumulate(counts, initial=0))
        self._readers: collections.OrderedDict[int, ArrayRecordReader] = (
            collections.OrderedDict()
        )
        self._sealed: set[int] = set()

    @property
    def shards(self) -> Sequence[Shard]:
        """In the order of the chunks."""
        return self._shards

    def __len__(self) -> int:
        return self._starts[-1]

    def __getitem__(self, chunk_id: SupportsIndex) -> Chunk:
        return self.get_many([chunk_id])[0]

    def __iter__(self) -> Iterator[Chunk]:
        for begin in range(0, len(self), _READ_AHEAD):
            yield from self.get_many(range(begin, min(begin + _READ_AHEAD, len(self))))

    def get_many(self, chunk_ids: Iterable[SupportsIndex]) -> list[Chunk]:
        """The chunks of these ids, in this order; far faster than one by one.

        Raises:
          IndexError: an id is not in 0 … n-1.
          StoreError: a shard is damaged, or another corpus'.
        """
        wanted = [int(chunk_id) for chunk_id in chunk_ids]
        records = self.read_records(wanted)
        return [
            Chunk(chunk_id, **json.loads(record))
            for chunk_id, record in zip(wanted, records, strict=True)
        ]

    def read_records(self, chunk_ids: Sequence[int]) -> list[bytes]:
        """The chunks as `encode` made them; raises what `get_many` does."""
        rows: dict[int, list[int]] = {}  # by shard
        places = []
        for chunk_id in chunk_ids:
            if not 0 <= chunk_id < len(self):
                raise IndexError(
                    f"chunk {chunk_id} is not in {self._folder}, which has "
                    f"{len(self)}. Was the index built from another corpus?"
                )
            shard = bisect.bisect_right(self._starts, chunk_id) - 1
            wanted = rows.setdefault(shard, [])
            places.append((shard, len(wanted)))
            wanted.append(chunk_id - self._starts[shard])
        found = {shard: self._read(shard, wanted) for shard, wanted in rows.items()}
        return [found[shard][place] for shard, place in places]

    def _read(self, shard: int, rows: list[int]) -> list[bytes]:
        return _read(self._reader(shard), self._folder / self._shards[shard].name, rows)

    def _reader(self, shard: int) -> ArrayRecordReader:
        if shard in self._readers:
            self._readers.move_to_end(shard)
            return self._readers[shard]
        path = self._folder / self._shards[shard].name
        if shard not in self._sealed:
            self._check_seal(path, self._shards[shard])
            self._sealed.add(shard)
        if len(self._readers) == _MOST_OPEN:
            self._readers.popitem(last=False)  # the one not read for longest
        self._readers[shard] = _open(path)
        return self._readers[shard]

    def _check_sizes(self) -> None:
        found = {file.name for file in self._folder.iterdir()}
        missing = [shard.name for shard in self._shards if shard.name not in found]
        if missing:
            raise StoreError(
                f"{self._folder} lacks {len(missing)} of {len(self._shards)} shards of "
                f"the chunk store, the first is {missing[0]}. Put them back, or delete "
                "the folder and run chunk_corpus again."
            )
        for shard in self._shards:
            num_bytes = (self._folder / shard.name).stat().length
            if num_bytes != shard.num_bytes:
                raise _damaged(
                    self._folder / shard.name,
                    f"it has {num_bytes} bytes of {shard.num_bytes}",
                )

    def _check_seal(self, path: epath.Path, shard: Shard) -> None:
        if _seal(path) != shard.seal:
            raise _damaged(path, "its content is not what was written here")


def _records(chunks: Iterable[Chunk]) -> Iterator[bytes]:
    for place, chunk in enumerate(chunks):
        if chunk.id != place:
            raise StoreError(
                f"chunk {chunk.id} came in place {place}. Number the chunks 0, 1, 2, … "
                "in the order in which they are written."
            )
        yield encode(chunk)


def _describe(path: epath.Path) -> Shard:
    if not path.exists():
        raise StoreError(f"there is no shard {path}. Run chunk_corpus again.")
    num_chunks = _open(path).num_records()
    return Shard(path.name, num_chunks, path.stat().length, _seal(path))


def _open(path: epath.Path) -> ArrayRecordReader:
    reader = ArrayRecordReader(os.fspath(path), _READER_OPTIONS)
    if not reader.ok():
        raise _damaged(path, "its index can't be read")
    return reader


def _read(reader: ArrayRecordReader, path: epath.Path, rows: list[int]) -> list[bytes]:
    try:
        return reader.read(rows)
    except RuntimeError as error:
        raise _damaged(path, error) from error


def _seal(path: epath.Path) -> str:
    """Tells a shard from another's of the same size, however long it is."""
    with path.open("rb") as file:
        ends = file.read(_SEALED_BYTES)
        file.seek(max(path.stat().length - _SEALED_BYTES, 0))
        ends += file.read()
    return hashlib.blake2b(ends, digest_size=16).hexdigest()


def _damaged(path: epath.Path, fact: object) -> StoreError:
    return StoreError(
        f"the chunk store's {path} is damaged, or another corpus': {fact}. Delete its "
        "folder and run chunk_corpus again."
    )
