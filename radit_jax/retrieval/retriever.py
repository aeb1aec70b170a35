"""Retriever: questions to the chunks with the highest s(x, c) (RA-DIT, Eq. 1)."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int

from radit_jax.retrieval.embedder import Embedder
from radit_jax.retrieval.index import Index
from radit_jax.retrieval.ranking import Found, SearchError


@runtime_checkable
class Searcher(Protocol):
    """One way to search a corpus: by embeddings, by words, or by both."""

    @property
    def num_chunks(self) -> int:
        """`n`."""

    @property
    def no_match(self) -> float:
        """A chunk of this score or less is no match: it only fills up k places."""

    def encode(self, questions: Sequence[str]) -> Any:
        """What `search` reads of the questions; runs beside another batch's search."""

    def search(self, encoded: Any, k: int, exclude: Int[np.ndarray, " b"]) -> Found:
        """The k best chunks of each question less the excluded one (-1: none).

        Returns:
          Chunk ids, int32, and scores, float32: best first, equal ones by lower id.
        """


class DenseSearcher:
    """A query tower over an index: scores are dot products."""

    no_match = -np.inf

    def __init__(self, embedder: Embedder, index: Index, batch_size: int = 0):
        """Joins the two.

        Args:
          embedder: of the query tower.
          index: over the passage tower's embeddings.
          batch_size: questions that are embedded together; see `Embedder.embed`.
        """
        self._embedder = embedder
        self._index = index
        self._batch_size = batch_size

    @property
    def num_chunks(self) -> int:
        """`n`."""
        return self._index.num_chunks

    def encode(self, questions: Sequence[str]) -> Float[np.ndarray, "b e"]:
        """Query embeddings."""
        return self._embedder.embed(list(questions), self._batch_size)

    def search(
        self, encoded: Float[np.ndarray, "b e"], k: int, exclude: Int[np.ndarray, " b"]
    ) -> Found:
        """See `Searcher`; one search, of one chunk more where any is excluded."""
        ids, scores = self._index.search(encoded, k + bool(np.any(exclude >= 0)))
        # Stable: the excluded chunk goes to the end, the others keep their order.
        order = np.argsort(ids == exclude[:, None], axis=1, kind="stable")[:, :k]
        return (
            np.take_along_axis(ids, order, axis=1),
            np.take_along_axis(scores, order, axis=1),
        )


class Retriever:
    """Questions to chunks, by any searcher."""

    def __init__(self, searcher: Searcher):
        """Args: searcher: what finds the chunks."""
        self._searcher = searcher

    def retrieve(
        self, questions: Sequence[str], k: int, exclude: Sequence[int] | None = None
    ) -> Found:
        """The top k chunks of each question, best first.

        Example: the three best are chunks 8, 5 and 9; k = 2 excluding 5 gives 8 and 9,
        excluding 4 or -1 gives 8 and 5.

        Args:
          questions: at least one, none of them empty.
          k: chunks.
          exclude: for each question a chunk to leave out, or -1. A question cut from a
            chunk would otherwise find that chunk.

        Returns:
          Chunk ids, int32, and scores, float32: dot products, of a dense searcher.

        Raises:
          SearchError: no questions, an empty one, or too few chunks.
        """
        return next(self.retrieve_batches(questions, k, exclude, len(questions)))

    def retrieve_batches(
        self,
        questions: Sequence[str],
        k: int,
        exclude: Sequence[int] | None = None,
        batch_size: int = 64,
    ) -> Iterator[Found]:
        """`retrieve` of a batch after the other, in the order given.

        The next batch is tokenised and encoded while the current one is searched.

        Raises:
          SearchError: as `retrieve`, of any question, before the first batch.
        """
        _check_questions(questions)
        left_out = np.full(len(questions), -1) if exclude is None else np.array(exclude)
        self._check_k(k, bool(np.any(left_out >= 0)))
        return self._search_batches(list(questions), k, left_out, batch_size)

    def _search_batches(
        self,
        questions: list[str],
        k: int,
        exclude: Int[np.ndarray, " b"],
        batch_size: int,
    ) -> Iterator[Found]:
        begins = range(0, len(questions), batch_size)
        batches = [questions[begin : begin + batch_size] for begin in begins]
        with ThreadPoolExecutor(max_workers=1) as ahead:
            waiting = ahead.submit(self._searcher.encode, batches[0])
            for number, begin in enumerate(begins):
                encoded = waiting.result()
                if number + 1 < len(batches):
                    waiting = ahead.submit(self._searcher.encode, batches[number + 1])
                left_out = exclude[begin : begin + batch_size]
                yield self._searcher.search(encoded, k, left_out)

    def _check_k(self, k: int, excludes: bool) -> None:
        num_chunks = self._searcher.num_chunks
        if k > num_chunks:
            raise SearchError(
                f"k={k} is larger than the corpus of {num_chunks} chunks; lower "
                "--config.retrieve.num_chunks."
            )
        if k == num_chunks and excludes:
            raise SearchError(
                f"k={k} chunks besides an excluded one are more than the corpus' "
                f"{num_chunks}; lower --config.retrieve.num_chunks."
            )


def _check_questions(questions: Sequence[str]) -> None:
    if not questions:
        raise SearchError("there are no questions to retrieve for; give at least one.")
    empty = [i for i, question in enumerate(questions) if not question.strip()]
    if empty:
        raise SearchError(
            f"{len(empty)} of {len(questions)} questions are empty, the first is "
            f"question {empty[0]} of the batch; give each a text, or leave it out."
        )
