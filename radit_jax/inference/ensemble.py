"""Answers by parallel in-context augmentation over retrieved chunks (RA-DIT, Eq. 2).

A question has one prompt a chunk. Each prompt is read and decoded by itself; the
unique answers are the candidates; every candidate is scored under every chunk; the
scores are mixed by log p_R. Several retrievers may look at one question: each names
its rows of the question's distinct prompts, so a chunk that two of them found is
read once.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float

from radit_jax.inference.placement import Tokens
from radit_jax.inference.sampler import Sampler
from radit_jax.ops import ensemble as ensemble_ops
from radit_jax.progress import Progress
from radit_jax.text import templates
from radit_jax.text.answers import first_line
from radit_jax.text.tokenizer import LMTokenizer


@dataclasses.dataclass(frozen=True, slots=True)
class Retrieval:
    """What one retriever found for a question, best chunk first."""

    rows: tuple[int, ...]  # k rows of the question's prompts
    log_p_r: tuple[float, ...]  # k log-probabilities; closed book: one row, 0.0


@dataclasses.dataclass(frozen=True, slots=True)
class Question:
    """A question as the LM gets it."""

    prompts: Sequence[Tokens]  # distinct; one a chunk, or one without any chunk
    retrievals: Mapping[str, Retrieval]  # by the retriever's name
    gold: str | None = None  # scored, but not a candidate

    def check(self, what: str) -> None:
        """Refuses retrievals that do not fit the prompts.

        Raises:
          ValueError: with the retriever, what it names, and the remedy.
        """
        for name, retrieval in self.retrievals.items():
            rows, num_rows = retrieval.rows, len(retrieval.rows)
            if not num_rows or num_rows != len(retrieval.log_p_r):
                raise ValueError(
                    f"{what} has {num_rows} rows and {len(retrieval.log_p_r)} "
                    f"log-probabilities for retriever {name!r}; give one a row, and "
                    "at least one row (closed book: the bare prompt's, with 0.0)."
                )
            if not all(0 <= row < len(self.prompts) for row in rows):
                raise ValueError(
                    f"{what} has rows {rows} for retriever {name!r}, but "
                    f"{len(self.prompts)} prompts; rows count from 0."
                )


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


def newline_stop_mask(tokenizer: LMTokenizer, vocab_size: int) -> Bool[np.ndarray, "v"]:
    r"""True at every token whose text holds a newline, such as ".\n\n"."""
    mask = np.zeros(vocab_size, bool)
    for i in range(min(vocab_size, tokenizer.vocab_size)):
        mask[i] = "\n" in tokenizer.decode([i])
    return mask


def answer_ensemble(
    sampler: Sampler,
    tokenizer: LMTokenizer,
    questions: Sequence[Question],
    batch_size: int,
    progress: Progress | None = None,
) -> list[dict[str, Answer]]:
    """Eq. 2: argmax over answers y of Σ_c p_LM(y | c∘x) p_R(c | x).

    Answers are told apart by their first line without outer spaces. A chunk under
    which the LM says nothing gives no candidate, unless all chunks do: with eos alone
    to score, saying nothing would beat most answers.

    Args:
      sampler: holds the LM.
      tokenizer: the LM's.
      questions: any number; batches are made of whole questions of like length.
      batch_size: prompts that run together. A question with more takes several
        batches, whose caches are all held until it is answered.
      progress: is told of each answered question.

    Returns:
      For each question, in the order given, an answer for each of its retrievals.

    Raises:
      ValueError: a retrieval that does not fit its question's prompts.
    """
    for i, question in enumerate(questions):
        question.check(f"question {i}")
    scored: dict[int, _Scored] = {}
    for group in _groups(questions, batch_size):
        part = [questions[i] for i in group]
        scores = _score(sampler, tokenizer, part, batch_size)
        scored.update(zip(group, scores, strict=True))
        if progress is not None:
            progress.update(len(group))
    return _mix(questions, [scored[i] for i in range(len(questions))])


@dataclasses.dataclass(slots=True)
class _Scored:
    """A question's u prompts, each with its greedy text and the scores it gave."""

    texts: list[str]  # u
    log_likelihood: list[dict[str, float]]  # u, by candidate, nats
    gold_log_likelihood: list[float]  # u, nats a token; empty without a gold answer


def _groups(questions: Sequence[Question], batch_size: int) -> Iterator[list[int]]:
    """Whole questions, longest first, as many as a batch holds; at least one."""
    longest = [max(map(len, question.prompts), default=0) for question in questions]
    group, num_rows = [], 0
    for i in sorted(range(len(questions)), key=lambda i: -longest[i]):
        num_prompts = len(questions[i].prompts)
        if group and num_rows + num_prompts > batch_size:
            yield group
            group, num_rows = [], 0
        group.append(i)
        num_rows += num_prompts
    if group:
        yield group


def _score(
    sampler: Sampler,
    tokenizer: LMTokenizer,
    questions: Sequence[Question],
    batch_size: int,
) -> Iterator[_Scored]:
    """Decodes a group's prompts, then scores its candidates on the same caches."""
    prompts = [prompt for question in questions for prompt in question.prompts]
    starts = range(0, len(prompts), batch_size)
    caches, texts = [], []
    for start in starts:
        prefilled = sampler.prefill(prompts[start : start + batch_size], batch_size)
        tokens, num_tokens, prefilled = sampler.decode(prefilled)
        caches.append(prefilled)
        texts += [
            first_line(tokenizer.decode(row[:num].tolist()))
            for row, num in zip(tokens, num_tokens, strict=True)
        ]
    rest = iter(texts)
    texts_of = [[next(rest) for _ in question.prompts] for question in questions]
    wanted = [
        row
        for question, texts in zip(questions, texts_of, strict=True)
        for row in _wanted(question, texts)
    ]
    answers = [[_encode(tokenizer, text) for text in row] for row in wanted]
    scores: list[np.ndarray] = []
    for start, prefilled in zip(starts, caches, strict=True):
        scores += sampler.rescore(prefilled, answers[start : start + batch_size])
    rows = zip(wanted, answers, scores, strict=True)
    for question, texts in zip(questions, texts_of, strict=True):
        yield _collect(question, texts, [next(rows) for _ in texts])


def _candidates(texts: Sequence[str], rows: Sequence[int]) -> tuple[str, ...]:
    unique = dict.fromkeys(texts[row] for row in rows)
    return tuple(text for text in unique if text) or ("",)


def _wanted(question: Question, texts: Sequence[str]) -> list[list[str]]:
    """What each prompt shall score: its retrievers' candidates, then the gold answer.

    One prompt may serve several retrievers, and a shared candidate is scored once.
    """
    wanted: list[dict[str, None]] = [{} for _ in texts]
    for retrieval in question.retrievals.values():
        candidates = _candidates(texts, retrieval.rows)
        for row in retrieval.rows:
            wanted[row].update(dict.fromkeys(candidates))
    gold = [] if question.gold is None else [question.gold.strip()]
    return [[*row, *gold] for row in wanted]


def _encode(tokenizer: LMTokenizer, text: str) -> list[int]:
    """An answer's segment as in training, and eos."""
    ids = tokenizer.encode(templates.answer_block(text)) if text else []
    return [*ids, tokenizer.eos_id]


def _collect(question: Question, texts: list[str], rows: list[tuple]) -> _Scored:
    """Sorts (texts, token ids, scores) of each prompt into candidates and gold."""
    num_gold = 0 if question.gold is None else 1  # the last of each row
    log_likelihood, gold = [], []
    for wanted, answers, scores in rows:
        # Not strict: a gold score has no candidate here.
        candidates = wanted[: len(wanted) - num_gold]
        log_likelihood.append(dict(zip(candidates, scores.tolist(), strict=False)))
        if num_gold:
            gold.append(float(scores[-1]) / len(answers[-1]))
    return _Scored(texts, log_likelihood, gold)


def _mix(
    questions: Sequence[Question], scored: Sequence[_Scored]
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


def _table(retrieval: Retrieval, scored: _Scored) -> Float[np.ndarray, "a k"]:
    candidates = _candidates(scored.texts, retrieval.rows)
    return np.array(
        [[scored.log_likelihood[row][c] for row in retrieval.rows] for c in candidates],
        np.float32,
    )


def _answer(
    retrieval: Retrieval,
    scored: _Scored,
    log_likelihood: Float[np.ndarray, "a k"],
    log_probability: Float[np.ndarray, "a"],
) -> Answer:
    candidates = _candidates(scored.texts, retrieval.rows)
    best = int(np.argmax(log_probability))  # equal ones: the better chunk's
    gold = [
        scored.gold_log_likelihood[r]
        for r in retrieval.rows
        if scored.gold_log_likelihood
    ]
    return Answer(
        text=candidates[best],
        log_probability=float(log_probability[best]),
        candidates=candidates,
        log_likelihood=log_likelihood,
        candidate_log_probability=log_probability,
        chunk_answers=tuple(scored.texts[row] for row in retrieval.rows),
        gold_log_likelihood=np.array(gold, np.float32) if gold else None,
    )
