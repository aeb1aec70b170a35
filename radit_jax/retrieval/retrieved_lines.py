"""Retrieved questions as lines of a file, each parsed when it is asked for."""

import array
import json
import mmap
import os
from collections.abc import Collection, Iterator, Sequence
from typing import overload

import numpy as np
from etils import epath
from jaxtyping import Int

from radit_jax.types import Retrieved


class RetrievedLines(Sequence[Retrieved]):
    """JSON lines of `Retrieved.to_record` as a sequence: 16 bytes a question in memory.

    A slice is another view of the same file. The file must not change meanwhile.
    """

    def __init__(self, path: epath.PathLike, tasks: Collection[str] | None = None):
        """Finds the lines, in one pass over the file.

        Args:
          path: of the file.
          tasks: sets whose questions are kept; None: all.
        """
        self._data = _open(epath.Path(path))
        spans = array.array("q")
        for begin, end in _lines(self._data):
            if tasks is None or json.loads(self._data[begin:end])["task"] in tasks:
                spans.extend((begin, end))
        self._spans = np.array(spans, np.int64).reshape(-1, 2)

    def __len__(self) -> int:
        return len(self._spans)

    @overload
    def __getitem__(self, place: int) -> Retrieved: ...

    @overload
    def __getitem__(self, place: slice) -> "RetrievedLines": ...

    def __getitem__(self, place):
        """One question, or a view of some."""
        if isinstance(place, slice):
            return self.take(np.arange(len(self))[place])
        begin, end = self._spans[place].tolist()
        return Retrieved.from_record(json.loads(self._data[begin:end]))

    def take(self, places: Int[np.ndarray, " m"]) -> "RetrievedLines":
        """A view of the questions at these places."""
        view = object.__new__(RetrievedLines)
        view._data, view._spans = self._data, self._spans[places]
        return view


def _open(path: epath.Path) -> mmap.mmap | bytes:
    # A bucket has no memory maps, and an empty file can have none.
    if "://" in os.fspath(path) or not path.stat().length:
        return path.read_bytes()
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def _lines(data: mmap.mmap | bytes) -> Iterator[tuple[int, int]]:
    """First byte of each line that is not empty, and the byte after its last."""
    begin = 0
    while begin < len(data):
        end = data.find(b"\n", begin)
        end = len(data) if end < 0 else end
        if end > begin:
            yield begin, end
        begin = end + 1
