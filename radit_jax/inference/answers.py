"""Answers: candidates that were scored under every chunk, mixed by Eq. 2."""

import dataclasses
from collections.abc import Iterator, Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from radit_jax.inference.questions import Question, Retrieval
from radit_jax.inference.sampler import Prefilled, Sampler
from radit_jax.ops import ensemble as ensemble_ops
from radit_jax.text import templates
from radit_jax.text.tokenizer import LMTokenizer


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """The mixture's answer, and how it came about. Best chunk's candidate first."""

    text: str
    log_probability: float  # log p(text | x) of Eq. 2, nats
    candidates: tuple[str, ...]  # a
    log_likelihood: Float[np.ndarray, "a k"]  # log p_LM(candidate | chunk, x), nats
    candidate_log_probability: Float[np.ndarray, "a"]  # of Eq. 2, nats
    chunk_answers: tuple[str, ...]  # k; "" where the LM said nothing
    gold_log_likelihood: Float[np.ndarray, "k"] | None  # nats a token, eos counted


@dataclasses.dataclass(slots=True)
class Scored:
    """A question's u prompts, each with its decoded text and the scores it gave."""

    texts: list[str]  # u
    log_likelihood: list[dict[str, float]]  # u, by candidate, nats
    gold_log_likelihood: list[float]  # u, nats a token; empty without a gold answer


def score(
    sampler: Sampler,
    tokenizer: LMTokenizer,
    questions: Sequence[Question],
    texts: Sequence[list[str]],
    caches: Sequence[Prefilled],
) -> Iterator[Scored]:
    """Scores every question's candidates, and its gold answer, under its prompts.

    Args:
      sampler: holds the LM.
      tokenizer: the LM's.
      questions: whose prompts, one after another, are in the caches.
      texts: what was decoded from each prompt of each question.
      caches: of the prompts.
    """
    pairs = list(zip(questions, texts, strict=True))
    wanted = [row for question, some in pairs for row in _wanted(question, some)]
    answers = [[_encode(tokenizer, text) for text in row] for row in wanted]
    scores, start = [], 0
    for prefilled in caches:
        stop = start + len(prefilled.num_tokens)
        scores += sampler.rescore(prefilled, answers[start:stop])
        start = stop
    rows = zip(wanted, answers, scores, strict=True)
    for question, some in pairs:
        yield _collect(question, some, [next(rows) for _ in some])


def candidates(texts: Sequence[str], rows: Sequence[int]) -> tuple[str, ...]:
    """The distinct texts of these rows; saying nothing is one only if all do."""
    unique = dict.fromkeys(texts[row] for row in rows)
    return tuple(text for text in unique if text) or ("",)


def _wanted(question: Question, texts: Sequence[str]) -> list[list[str]]:
    """What each prompt shall score: its retrievers' candidates, then the gold answer.

    One prompt may serve several retrievers, and a shared candidate is scored once.
    """
    wanted: list[dict[str, None]] = [{} for _ in texts]
    for retrieval in question.retrievals.values():
        found = candidates(texts, retrieval.rows)
        for row in retrieval.rows:
            wanted[row].update(dict.fromkeys(found))
    gold = [] if question.gold is None else [question.gold.strip()]
    return [[*row, *gold] for row in wanted]


def _encode(tokenizer: LMTokenizer, text: str) -> list[int]:
    """An answer's segment as in training, and eos."""
    ids = tokenizer.encode(templates.answer_block(text)) if text else []
    return [*ids, tokenizer.eos_id]


def _collect(question: Question, texts: list[str], rows: list[tuple]) -> Scored:
    """Sorts (texts, token ids, scores) of each prompt into candidates and gold."""
    num_gold = 0 if question.gold is None else 1  # the last of each row
    log_likelihood, gold = [], []
    for wanted, answers, scores in rows:
        # Not strict: a gold score has no candidate here.
        found = wanted[: len(wanted) - num_gold]
        log_likelihood.append(dict(zip(found, scores.tolist(), strict=False)))
        if num_gold:
            gold.append(float(scores[-1]) / len(answers[-1]))
    return Scored(texts, log_likelihood, gold)


def mix(
    questions: Sequence[Question], scored: Sequence[Scored]
) -> list[dict[str, Answer]]:
    """Eq. 2 for all questions and retrievers in one padded call."""
    jobs = [(i, name) for i, q in enumerate(questions) for name in q.retrievals]
    tables = [_table(questions[i].retrievals[name], scored[i]) for i, name in jobs]
    a = max((len(table) for table in tables), default=0)
    k = max((table.shape[1] for table in tables), default=0)
    log_likelihood = np.zeros((len(jobs), a, k), np.float32)
    log_p_r = np.full((len(jobs), k), -np.inf, np.float32)
    for j, ((i, name), table) in enumerate(zip(jobs, tables, strict=True)):
        log_likelihood[j, : table.shape[0], : table.shape[1]] = table
        log_p_r[j, : table.shape[1]] = questions[i].retrievals[name].log_p_r
    mixed = np.asarray(
        ensemble_ops.mix_answers(jnp.asarray(log_likelihood), jnp.asarray(log_p_r))
    )
    answers: list[dict[str, Answer]] = [{} for _ in questions]
    for (i, name), table, row in zip(jobs, tables, mixed, strict=True):
        retrieval = questions[i].retrievals[name]
        answers[i][name] = _answer(retrieval, scored[i], table, row[: len(table)])
    return answers


def _table(retrieval: Retrieval, scored: Scored) -> Float[np.ndarray, "a k"]:
    found = candidates(scored.texts, retrieval.rows)
    return np.array(
        [[scored.log_likelihood[row][c] for row in retrieval.rows] for c in found],
        np.float32,
    )


def _answer(
    retrieval: Retrieval,
    scored: Scored,
    log_likelihood: Float[np.ndarray, "a k"],
    log_probability: Float[np.ndarray, "a"],
) -> Answer:
    found = candidates(scored.texts, retrieval.rows)
    best = int(np.argmax(log_probability))  # equal ones: the better chunk's
    gold = [
        scored.gold_log_likelihood[r]
        for r in retrieval.rows
        if scored.gold_log_likelihood
    ]
    return Answer(
        text=found[best],
        log_probability=float(log_probability[best]),
        candidates=found,
        log_likelihood=log_likelihood,
        candidate_log_probability=log_probability,
        chunk_answers=tuple(scored.texts[row] for row in retrieval.rows),
        gold_log_likelihood=np.array(gold, np.float32) if gold else None,
    )
