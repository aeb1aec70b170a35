"""Retriever: questions to the chunks with the highest s(x, c) (RA-DIT, Eq. 1)."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from radit_jax.retrieval.embedder import Embedder
from radit_jax.retrieval.index import Index
from radit_jax.retrieval.ranking import SearchError


class Retriever:
    """A query tower over an index."""

    def __init__(self, embedder: Embedder, index: Index, batch_size: int = 64):
        """Joins the two.

        Args:
          embedder: of the query tower.
          index: over the passage tower's embeddings.
          batch_size: questions that are embedded together.
        """
        self._embedder = embedder
        self._index = index
        self._batch_size = batch_size

    def retrieve(
        self, questions: Sequence[str], k: int, exclude: Sequence[int] | None = None
    ) -> tuple[Int[np.ndarray, "b k"], Float[np.ndarray, "b k"]]:
        """The top k chunks of each question, best first.

        Example: the three best are chunks 8, 5 and 9; k = 2 excluding 5 gives 8 and 9,
        excluding 4 or -1 gives 8 and 5.

        Args:
          questions: at least one, none of them empty.
          k: chunks.
          exclude: for each question a chunk to leave out, or -1. A question cut from a
            chunk would otherwise find that chunk.

        Returns:
          Chunk ids, int32, and dot products, float32.

        Raises:
          SearchError: no questions, an empty one, or too few chunks.
        """
        _check(questions)
        exclude = np.full(len(questions), -1) if exclude is None else np.array(exclude)
        num_searched = k + bool(np.any(exclude >= 0))
        if k == self._index.num_chunks < num_searched:
            raise SearchError(
                f"k={k} chunks besides an excluded one are more than the corpus' "
                f"{self._index.num_chunks}; lower --config.retrieve.num_chunks."
            )
        queries = self._embedder.embed(list(questions), self._batch_size)
        ids, scores = self._index.search(queries, num_searched)
        # Stable: the excluded chunk goes to the end, the others keep their order.
        order = np.argsort(ids == exclude[:, None], axis=1, kind="stable")[:, :k]
        return (
            np.take_along_axis(ids, order, axis=1),
            np.take_along_axis(scores, order, axis=1),
        )


def _check(questions: Sequence[str]) -> None:
    if not questions:
        raise SearchError("there are no questions to retrieve for; give at least one.")
    empty = [i for i, question in enumerate(questions) if not question.strip()]
    if empty:
        raise SearchError(
            f"{len(empty)} of {len(questions)} questions are empty, the first is "
            f"question {empty[0]} of the batch; give each a text, or leave it out."
        )
