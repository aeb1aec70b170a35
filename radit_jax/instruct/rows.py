"""Packed rows on disk: an ArrayRecord file, written as a stream, read at any place."""

import dataclasses
import os
from collections.abc import Iterable
from typing import Any, SupportsIndex

import numpy as np
from array_record.python.array_record_module import ArrayRecordReader, ArrayRecordWriter
from etils import epath

from radit_jax.instruct import packing
from radit_jax.instruct.packing import PackingError, Row

_WRITER_OPTIONS = "group_size:1"  # a row is read without its neighbours
_READER_OPTIONS = "readahead_buffer_size:0"  # or every look-up reads 16 MiB ahead


@dataclasses.dataclass(slots=True)
class RowCounts:
    """What `write_rows` wrote, and what a reader has to know of it."""

    row_tokens: int  # length of a row
    rows: int = 0
    tokens: int = 0  # that are not padding
    target_slots: int = packing.target_slots(0)  # of the fullest row

    @property
    def real_token_share(self) -> float:
        """Share of the rows' tokens that are not padding; 1 where there are none."""
        return self.tokens / (self.rows * self.row_tokens) if self.rows else 1.0

    def to_record(self) -> dict[str, Any]:
        """For a manifest's counts."""
        share = {"real_token_share": round(self.real_token_share, 4)}
        return dataclasses.asdict(self) | share

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> "RowCounts":
        """From the counts that hold `to_record`'s, among others."""
        return cls(**{f.name: record[f.name] for f in dataclasses.fields(cls)})


def write_rows(
    path: epath.PathLike, packed: Iterable[Row], row_tokens: int
) -> RowCounts:
    """Writes rows as they come; no more than one is held in memory."""
    writer = ArrayRecordWriter(os.fspath(path), _WRITER_OPTIONS)
    counts = RowCounts(row_tokens)
    try:
        for row in packed:
            writer.write(row.to_bytes())
            counts.rows += 1
            counts.tokens += len(row.tokens)
            slots = packing.target_slots(row.num_targets)
            counts.target_slots = max(counts.target_slots, slots)
    finally:
        writer.close()
    return counts


class RowStore:
    """The rows of a file, by place: `store[i]` is the arrays of row i."""

    def __init__(self, path: epath.PathLike, counts: RowCounts):
        """Opens what `write_rows` wrote.

        Args:
          path: of the file.
          counts: that `write_rows` returned.

        Raises:
          PackingError: the file is not whole, or holds another number of rows.
        """
        self._path, self._counts = os.fspath(path), counts
        if not epath.Path(path).exists():
            raise PackingError(f"there are no rows {path}. Run build_examples first.")
        self._reader = ArrayRecordReader(self._path, _READER_OPTIONS)
        found = self._reader.num_records() if self._reader.ok() else 0
        if found != counts.rows:
            raise self._damaged(f"{found} of {counts.rows} rows can be read")

    def __len__(self) -> int:
        return self._counts.rows

    def __getitem__(self, place: SupportsIndex) -> dict[str, np.ndarray]:
        """The arrays of a row, by the name that `Row.arrays` gives them.

        Raises:
          IndexError: there is no such row.
          PackingError: the file is damaged.
        """
        counts = self._counts
        return self.row(place).arrays(counts.row_tokens, counts.target_slots)

    def row(self, place: SupportsIndex) -> Row:
        """A row as it is stored: its examples.

        Raises:
          IndexError: there is no such row.
          PackingError: the file is damaged.
        """
        place = int(place)
        if not 0 <= place < len(self):
            raise IndexError(f"row {place} is not in {self._path}, of {len(self)}.")
        try:
            (record,) = self._reader.read([place])
        except RuntimeError as error:
            raise self._damaged(str(error)) from error
        return Row.from_bytes(record)

    @property
    def empty(self) -> dict[str, np.ndarray]:
        """The arrays of a row without examples."""
        counts = self._counts
        return packing.empty_arrays(counts.row_tokens, counts.target_slots)

    def _damaged(self, fact: str) -> PackingError:
        return PackingError(
            f"the rows in {self._path} are damaged: {fact}. Delete their folder and "
            "run build_examples again."
        )
