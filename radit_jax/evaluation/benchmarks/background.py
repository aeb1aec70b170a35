"""Background: what a job's retriever found for its items, as the LM reads it."""

from collections.abc import Sequence
from typing import Any

from radit_jax.corpus.store import ChunkStore
from radit_jax.evaluation.benchmarks import answering
from radit_jax.evaluation.benchmarks.asking import Found
from radit_jax.evaluation.benchmarks.item import Item, Record
from radit_jax.evaluation.benchmarks.job import Run
from radit_jax.evaluation.benchmarks.marks import PredictionsError
from radit_jax.inference.questions import log_p_r
from radit_jax.types import Chunk


class Background:
    """The top k chunks of each item of a sample; of a closed-book run none.

    Args:
      run: says how many chunks, and whether they are concatenated.
      lines: of each item of the sample its `id`, `chunk_ids` and `scores`.
      store: of the chunks.
      temperature: of p_R.
      kilt_pages: what tells pages from each other: "title" or "wikipedia_id".
    """

    def __init__(
        self,
        run: Run,
        lines: Sequence[Record] = (),
        store: ChunkStore | None = None,
        temperature: float = 1.0,
        kilt_pages: str = "title",
    ):
        self._run, self._lines, self._store = run, lines, store
        self._temperature, self._is_by_title = temperature, kilt_pages == "title"

    def of(
        self, items: Sequence[Item], start: int
    ) -> tuple[list[Found], list[dict[str, Any]]]:
        """The chunks of each item, and what its record says of them.

        Args:
          items: neighbours in the sample.
          start: the first one's place.

        Raises:
          PredictionsError: the lines are of other items.
        """
        if self._store is None:
            return [answering.CLOSED_BOOK] * len(items), [{}] * len(items)
        lines = self._lines[start : start + len(items)]
        if [line["id"] for line in lines] != [item.id for item in items]:
            raise PredictionsError(
                f"the chunks that were retrieved for {items[0].task} are of other "
                "questions: found.jsonl was changed by another program, or by hand. "
                "Delete the workdir's folder benchmarks/retrieved, and run again."
            )
        k = self._run.num_chunks
        wanted = [i for line in lines for i in line["chunk_ids"][:k]]
        chunks = iter(self._store.get_many(wanted))
        read = [[next(chunks) for _ in line["chunk_ids"][:k]] for line in lines]
        weights = [log_p_r(line["scores"][:k], self._temperature) for line in lines]
        pairs = list(zip(read, weights, strict=True))
        return [self._found(*pair) for pair in pairs], [self._told(*p) for p in pairs]

    def _found(self, chunks: Sequence[Chunk], log_p_r: tuple[float, ...]) -> Found:
        found = Found(tuple(chunk.passage for chunk in chunks), log_p_r)
        is_whole = self._run.mode == "concatenated"
        return answering.concatenated(found) if is_whole else found

    def _told(
        self, chunks: Sequence[Chunk], log_p_r: tuple[float, ...]
    ) -> dict[str, Any]:
        return {
            "chunk_ids": [chunk.id for chunk in chunks],
            "log_p_r": log_p_r,
            "pages": [self._page(chunk) for chunk in chunks],
        }

    def _page(self, chunk: Chunk) -> str:
        """Untitled ones go by their id."""
        return (self._is_by_title and chunk.title) or chunk.document_id
