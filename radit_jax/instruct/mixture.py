"""Batches mixed from two sources at a fixed share, with an exact restart."""

from typing import Any

import numpy as np
from jaxtyping import Int


class MixedBatches:
    """Row numbers of an endless, shuffled mixture of instruction and corpus data.

    Batch i is a function of the seed and i: each source is walked through in seeded
    permutations, one an epoch, and gives the same number of rows to every batch.
    Rows of the corpus source follow those of the instruction source: row
    `num_instructions + j` is corpus row j.
    """

    def __init__(
        self,
        num_instructions: int,
        num_corpus: int,
        corpus_weight: float,
        batch_size: int,
        seed: int,
    ):
        """Fixes how many rows of a batch come from each source.

        Args:
          num_instructions: rows of the first source.
          num_corpus: rows of the second; without any, all come from the first.
          corpus_weight: share of the second in a batch, rounded to whole rows.
          batch_size: rows a batch.
          seed: of the permutations.

        Raises:
          ValueError: there is nothing to draw from.
        """
        if not num_instructions + num_corpus:
            raise ValueError(
                "there are no questions to train the retriever on: 0 instructions and "
                "0 corpus queries. Give --config.instructions.train or raise "
                "--config.instructions.corpus_queries."
            )
        corpus_rows = round(batch_size * corpus_weight) if num_corpus else 0
        if not num_instructions:
            corpus_rows = batch_size
        self._sources = (
            (0, num_instructions, batch_size - corpus_rows),
            (num_instructions, num_corpus, corpus_rows),
        )
        self._seed, self._step = seed, 0
        # The epoch that each source is in, and its permutation.
        self._walked = [(-1, np.empty(0, np.int64)) for _ in self._sources]

    def __iter__(self) -> "MixedBatches":
        return self

    def __next__(self) -> Int[np.ndarray, " b"]:
        """The next batch's row numbers."""
        rows = [
            first + self._row(source, size, number * self._step + offset)
            for source, (first, size, number) in enumerate(self._sources)
            for offset in range(number)
        ]
        self._step += 1
        return np.asarray(rows, np.int32)

    def _row(self, source: int, size: int, draw: int) -> int:
        """The row at place `draw` of a source's endless walk."""
        epoch, place = divmod(draw, size)
        if self._walked[source][0] != epoch:
            generator = np.random.default_rng((self._seed, source, epoch))
            self._walked[source] = epoch, generator.permutation(size)
        return int(self._walked[source][1][place])

    def get_state(self) -> dict[str, Any]:
        """What `set_state` needs to go on from here."""
        return {"step": self._step}

    def set_state(self, state: dict[str, Any]) -> None:
        """Goes on from where `get_state` was called."""
        self._step = state["step"]
