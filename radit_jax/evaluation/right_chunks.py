"""Which chunks are right for a question, and how early a ranking has one."""

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Bool, Int

from radit_jax.corpus.store import ChunkStore
from radit_jax.evaluation.metrics import Scores
from radit_jax.text import answers
from radit_jax.types import Chunk, Instruction

KS = (1, 5, 10)  # of recall

Judge = Callable[[Instruction, Chunk], bool]


def is_of_positive(instruction: Instruction, chunk: Chunk) -> bool:
    """Is the chunk of a document that the question names?"""
    return chunk.document_id in instruction.positives


def holds_answer(instruction: Instruction, chunk: Chunk) -> bool:
    """Does an accepted answer stand in the text (DPR's has_answer)?"""
    return answers.contains(chunk.text, instruction.answers)


def choose_judge(
    asked: Sequence[Instruction],
) -> tuple[list[Instruction], Judge, str]:
    """The questions that can be judged, how, and the name of that.

    By positives where any question names some; else by answers.
    """
    named = [instruction for instruction in asked if instruction.positives]
    if named:
        return named, is_of_positive, "chunks of positives"
    answered = [instruction for instruction in asked if instruction.answers]
    return answered, holds_answer, "chunks that contain an answer"


class RightChunks:
    """The verdicts on what is found for some questions.

    A chunk is looked up when it is first found for a question. So no scan of the store
    is needed, and the verdict is exact at every rank.
    """

    def __init__(self, asked: Sequence[Instruction], judge: Judge, store: ChunkStore):
        """Looks nothing up yet.

        Args:
          asked: the questions.
          judge: whether a chunk is right.
          store: the chunks.
        """
        self._asked, self._judge, self._store = asked, judge, store
        self._verdicts: list[dict[int, bool]] = [{} for _ in asked]

    def scores(self, ids: Int[np.ndarray, "b k"], num_chunks: int) -> Scores:
        """Each question's `mrr`, from 0 to 1, and `recall@k` in percent.

        Args:
          ids: of what was found, best first.
          num_chunks: ranks that `mrr` looks at.
        """
        is_right = self._look_up(ids)
        ranks = np.where(is_right.any(axis=1), is_right.argmax(axis=1) + 1.0, np.inf)
        found = {f"recall@{k}": 100.0 * (ranks <= k) for k in KS if k <= ids.shape[1]}
        return {"mrr": np.where(ranks <= num_chunks, 1 / ranks, 0.0)} | found

    def _look_up(self, ids: Int[np.ndarray, "b k"]) -> Bool[np.ndarray, "b k"]:
        new = [
            (row, chunk_id)
            for row, found in enumerate(ids.tolist())
            for chunk_id in found
            if chunk_id not in self._verdicts[row]
        ]
        distinct = sorted({chunk_id for _, chunk_id in new})
        chunks = dict(zip(distinct, self._store.get_many(distinct), strict=True))
        for row, chunk_id in new:
            verdict = self._judge(self._asked[row], chunks[chunk_id])
            self._verdicts[row][chunk_id] = verdict
        return np.array(
            [
                [self._verdicts[row][chunk_id] for chunk_id in found]
                for row, found in enumerate(ids.tolist())
            ]
        )
