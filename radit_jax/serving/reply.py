"""What a question is answered with: the answer, and the passages behind it."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

from radit_jax.inference.answers import Answer
from radit_jax.inference.questions import Retrieval
from radit_jax.types import Chunk


@dataclasses.dataclass(frozen=True, slots=True)
class Passage:
    """A retrieved chunk, and what it counts."""

    id: int  # row in the corpus
    document_id: str
    title: str
    section: str
    text: str
    score: float  # s(x, c) of the retriever
    weight: float  # p_R(c | x); a reply's sum to 1


@dataclasses.dataclass(frozen=True, slots=True)
class Reply:
    """An answer."""

    model: str
    question: str
    retrieval: bool
    mode: str  # of the answer: see config.PredictConfig
    answer: str
    log_probability: float  # of Eq. 2, nats
    passages: tuple[Passage, ...]  # best first
    passage_answers: tuple[str, ...]  # what each says alone; (): none does
    num_truncated: int  # passages that were cut to fit the LM's tokens
    prompt_tokens: int  # of all passages' prompts
    answer_tokens: int  # of the answer
    is_cut: bool  # the answer reached the most tokens it may have

    def to_record(self) -> dict[str, Any]:
        """The JSON object of `POST /ask`."""
        record = dataclasses.asdict(self)
        record["probability"] = math.exp(record.pop("log_probability"))
        return record


def passages(
    chunks: Sequence[Chunk], scores: Sequence[float], retrieval: Retrieval
) -> tuple[Passage, ...]:
    """The retrieved chunks with their weights.

    Args:
      chunks: best first; none: closed book.
      scores: of each.
      retrieval: with log p_R of each.
    """
    # Not strict: without chunks there is one prompt, of weight 1, and no passage.
    return tuple(
        Passage(
            chunk.id,
            chunk.document_id,
            chunk.title,
            chunk.section,
            chunk.text,
            float(score),
            math.exp(log_p_r),
        )
        for chunk, score, log_p_r in zip(
            chunks, scores, retrieval.log_p_r, strict=False
        )
    )


def own_answers(mode: str, answer: Answer, num_passages: int) -> tuple[str, ...]:
    """What each passage says alone; only the answer ensemble asks each alone."""
    if mode != "answer_ensemble":
        return ()
    return answer.chunk_answers[:num_passages]
