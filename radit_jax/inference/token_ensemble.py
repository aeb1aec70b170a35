"""One answer from the next-token distribution mixed over chunks (REPLUG).

Where `ensemble` mixes whole answers (RA-DIT, Eq. 2), here a question's k caches
advance together, each fed the token that the mixture chose (arXiv 2301.12652, Eq. 2).
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from radit_jax.inference.ensemble import Question
from radit_jax.inference.placement import Tokens
from radit_jax.inference.sampler import Sampler
from radit_jax.progress import Progress
from radit_jax.text.answers import first_line
from radit_jax.text.tokenizer import LMTokenizer


def token_ensemble(
    sampler: Sampler,
    tokenizer: LMTokenizer,
    questions: Sequence[Question],
    batch_size: int,
    progress: Progress | None = None,
) -> list[dict[str, str]]:
    """Greedy answers: each token is argmax Σ_c p_LM(token | c∘x∘so far) p_R(c | x).

    Args:
      sampler: holds the LM.
      tokenizer: the LM's.
      questions: any number; `gold` is not looked at.
      batch_size: prompts that run together, or k if that is more.
      progress: is told of each answer: one a retrieval of a question.

    Returns:
      For each question, in the order given, a text for each of its retrievals.

    Raises:
      ValueError: a retrieval that does not fit its question's prompts.
    """
    for i, question in enumerate(questions):
        question.check(f"question {i}")
    jobs = [(i, name) for i, q in enumerate(questions) for name in q.retrievals]
    jobs.sort(key=lambda job: -max(map(len, questions[job[0]].prompts)))
    k = max((len(questions[i].retrievals[name].rows) for i, name in jobs), default=1)
    num_together = max(1, batch_size // k)
    texts = [dict.fromkeys(question.retrievals, "") for question in questions]
    for start in range(0, len(jobs), num_together):
        part = jobs[start : start + num_together]
        rows, log_p_r = _lay_out([(questions[i], name) for i, name in part], k)
        log_p_r = np.pad(log_p_r, ((0, num_together - len(part)), (0, 0)))
        prefilled = sampler.prefill(rows, num_together * k)
        tokens, num_tokens, _ = sampler.decode(prefilled, log_p_r)
        for j, (i, name) in enumerate(part):
            answer = tokens[j * k, : num_tokens[j * k]].tolist()
            texts[i][name] = first_line(tokenizer.decode(answer))
        if progress is not None:
            progress.update(len(part))
    return texts


def _lay_out(
    jobs: Sequence[tuple[Question, str]], k: int
) -> tuple[list[Tokens], Float[np.ndarray, "q k"]]:
    """k prompts a question; the first is repeated, with probability 0, up to k."""
    prompts, log_p_r = [], np.full((len(jobs), k), -np.inf, np.float32)
    for j, (question, name) in enumerate(jobs):
        retrieval = question.retrievals[name]
        rows = [*retrieval.rows, *[retrieval.rows[0]] * (k - len(retrieval.rows))]
        prompts += [question.prompts[row] for row in rows]
        log_p_r[j, : len(retrieval.log_p_r)] = retrieval.log_p_r
    return prompts, log_p_r
