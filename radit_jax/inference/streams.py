"""Rows of tokens as streams, so that padding costs nothing outside attention.

Prompts differ in length by a factor of two, and a padded batch would be computed for
its longest. Here the rows of each device follow one another in one stream:

    row 0    1 2 3            stream   1 2 3 4 5 6 7 8 9
    row 1    4 5 6 7 8 9

Projections, norms and feed-forward layers run on the stream. For attention alone its
tokens are taken to padded rows, and what they mixed is taken back.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Int

from radit_jax.inference.placement import Tokens, right_pad, round_up

_WIDTH_MULTIPLE = 64  # tokens; every width and every length is a shape to compile
_LENGTH_MULTIPLE = 64
_LENGTH_STEPS = 8  # lengths between two powers of two: at most an eighth is padding


class Rows(NamedTuple):
    """Where each token is, in `m` streams of `r` rows each."""

    slots: Int[Array, "m r w"]  # of a row's tokens in the stream; 0 in padding
    places: Int[Array, "m n"]  # of a stream's tokens in its rows, end to end

    def to_rows(self, x: Array) -> Array:
        """[m n …] to [mr w …]: each stream's on its own device."""
        rows = jax.vmap(lambda stream, slots: stream[slots])(x, self.slots)
        return rows.reshape(-1, *rows.shape[2:])

    def to_streams(self, x: Array) -> Array:
        """[mr w …] to [m n …]."""
        flat = x.reshape(len(self.slots), -1, *x.shape[2:])
        return jax.vmap(lambda rows, places: rows[places])(flat, self.places)


class Layout:
    """Places rows of tokens in streams.

    Args:
      lengths: tokens of each row; 0: the row only fills the batch.
      num_streams: that the rows are divided among, in order.
    """

    def __init__(self, lengths: Sequence[int], num_streams: int):
        self._num_rows = len(lengths) // num_streams
        self.width = round_up(max(lengths), _WIDTH_MULTIPLE)
        self.starts = np.zeros(len(lengths), np.int64)  # of each row in its stream
        for i in range(1, len(lengths)):
            if i % self._num_rows:
                self.starts[i] = self.starts[i - 1] + lengths[i - 1]
        totals = np.reshape(lengths, (num_streams, -1)).sum(axis=1)
        self._shape = num_streams, stream_length(int(max(totals)))
        self.rows = Rows(*self._rows(lengths))

    def _rows(self, lengths: Sequence[int]):
        slots = [range(s, s + n) for s, n in zip(self.starts, lengths, strict=True)]
        padded = right_pad(slots, len(lengths), self.width)
        firsts = np.arange(len(lengths)) % self._num_rows * self.width
        places = [range(f, f + n) for f, n in zip(firsts, lengths, strict=True)]
        shape = self._shape[0], self._num_rows, self.width
        return padded.reshape(shape), self.streams(places)

    def streams(self, rows: Sequence[Tokens]) -> Int[np.ndarray, "m n"]:
        """One number a token, given row by row, where the tokens are."""
        return right_pad(self.by_stream(rows), *self._shape)

    def by_stream(self, rows: Sequence[Tokens]) -> list[list[int]]:
        """What belongs to each stream's rows, end to end, without padding."""
        r = self._num_rows
        return [
            [number for row in rows[i : i + r] for number in row]
            for i in range(0, len(rows), r)
        ]


def stream_length(num_tokens: int) -> int:
    """Rounded up to one of few lengths: 5000 to 5120, 130 to 192."""
    power = 1 << max(0, num_tokens - 1).bit_length()
    return round_up(num_tokens, max(_LENGTH_MULTIPLE, power // (2 * _LENGTH_STEPS)))
