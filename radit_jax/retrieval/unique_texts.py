"""Search in which chunks with the same text count once, at their best place."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Int

from radit_jax.corpus.store import ChunkStore
from radit_jax.retrieval.ranking import Found, SearchError
from radit_jax.retrieval.retriever import Searcher

_FIRST, _GROWTH, _MOST = 2, 4, 32  # candidates, as multiples of k


class UniqueTexts:
    """Leaves out a chunk whose text, letter for letter, a better one has.

    It searches for 2 k candidates, and for 8 k and then 32 k while any question has
    fewer than k different texts among them: more is an error. What it finds is what
    the searcher would find in a corpus without the repetitions. Titles do not count.
    """

    def __init__(self, searcher: Searcher, store: ChunkStore):
        """Joins the two.

        Args:
          searcher: what finds the candidates.
          store: the chunks that it finds.
        """
        self._searcher = searcher
        self._store = store
        self.num_chunks = searcher.num_chunks
        self.no_match = searcher.no_match

    def encode(self, questions: Sequence[str]) -> Any:
        """The searcher's encoding."""
        return self._searcher.encode(questions)

    def search(self, encoded: Any, k: int, exclude: Int[np.ndarray, " b"]) -> Found:
        """See `Searcher`; what has an excluded chunk's text is excluded with it.

        Raises:
          SearchError: a question has too few different texts among 32 k candidates.
        """
        most = self.num_chunks - bool(np.any(exclude >= 0))
        wanted = _FIRST * k
        while True:
            num_candidates = min(wanted, most)
            ids, scores = self._searcher.search(encoded, num_candidates, exclude)
            kept = self._first_of_each(ids, exclude)
            fewest = int(kept.sum(axis=1).min())
            if fewest >= k:
                break
            if wanted >= _MOST * k or num_candidates == most:
                raise SearchError(
                    f"question {kept.sum(axis=1).argmin()} of the batch has only "
                    f"{fewest} different texts among its best {num_candidates} chunks, "
                    f"of {k} wanted. Remove repeated chunks with "
                    "--config.corpus.drop_duplicates=exact, lower "
                    "--config.retrieve.num_chunks, or give up "
                    "--config.retrieve.unique_texts."
                )
            wanted *= _GROWTH
        order = np.argsort(~kept, axis=1, kind="stable")[:, :k]
        return (
            np.take_along_axis(ids, order, axis=1),
            np.take_along_axis(scores, order, axis=1),
        )

    def _first_of_each(
        self, ids: Int[np.ndarray, "b m"], exclude: Int[np.ndarray, " b"]
    ) -> Bool[np.ndarray, "b m"]:
        """Whether a place is the first of its row with its text."""
        wanted = np.unique(np.concatenate([ids.reshape(-1), exclude[exclude >= 0]]))
        chunks = self._store.get_many(wanted)
        texts = {-1: None} | {chunk.id: chunk.text for chunk in chunks}
        kept = np.zeros(ids.shape, bool)
        for row, (places, left_out) in enumerate(
            zip(ids.tolist(), exclude.tolist(), strict=True)
        ):
            seen = {texts[left_out]}
            for place, chunk_id in enumerate(places):
                kept[row, place] = texts[chunk_id] not in seen
                seen.add(texts[chunk_id])
        return kept
