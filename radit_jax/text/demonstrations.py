r"""Few-shot demonstrations: solved questions before every prompt (paper §6).

`Q: {question}\nA: {answer}\n\n`, one after another behind bos, the same for all
questions of a task, so that a model needs to read them once. The chunk's Background
comes after them, next to the question that it was retrieved for.
"""

import dataclasses
from collections.abc import Sequence

from radit_jax.text import templates
from radit_jax.text.templates import Cut, Markers, Prompt
from radit_jax.text.tokenizer import LMTokenizer

DEMONSTRATION_END = "\n\n"


@dataclasses.dataclass(frozen=True, slots=True)
class FewShot:
    """Token ids of a prompt and of what comes before it."""

    prefix_ids: tuple[int, ...]  # bos and demonstrations; (): none of them
    prompt_ids: tuple[int, ...]  # with bos where there is no prefix
    cut: Cut
    num_dropped: int  # demonstrations that did not fit


def encode_demonstration(
    tokenizer: LMTokenizer,
    question: str,
    answer: str,
    markers: Markers = templates.EVAL_MARKERS,
) -> tuple[int, ...]:
    """Ids of a solved question, in the segments of a prompt and its answer."""
    segments = (
        templates.question_block(question, markers),
        templates.answer_block(answer),
        DEMONSTRATION_END,
    )
    return tuple(i for segment in segments for i in tokenizer.encode(segment))


def fit_few_shot(
    prompt: Prompt,
    demonstrations: Sequence[Sequence[int]],
    max_tokens: int,
    reserve: int,
) -> FewShot:
    """Makes demonstrations and a prompt fit.

    First the Background gives way, by whole tokens from its end; where none of it is
    left, demonstrations do, the farthest from the question first; then the oldest
    turns of a dialogue. The question is never cut.

    Example: 6 tokens of bos, question and answer, a Background of 4, demonstrations
    of 4 and 3. A limit of 15 keeps both of these and 2 tokens of the Background; a
    limit of 12 keeps the second, and then 3 tokens of the Background fit.

    Args:
      prompt: to answer.
      demonstrations: token ids, of `encode_demonstration`; the last is the nearest.
      max_tokens: of everything, the answer included.
      reserve: of them, kept free for the answer.

    Raises:
      PromptError: the question and the reserve alone are too long.
    """
    kept = list(demonstrations)
    num_asked = len(prompt.bos_ids) + len(prompt.conversation_ids) + reserve
    while kept and num_asked + sum(map(len, kept)) > max_tokens:
        del kept[0]
    num_demonstrations = sum(map(len, kept))
    shorter, cut = templates.shorten(prompt, max_tokens - num_demonstrations, reserve)
    shorter = dataclasses.replace(shorter, answer_ids=())
    num_dropped = len(demonstrations) - len(kept)
    if not kept:
        return FewShot((), tuple(shorter.ids), cut, num_dropped)
    prefix = (*shorter.bos_ids, *(i for ids in kept for i in ids))
    without_bos = dataclasses.replace(shorter, bos_ids=())
    return FewShot(prefix, tuple(without_bos.ids), cut, num_dropped)
