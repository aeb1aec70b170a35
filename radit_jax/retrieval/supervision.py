"""Questions with what their chunks are worth: the LM's scores, or a control's."""

import collections
import dataclasses
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from absl import logging
from jaxtyping import Bool, Int

from radit_jax.config import ConfigError, RetrieverTrainingConfig
from radit_jax.corpus.store import ChunkStore
from radit_jax.instruct import mixture
from radit_jax.ops import losses
from radit_jax.retrieval.lm_scores import LMScores
from radit_jax.types import Retrieved

_BLOCK = 65_536  # questions whose p_LSR is looked at together


@dataclasses.dataclass(frozen=True, slots=True)
class Supervised:
    """Questions that can be learned from: each has two scored chunks or more.

    Attributes:
      queries: what the retriever reads; read where the questions are, one by one.
      sizes: how many of them each set has.
      chunk_ids: 0 where there are fewer chunks.
      scores: of these chunks; its mask says which there are.
      left_out: why other questions are not here, and how many.
    """

    queries: Sequence[str]
    sizes: dict[str, int]
    chunk_ids: Int[np.ndarray, "n k"]
    scores: LMScores
    left_out: dict[str, int]

    def __len__(self) -> int:
        return len(self.queries)


class Queries(Sequence[str]):
    """The queries of some questions, which may be on disk."""

    def __init__(self, found: Sequence[Retrieved], rows: Int[np.ndarray, " n"]):
        """Takes the questions, and the rows of those that count."""
        self._found, self._rows = found, rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, place: int) -> str:
        """What the retriever reads of one."""
        return self._found[self._rows[place]].instruction.query


def supervise(
    found: Sequence[Retrieved],
    scores: LMScores,
    settings: RetrieverTrainingConfig,
    store: ChunkStore,
) -> Supervised:
    """Puts questions and scores together, by `settings.teacher`.

    Args:
      found: the retrieved questions; of those beyond `scores` nothing is known.
      scores: of their chunks, in the same order.
      settings: the teacher, and the seed that shuffles.
      store: the chunks, whose documents "gold" asks for.

    Raises:
      ConfigError: a score is not finite.
    """
    num_chunks = scores.values.shape[1]
    found = found[: len(scores)]
    _check_finite(found, scores)
    chunk_ids = np.zeros((len(found), num_chunks), np.int32)
    named = np.zeros(len(found), bool)
    for row, item in enumerate(found):
        ids = item.chunk_ids[:num_chunks]
        chunk_ids[row, : len(ids)] = ids
        named[row] = bool(item.instruction.positives)
    scores = scores.take(np.arange(len(found)))
    num_scored = scores.mask.sum(axis=1)
    reasons = {"without scores": num_scored == 0, "with one chunk": num_scored == 1}
    if settings.teacher == "shuffled":
        scores = scores.shuffled(settings.seed)
    if settings.teacher == "gold":
        is_gold = _is_gold(found, named, chunk_ids, store) & scores.mask
        scores = dataclasses.replace(scores, values=is_gold.astype(np.float32))
        has_two = num_scored > 1
        reasons["without positives"] = has_two & ~named
        reasons["without a positive chunk"] = has_two & named & ~is_gold.any(axis=1)
    kept = np.flatnonzero(~np.any([*reasons.values()], axis=0))
    return Supervised(
        Queries(found, kept),
        mixture.sizes_by_set(found[row] for row in kept),
        chunk_ids[kept],
        scores.take(kept),
        {reason: int(rows.sum()) for reason, rows in reasons.items() if rows.any()},
    )


def counts(
    sets: Supervised, corpus: Supervised, settings: RetrieverTrainingConfig
) -> dict[str, Any]:
    """What is learned from and how, for a manifest; warns where it teaches nothing.

    Raises:
      ConfigError: no question is left.
    """
    parts = sets, corpus
    portions = mixture.retriever_portions(
        sets.sizes,
        len(corpus),
        settings.corpus_weight,
        settings.num_steps * settings.batch_size,
    )
    num = sum(map(len, parts))
    uniform = sum(
        _num_nearly_uniform(part.scores, settings.lm_temperature) for part in parts
    )
    left_out = collections.Counter(sets.left_out) + collections.Counter(corpus.left_out)
    found = {
        "sets": [portion.to_record() for portion in portions],
        "questions": num,
        "left_out": dict(left_out),
        "nearly_uniform": uniform,
        "steps": settings.num_steps,
        "loss": settings.loss,
        "score": settings.score,
        "lm_temperature": settings.lm_temperature,
        "retriever_temperature": settings.retriever_temperature,
    }
    logging.info("finetune_retriever: %s", found)
    if not num:
        raise ConfigError(
            "no question is left to tune the retriever on; left out: "
            f"{dict(left_out)}. Score more with --config.scoring.splits and "
            ".num_chunks (two or more), give questions `positives` for teacher=gold, "
            "or raise --config.instructions.corpus_queries."
        )
    if uniform == num:
        logging.warning(
            "finetune_retriever: p_LSR is nearly uniform for all %d questions, so "
            "there is nothing to learn. Lower --config.retriever_training."
            "lm_temperature=%g, or take another score than %s.",
            num,
            settings.lm_temperature,
            settings.score,
        )
    return found


def _num_nearly_uniform(scores: LMScores, lm_temperature: float) -> int:
    """How many questions' p_LSR teaches nothing: see `losses.diagnostics`."""
    num = 0
    for begin in range(0, len(scores), _BLOCK):
        values = jnp.asarray(scores.values[begin : begin + _BLOCK])
        mask = jnp.asarray(scores.mask[begin : begin + _BLOCK])
        both = losses.lsr_distributions(
            values, values, mask, lm_temperature=lm_temperature
        )
        num += int(losses.diagnostics(*both, mask)["nearly_uniform"].sum())
    return num


def _is_gold(
    found: Sequence[Retrieved],
    named: Bool[np.ndarray, " n"],
    chunk_ids: Int[np.ndarray, "n k"],
    store: ChunkStore,
) -> Bool[np.ndarray, "n k"]:
    """Where a chunk's document is one of its question's positives, if any are named."""
    rows = np.flatnonzero(named)
    wanted = np.unique(chunk_ids[rows])
    documents = {chunk.id: chunk.document_id for chunk in store.get_many(wanted)}
    is_gold = np.zeros(chunk_ids.shape, bool)
    for row in rows:
        positives = set(found[row].instruction.positives)
        is_gold[row] = [documents[c] in positives for c in chunk_ids[row].tolist()]
    return is_gold


def _check_finite(found: Sequence[Retrieved], scores: LMScores) -> None:
    is_bad = ~np.isfinite(scores.values).all(axis=1)
    if is_bad.any():
        row = int(is_bad.argmax())
        raise ConfigError(
            f"the LM score of question {found[row].instruction.id!r} is "
            f"{scores.values[row]}; the LM gives no finite likelihoods. Score again "
            "with --config.lm.compute_dtype=float32, or leave that question out."
        )
