"""One answer from the next-token distribution mixed over chunks (REPLUG).

Where `ensemble` mixes whole answers (RA-DIT, Eq. 2), here a question's k caches
advance together, each fed the token that the mixture chose (arXiv 2301.12652, Eq. 2).
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from radit_jax.inference import answers
from radit_jax.inference.answers import Answer
from radit_jax.inference.decoding import Decoding
from radit_jax.inference.questions import Question, Retrieval, groups
from radit_jax.inference.sampler import Sampler
from radit_jax.inference.watching import Watch, Watcher
from radit_jax.progress import Progress
from radit_jax.text.tokenizer import LMTokenizer


def token_ensemble(
    sampler: Sampler,
    tokenizer: LMTokenizer,
    questions: Sequence[Question],
    batch_size: int,
    decoding: Decoding,
    progress: Progress | None = None,
    watch: Watch | None = None,
) -> list[dict[str, Answer]]:
    """Each token is argmax Σ_c p_LM(token | c∘x∘so far) p_R(c | x).

    Args:
      sampler: holds the LM.
      tokenizer: the LM's.
      questions: any number.
      batch_size: prompts that run together, or k if that is more.
      decoding: of the answers.
      progress: is told of each answered question.
      watch: is told of each answer while it grows.

    Returns:
      For each question, in the order given, an answer for each of its retrievals. It
      is the only candidate, and all chunks' answer; its probability is that of Eq. 2.

    Raises:
      ValueError: a retrieval that does not fit its question's prompts.
    """
    for i, question in enumerate(questions):
        question.check(f"question {i}")
    jobs = [
        (i, name)
        for i, question in enumerate(questions)
        for name in question.retrievals
    ]
    k = max((len(questions[i].retrievals[name].rows) for i, name in jobs), default=1)
    padded = [_padded(questions[i], name, k) for i, name in jobs]
    num_rows = max(1, batch_size // k) * k
    found: list[dict[str, Answer | None]] = [
        dict.fromkeys(q.retrievals) for q in questions
    ]
    for group in groups([question.size for question in padded], num_rows):
        part = [padded[j] for j in group]
        watcher = watch and _watcher(
            watch, tokenizer, decoding, [jobs[j][0] for j in group], k
        )
        answered = _answer(sampler, tokenizer, part, num_rows, decoding, watcher)
        for j, answer in zip(group, answered, strict=True):
            i, name = jobs[j]
            found[i] |= answer
            if progress is not None and None not in found[i].values():
                progress.update()
    return found


def _padded(question: Question, name: str, k: int) -> Question:
    """One retriever's k prompts; the first is repeated where it has fewer."""
    retrieval = question.retrievals[name]
    num = len(retrieval.rows)
    rows = [*retrieval.rows, *[retrieval.rows[0]] * (k - num)]
    return dataclasses.replace(
        question,
        prompts=[question.prompts[row] for row in rows],
        retrievals={name: Retrieval(tuple(range(num)), retrieval.log_p_r)},
    )


def _watcher(
    watch: Watch,
    tokenizer: LMTokenizer,
    decoding: Decoding,
    questions: Sequence[int],
    k: int,
) -> Watcher:
    """Of a batch with k rows a question, which all hold the same answer."""
    places = [(i, -1) if j == 0 else None for i in questions for j in range(k)]
    return Watcher(watch, tokenizer, decoding, places)


def _answer(
    sampler: Sampler,
    tokenizer: LMTokenizer,
    group: Sequence[Question],
    num_rows: int,
    decoding: Decoding,
    watcher: Watcher | None,
) -> list[dict[str, Answer]]:
    """Of padded questions, one batch."""
    k = len(group[0].prompts)
    log_p_r = np.full((num_rows // k, k), -np.inf, np.float32)
    log_p_r[len(group) :] = 0.0  # of rows that only fill the batch
    for row, question in zip(log_p_r, group, strict=False):
        (retrieval,) = question.retrievals.values()
        row[: len(retrieval.log_p_r)] = retrieval.log_p_r
    prefilled = sampler.prefill(
        [prompt for question in group for prompt in question.prompts],
        num_rows,
        group[0].prefix,
    )
    seed = decoding.sampling.seed
    seeds = [one for question in group for one in question.seeds(seed)]
    decoded = sampler.decode(prefilled, decoding, log_p_r, seeds, watcher)
    said = decoding.texts(tokenizer, *decoded)[::k]
    texts = [[text.strip()] * k for text in said]
    scored = answers.score(sampler, tokenizer, group, texts, [prefilled])
    return answers.mix(group, list(scored))
