"""Token ids of many texts, and rows of them to train on."""

import itertools
from collections.abc import Iterable

import numpy as np
from jaxtyping import Bool, Int

from radit_jax.models.dual_encoder import Tower

_BLOCK = 4096  # texts tokenised together
_ROW_MULTIPLE = 64  # tokens of a packed row; a shape is a program to compile


class TokenRows:
    """Token ids of many texts, end to end: none is padded before it is asked for."""

    def __init__(self, tower: Tower, texts: Iterable[str]):
        """Encodes the texts, with the tower's prefix; holds few of them at a time."""
        parts, lengths = [np.empty(0, np.int32)], [np.empty(0, np.int64)]
        rest = iter(texts)
        while block := [*itertools.islice(rest, _BLOCK)]:
            ids, mask = tower.tokenize(block)
            parts.append(ids[mask])
            lengths.append(mask.sum(axis=1))
        self._lengths = np.concatenate(lengths)
        self._starts = np.cumsum(self._lengths) - self._lengths
        self._ids = np.concatenate(parts)
        self._pad_id, self._max_tokens = tower.tokenizer.pad_id, tower.max_tokens

    def length(self, rows: Int[np.ndarray, " b"], multiple: int) -> int:
        """Of the longest of some texts, rounded up; at most the tower's."""
        longest = int(self._lengths[rows].max(initial=1))
        return min(-(-longest // multiple) * multiple, self._max_tokens)

    def padded(
        self, rows: Int[np.ndarray, " b"], length: int
    ) -> tuple[Int[np.ndarray, "b l"], Bool[np.ndarray, "b l"]]:
        """Ids and mask of some texts, none of which is longer than `length`."""
        places = np.arange(length)
        mask = places[None] < self._lengths[rows][:, None]
        ids = np.full(mask.shape, self._pad_id, np.int32)
        ids[mask] = self._ids[(self._starts[rows][:, None] + places[None])[mask]]
        return ids, mask

    def packed(
        self, groups: Int[np.ndarray, "n q"]
    ) -> tuple[Int[np.ndarray, "n r l"], ...]:
        """Ids, segments and positions of texts that share rows: see `pool_packed`.

        The longest come first, each into the first row of its group with room for it.
        All groups get the rows of the fullest.

        Args:
          groups: n times q texts.
        """
        length = -(-int(self._lengths[groups].max()) // _ROW_MULTIPLE) * _ROW_MULTIPLE
        starts, num_rows = [], 0
        for texts in groups:
            begin, num = _first_fit(self._lengths[texts], length)
            starts.append(begin)
            num_rows = max(num_rows, num)
        ids = np.zeros((len(groups), _few_sizes(num_rows) * length), np.int32)
        segments, positions = np.zeros_like(ids), np.zeros_like(ids)
        for i, (texts, begins) in enumerate(zip(groups, starts, strict=True)):
            lengths = self._lengths[texts]
            within = np.arange(lengths.sum()) - np.repeat(
                np.cumsum(lengths) - lengths, lengths
            )
            places = np.repeat(begins, lengths) + within
            ids[i, places] = self._ids[np.repeat(self._starts[texts], lengths) + within]
            segments[i, places] = np.repeat(1 + np.arange(len(texts)), lengths)
            positions[i, places] = within
        return tuple(x.reshape(len(x), -1, length) for x in (ids, segments, positions))


def _first_fit(
    lengths: Int[np.ndarray, " q"], row_length: int
) -> tuple[Int[np.ndarray, " q"], int]:
    """Where each text begins, rows end to end, and how many rows they take."""
    room: list[int] = []
    begins = np.empty(len(lengths), np.int64)
    for i in np.argsort(-lengths, kind="stable").tolist():
        size = int(lengths[i])
        row = next((r for r, left in enumerate(room) if size <= left), len(room))
        if row == len(room):
            room.append(row_length)
        begins[i] = (row + 1) * row_length - room[row]
        room[row] -= size
    return begins, len(room)


def _few_sizes(num: int) -> int:
    """Rounded up by a sixteenth at most; up to 16 as it is."""
    multiple = max(1, (1 << max(0, num - 1).bit_length()) // 32)
    return -(-num // multiple) * multiple
