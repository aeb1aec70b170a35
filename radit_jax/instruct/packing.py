"""Examples packed into rows of equal length, and rows into batches (paper §3).

A row holds whole examples one after the other. `segment_ids` keeps attention within
an example, `positions` restart in each, and only output tokens (the answer and eos)
are targets: the LM head is computed at `target_positions` alone.
"""

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import safetensors.numpy
from etils import epath
from jaxtyping import Bool, Int

_LOOKAHEAD = 64  # rows open at a time
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
class Rows:
    """Packed rows `b` of `l` tokens, with `t` target slots each.

    Example: the examples [1, 5, 6, 2] and [1, 7, 2], each with a prompt of 2 tokens,
    in a row of 8:

      tokens           1 5 6 2 1 7 2 0
      segment_ids      1 1 1 1 2 2 2 0
      positions        0 1 2 3 0 1 2 0
      target_positions   1 2     5      (5 predicts 6, 6 predicts 2; 7 predicts 2)
      target_tokens      6 2     2
    """

    tokens: Int[np.ndarray, "b l"]  # padding is 0
    segment_ids: Int[np.ndarray, "b l"]  # 1, 2, … in a row; 0 for padding
    positions: Int[np.ndarray, "b l"]  # from 0 in every example
    target_positions: Int[np.ndarray, "b t"]  # position i predicts token i + 1
    target_tokens: Int[np.ndarray, "b t"]  # the token predicted
    target_mask: Bool[np.ndarray, "b t"]  # False at unused slots

    def __len__(self) -> int:
        return len(self.tokens)

    def take(self, ids: Sequence[int] | Int[np.ndarray, " b"]) -> dict[str, np.ndarray]:
        """A batch: these rows, by the field's name."""
        return {name: array[ids] for name, array in self.arrays().items()}

    def head(self, num: int) -> "Rows":
        """The first `num` rows."""
        return Rows(**{name: array[:num] for name, array in self.arrays().items()})

    def arrays(self) -> dict[str, np.ndarray]:
        """All rows, by the field's name."""
        return {
            field.name: getattr(self, field.name) for field in dataclasses.fields(self)
        }


def pack(
    examples: Iterable[Example], row_tokens: int, lookahead: int = _LOOKAHEAD
) -> Rows:
    """Packs examples, each into the first open row with room for it.

    Rows open in the order of the examples; at most `lookahead` are open, and the
    oldest closes for a new one. The result depends on the arguments alone.

    Raises:
      PackingError: an example is longer than a row, or has no prompt or no target.
    """
    rows: list[list[Example]] = []
    room: list[int] = []  # tokens left in each row
    for example in examples:
        _check(example, row_tokens)
        first_open = max(0, len(rows) - lookahead)
        for place in range(first_open, len(rows)):
            if len(example.tokens) <= room[place]:
                break
        else:
            place = len(rows)
            rows.append([])
            room.append(row_tokens)
        rows[place].append(example)
        room[place] -= len(example.tokens)
    return _stack(rows, row_tokens)


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


def _stack(rows: list[list[Example]], row_tokens: int) -> Rows:
    num_targets = max((sum(map(_num_targets, row)) for row in rows), default=0)
    num_targets = max(-(-num_targets // _TARGET_MULTIPLE), 1) * _TARGET_MULTIPLE
    shape, target_shape = (len(rows), row_tokens), (len(rows), num_targets)
    packed = Rows(
        *(np.zeros(shape, np.int32) for _ in range(3)),
        *(np.zeros(target_shape, np.int32) for _ in range(2)),
        np.zeros(target_shape, np.bool_),
    )
    for place, row in enumerate(rows):
        _fill(packed, place, row)
    return packed


def _fill(packed: Rows, place: int, row: list[Example]) -> None:
    """Writes the examples into row `place`."""
    begin = first_target = 0
    for segment, example in enumerate(row, start=1):
        end = begin + len(example.tokens)
        packed.tokens[place, begin:end] = example.tokens
        packed.segment_ids[place, begin:end] = segment
        packed.positions[place, begin:end] = np.arange(end - begin)
        slots = slice(first_target, first_target + _num_targets(example))
        targets = np.arange(begin + example.num_prompt_tokens, end)
        packed.target_positions[place, slots] = targets - 1
        packed.target_tokens[place, slots] = packed.tokens[place, targets]
        packed.target_mask[place, slots] = True
        begin, first_target = end, slots.stop


def _num_targets(example: Example) -> int:
    return len(example.tokens) - example.num_prompt_tokens


def real_token_share(rows: Rows) -> float:
    """Share of the rows' tokens that are not padding; 1 where there are no rows."""
    return float(np.mean(rows.segment_ids > 0)) if len(rows) else 1.0


def save_rows(path: epath.PathLike, rows: Rows) -> None:
    """Writes a safetensors file that `load_rows` reads."""
    epath.Path(path).write_bytes(safetensors.numpy.save(rows.arrays()))


def load_rows(path: epath.PathLike) -> Rows:
    """Reads what `save_rows` wrote."""
    return Rows(**safetensors.numpy.load(epath.Path(path).read_bytes()))


class RowBatches:
    """Endless batches of rows: one seeded permutation an epoch, one after the other.

    A batch may end one epoch and begin the next, so every row is seen equally often.
    """

    def __init__(self, rows: Rows, batch_rows: int, seed: int):
        """Starts at the first row of epoch 0.

        Args:
          rows: what is drawn from.
          batch_rows: rows a batch.
          seed: of the permutations.

        Raises:
          PackingError: there are fewer rows than a batch holds.
        """
        if len(rows) < batch_rows:
            raise PackingError(
                f"there are {len(rows)} packed rows, fewer than a batch of "
                f"{batch_rows}. Lower --config.lm_training.batch_rows, or give more "
                "train questions."
            )
        self._rows, self._batch_rows, self._seed = rows, batch_rows, seed
        self._epoch = self._row = 0

    def __iter__(self) -> Iterator[dict[str, np.ndarray]]:
        return self

    def __next__(self) -> dict[str, np.ndarray]:
        """The next batch: the arrays of `Rows`, with `batch_rows` rows."""
        end = self._row + self._batch_rows
        ids = self._permutation(self._epoch)[self._row : end]
        if end >= len(self._rows):
            self._epoch, end = self._epoch + 1, end - len(self._rows)
            ids = np.concatenate([ids, self._permutation(self._epoch)[:end]])
        self._row = end
        return self._rows.take(ids)

    def _permutation(self, epoch: int) -> Int[np.ndarray, " b"]:
        return np.random.default_rng((self._seed, epoch)).permutation(len(self._rows))

    def get_state(self) -> dict[str, Any]:
        """What `set_state` needs to go on from here."""
        return {"epoch": self._epoch, "row": self._row}

    def set_state(self, state: dict[str, Any]) -> None:
        """Goes on from where `get_state` was called.

        Raises:
          PackingError: the state is from other rows.
        """
        if not 0 <= state["row"] < len(self._rows):
            raise PackingError(
                f"the checkpoint stands at row {state['row']}, but there are "
                f"{len(self._rows)} rows. Restore the examples it was made with, or "
                "start in a new workdir."
            )
        self._epoch, self._row = state["epoch"], state["row"]


def in_order(rows: Rows, batch_rows: int) -> Iterator[dict[str, np.ndarray]]:
    """Every row once, in order; empty rows, without targets, fill the last batch."""
    for begin in range(0, len(rows), batch_rows):
        batch = rows.take(np.arange(begin, min(begin + batch_rows, len(rows))))
        missing = batch_rows - len(batch["tokens"])
        yield {
            name: np.pad(array, ((0, missing), (0, 0))) for name, array in batch.items()
        }
