"""Endless batches, shuffled by a seed, with an exact restart (Grain).

Batch i is a function of the seed and i. Of its rows a process reads those that its
own devices hold; which those are is told by their places in the batch. So the same
global batches come out for any number of processes, and a run can be restored on
another number of them. Rows are read ahead by threads: a Grain worker process would
fork JAX.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import grain
import numpy as np
from jaxtyping import Int

from radit_jax.instruct.packing import PackingError
from radit_jax.instruct.rows import RowStore

_ENDLESS = 2**31  # batches
_THREADS = 2
_READ_AHEAD = 8  # batches


def shuffled(num: int, seed: int) -> grain.MapDataset:
    """An endless walk over 0 … num-1: a permutation an epoch, one after the other."""
    return grain.MapDataset.range(num).shuffle(seed=seed % 2**32).repeat()


class RowBatches:
    """Batches of packed rows, prefetched.

    A batch may end one epoch and begin the next, so every row is seen equally often.
    """

    def __init__(
        self,
        store: RowStore,
        batch_rows: int,
        seed: int,
        places: Sequence[int] | Int[np.ndarray, " p"] | None = None,
    ):
        """Starts at the first row of epoch 0.

        Args:
          store: what is drawn from.
          batch_rows: rows a global batch.
          seed: of the permutations.
          places: of this process' rows in a batch; None: all of it.

        Raises:
          PackingError: there are fewer rows than a batch holds.
        """
        if len(store) < batch_rows:
            raise PackingError(
                f"there are {len(store)} packed rows, fewer than a batch of "
                f"{batch_rows}. Lower --config.lm_training.batch_rows, or give more "
                "train questions."
            )
        self.num_rows = batch_rows
        self._store, self._walk = store, shuffled(len(store), seed)
        self._places = np.arange(batch_rows) if places is None else np.asarray(places)
        batches = grain.MapDataset.range(_ENDLESS).map(self._batch)
        options = grain.ReadOptions(_THREADS, _READ_AHEAD)
        self._iterator = iter(batches.to_iter_dataset(options))

    def _batch(self, number: int) -> dict[str, np.ndarray]:
        draws = number * self.num_rows + self._places
        return _stack([self._store[self._walk[int(draw)]] for draw in draws])

    def __iter__(self) -> Iterator[dict[str, np.ndarray]]:
        return self

    def __next__(self) -> dict[str, np.ndarray]:
        """The next batch: the arrays of `Row.arrays`, of this process' rows."""
        return next(self._iterator)

    def get_state(self) -> dict[str, Any]:
        """What `set_state` needs to go on from here, with any number of processes."""
        return {"rows": len(self._store)} | self._iterator.get_state()

    def set_state(self, state: dict[str, Any]) -> None:
        """Goes on from where `get_state` was called.

        Raises:
          PackingError: the state is from other rows.
        """
        if state["rows"] != len(self._store):
            raise PackingError(
                f"the checkpoint was made with {state['rows']} rows, but there are "
                f"{len(self._store)}. Restore the examples it was made with, or start "
                "in a new workdir."
            )
        self._iterator.set_state({"next_index": state["next_index"]})

    def close(self) -> None:
        """Ends the threads that read ahead."""
        self._iterator.close()


def in_order(
    store: RowStore,
    batch_rows: int,
    max_rows: int = 0,
    places: Sequence[int] | Int[np.ndarray, " p"] | None = None,
) -> Iterator[dict[str, np.ndarray]]:
    """Every row once, in order; empty rows, without targets, fill the last batch.

    Args:
      store: what is read.
      batch_rows: rows a global batch.
      max_rows: the first so many are read; 0: all.
      places: of this process' rows in a batch; None: all of it.
    """
    places = np.arange(batch_rows) if places is None else np.asarray(places)
    num_rows = min(len(store), max_rows or len(store))
    for begin in range(0, num_rows, batch_rows):
        rows = (begin + int(place) for place in places)
        yield _stack([store[row] if row < num_rows else store.empty for row in rows])


def _stack(rows: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


class MixedBatches:
    """Row numbers of an endless mixture of several sources.

    Each source is walked through in seeded permutations, one an epoch. The sources
    are dealt out evenly, so that every batch is near the shares, and any long run
    meets them. The rows of a source follow those of the source before it.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        weights: Sequence[float],
        batch_size: int,
        seed: int,
    ):
        """Starts at batch 0.

        Args:
          sizes: rows of each source.
          weights: share of each in the draws; need not sum to 1. A source that
            stands alone has all.
          batch_size: rows a batch.
          seed: of the permutations.

        Raises:
          ValueError: there is nothing to draw from.
        """
        begins = np.cumsum([0, *sizes])
        filled = [i for i, size in enumerate(sizes) if size]
        used = [i for i in filled if weights[i]] or filled
        if not used:
            raise ValueError(
                "there are no questions to train the retriever on: the sources have "
                f"{list(sizes)}. Give --config.instructions.train or raise "
                "--config.instructions.corpus_queries."
            )
        walks = [shuffled(sizes[i], seed + i).map(_shift(int(begins[i]))) for i in used]
        shares = [float(weights[i]) or 1.0 for i in used]
        self._rows = grain.MapDataset.mix(walks, shares)
        self.num_rows, self._step = batch_size, 0

    def __iter__(self) -> "MixedBatches":
        return self

    def __next__(self) -> Int[np.ndarray, " b"]:
        """The next batch's row numbers."""
        begin = self._step * self.num_rows
        rows = [self._rows[i] for i in range(begin, begin + self.num_rows)]
        self._step += 1
        return np.asarray(rows, np.int32)

    def get_state(self) -> dict[str, Any]:
        """What `set_state` needs to go on from here."""
        return {"step": self._step}

    def set_state(self, state: dict[str, Any]) -> None:
        """Goes on from where `get_state` was called."""
        self._step = state["step"]


def _shift(begin: int):
    return lambda row: begin + row
