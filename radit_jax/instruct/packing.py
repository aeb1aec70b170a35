"""Examples packed into rows of equal length (paper §3).

A row holds whole examples one after the other. `segment_ids` keeps attention within
an example, `positions` restart in each, and only output tokens (the answer and eos)
are targets: the LM head is computed at `target_positions` alone.
"""

import dataclasses
from collections import deque
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import safetensors.numpy
from jaxtyping import Int

LOOKAHEAD = 64  # rows open at a time
_TARGET_MULTIPLE = 8  # the target axis is rounded up to this, for the accelerator


class PackingError(ValueError):
    """Examples or rows that can't be packed or batched: the counts and the remedy."""


@dataclasses.dataclass(frozen=True, slots=True)
class Example:
    """A training example: bos, prompt, answer, eos."""

    id: str
    tokens: Sequence[int]
    num_prompt_tokens: int  # with bos; the others are targets


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Row:
    """Examples in a row, as they are stored; all else is derived from this."""

    tokens: Int[np.ndarray, " l"]  # one example after the other, without padding
    num_tokens: Int[np.ndarray, " x"]  # of each example
    num_prompt_tokens: Int[np.ndarray, " x"]  # of each example

    @classmethod
    def of(cls, examples: Sequence[Example]) -> "Row":
        """The row that holds these examples."""
        return cls(
            np.concatenate([np.asarray(one.tokens, np.int32) for one in examples]),
            np.asarray([len(one.tokens) for one in examples], np.int32),
            np.asarray([one.num_prompt_tokens for one in examples], np.int32),
        )

    @property
    def num_targets(self) -> int:
        """Tokens that carry the loss."""
        return int((self.num_tokens - self.num_prompt_tokens).sum())

    def to_bytes(self) -> bytes:
        """A record that `from_bytes` reads: safetensors."""
        fields = dataclasses.fields(self)
        return safetensors.numpy.save({f.name: getattr(self, f.name) for f in fields})

    @classmethod
    def from_bytes(cls, record: bytes) -> "Row":
        """The row of a `to_bytes` record."""
        return cls(**safetensors.numpy.load(record))

    def arrays(self, row_tokens: int, target_slots: int) -> dict[str, np.ndarray]:
        """What a train step reads, with `l = row_tokens` and `t = target_slots`.

        Example: the examples [1, 5, 6, 2] and [1, 7, 2], each with a prompt of 2
        tokens, in a row of 8:

          tokens           1 5 6 2 1 7 2 0   [l], padding is 0
          segment_ids      1 1 1 1 2 2 2 0   [l], 1, 2, … in a row; 0 for padding
          positions        0 1 2 3 0 1 2 0   [l], from 0 in every example
          target_positions   1 2     5       [t], position i predicts token i + 1
          target_tokens      6 2     2       [t], (5 predicts 6, 6 predicts 2, …)
          target_mask        T T     T       [t], False at unused slots
        """
        begins = np.cumsum(self.num_tokens) - self.num_tokens
        places = np.arange(len(self.tokens))
        positions = places - np.repeat(begins, self.num_tokens)
        targets = places[
            positions >= np.repeat(self.num_prompt_tokens, self.num_tokens)
        ]
        segments = np.repeat(np.arange(1, len(begins) + 1), self.num_tokens)
        return {
            "tokens": _padded(self.tokens, row_tokens),
            "segment_ids": _padded(segments, row_tokens),
            "positions": _padded(positions, row_tokens),
            "target_positions": _padded(targets - 1, target_slots),
            "target_tokens": _padded(self.tokens[targets], target_slots),
            "target_mask": np.arange(target_slots) < len(targets),
        }


def empty_arrays(row_tokens: int, target_slots: int) -> dict[str, np.ndarray]:
    """The arrays of a row without examples, which fills a batch."""
    nothing = np.empty(0, np.int32)
    return Row(nothing, nothing, nothing).arrays(row_tokens, target_slots)


def pack(
    examples: Iterable[Example], row_tokens: int, lookahead: int = LOOKAHEAD
) -> Iterator[Row]:
    """Packs examples, each into the first open row with room for it.

    Rows open in the order of the examples; at most `lookahead` are open, and the
    oldest closes for a new one, so that no more of them is ever held in memory. The
    result depends on the arguments alone.

    Raises:
      PackingError: an example is longer than a row, or has no prompt or no target.
    """
    rows: deque[list[Example]] = deque()  # open, the oldest first
    room: deque[int] = deque()  # tokens left in each
    for example in examples:
        _check(example, row_tokens)
        size = len(example.tokens)
        place = next((i for i, left in enumerate(room) if size <= left), None)
        if place is None:
            if len(rows) == lookahead:
                room.popleft()
                yield Row.of(rows.popleft())
            place = len(rows)
            rows.append([])
            room.append(row_tokens)
        rows[place].append(example)
        room[place] -= size
    yield from map(Row.of, rows)


def target_slots(num_targets: int) -> int:
    """The target axis of rows of which the fullest has `num_targets`."""
    return max(-(-num_targets // _TARGET_MULTIPLE), 1) * _TARGET_MULTIPLE


def _check(example: Example, row_tokens: int) -> None:
    num_tokens = len(example.tokens)
    if num_tokens > row_tokens:
        raise PackingError(
            f"example {example.id!r} has {num_tokens} tokens, more than a row of "
            f"{row_tokens}. Raise --config.examples.row_tokens, or lower "
            "--config.lm.max_tokens."
        )
    if not 1 <= example.num_prompt_tokens < num_tokens:
        raise PackingError(
            f"example {example.id!r} has {example.num_prompt_tokens} prompt tokens "
            f"out of {num_tokens}; give one at least, and one target after it."
        )


def _padded(values: np.ndarray, length: int) -> Int[np.ndarray, " l"]:
    padded = np.zeros(length, np.int32)
    padded[: len(values)] = values
    return padded
