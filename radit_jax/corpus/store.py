"""The chunk store: an ArrayRecord file of JSON records, read at any place.

Only this file knows of ArrayRecord. Record `i` is chunk `i`; nothing but the file's
index is held in memory, so a corpus of any size opens at once.
"""

import dataclasses
import json
import os
from collections.abc import Iterable, Iterator
from typing import SupportsIndex

from array_record.python.array_record_module import ArrayRecordReader, ArrayRecordWriter
from etils import epath

from radit_jax.types import Chunk


class StoreError(ValueError):
    """A chunk store that can't be written or read: the facts and the remedy."""


def write_chunks(path: epath.PathLike, chunks: Iterable[Chunk]) -> int:
    """Writes chunks, whose ids must be 0, 1, 2, …; returns their number.

    Raises:
      StoreError: an id is not the chunk's place.
    """
    writer = ArrayRecordWriter(os.fspath(path), "group_size:1")  # random access
    num_written = 0
    try:
        for chunk in chunks:
            if chunk.id != num_written:
                raise StoreError(
                    f"chunk {chunk.id} came in place {num_written}. Number the chunks "
                    "0, 1, 2, … in the order in which they are written."
                )
            record = json.dumps(dataclasses.asdict(chunk), ensure_ascii=False)
            writer.write(record.encode())
            num_written += 1
    finally:
        writer.close()
    return num_written


class ChunkStore:
    """The chunks of a corpus, by id."""

    def __init__(self, path: epath.PathLike):
        """Opens a file that `write_chunks` wrote.

        Raises:
          StoreError: there is none, or it is not whole.
        """
        self._path = os.fspath(path)
        if not epath.Path(path).exists():
            raise StoreError(f"there is no chunk store {path}. Run chunk_corpus first.")
        self._reader = ArrayRecordReader(self._path)
        if not self._reader.ok():
            raise self._damaged("its index can't be read")
        self._num_chunks = self._reader.num_records()

    def __len__(self) -> int:
        return self._num_chunks

    def __getitem__(self, chunk_id: SupportsIndex) -> Chunk:
        return self.get_many([chunk_id])[0]

    def __iter__(self) -> Iterator[Chunk]:
        for begin in range(0, len(self), 1024):
            yield from self.get_many(range(begin, min(begin + 1024, len(self))))

    def get_many(self, chunk_ids: Iterable[SupportsIndex]) -> list[Chunk]:
        """The chunks of these ids, in this order; far faster than one by one.

        Raises:
          IndexError: an id is not in 0 … n-1.
          StoreError: the file is damaged.
        """
        wanted = [int(chunk_id) for chunk_id in chunk_ids]
        for chunk_id in wanted:
            if not 0 <= chunk_id < len(self):
                raise IndexError(
                    f"chunk {chunk_id} is not in {self._path}, which has "
                    f"{len(self)}. Was the index built from another corpus?"
                )
        if not wanted:
            return []
        try:
            records = self._reader.read(wanted)
        except RuntimeError as error:
            raise self._damaged(str(error)) from error
        return [Chunk(**json.loads(record)) for record in records]

    def _damaged(self, fact: str) -> StoreError:
        return StoreError(
            f"the chunk store {self._path} is damaged: {fact}. Delete its "
            "folder and run chunk_corpus again."
        )
