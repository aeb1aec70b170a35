"""The instruction template, as text and as the segments of a prompt (paper §2).

`Background: {chunk}\n\n<inst_s>{question}<inst_e><answer_s>{answer}`, in three
segments that are encoded apart: the Background, the question up to "A:", and the
answer with the space before it, as BPE vocabularies have it (" Paris").
"""

import dataclasses
import hashlib

from radit_jax.text.tokenizer import LMTokenizer

BACKGROUND_END = "\n\n"
QUESTION_MARKERS = ("Q: ", "Question: ", "")  # <inst_s>; the third from memory
ANSWER_MARKERS = ("A:", "Answer:")  # <answer_s>, its space given to the answer


class PromptError(ValueError):
    """A prompt that does not fit its limit: the counts and the remedy."""


@dataclasses.dataclass(frozen=True, slots=True)
class Markers:
    """What stands around a question."""

    question: str  # <inst_s>
    end: str  # <inst_e>
    answer: str  # <answer_s>, without its last space


EVAL_MARKERS = Markers("Q: ", "\n", "A:")


def draw_markers(example_id: str, seed: int) -> Markers:
    """Markers of a training example: a function of its id and the seed alone."""
    digest = hashlib.sha256(f"{seed}:{example_id}".encode()).digest()
    choice = int.from_bytes(digest[:8], "big")
    question, answer = divmod(choice, len(ANSWER_MARKERS))
    return Markers(
        QUESTION_MARKERS[question % len(QUESTION_MARKERS)],
        "\n",
        ANSWER_MARKERS[answer],
    )


def background_block(passage: str) -> str:
    """The chunk's segment."""
    return f"Background: {passage}{BACKGROUND_END}"


def question_block(question: str, markers: Markers = EVAL_MARKERS) -> str:
    """The question's segment, up to and with the answer marker."""
    return f"{markers.question}{question}{markers.end}{markers.answer}"


def answer_block(answer: str) -> str:
    """The answer's segment."""
    return f" {answer}"


@dataclasses.dataclass(frozen=True, slots=True)
class Prompt:
    """The token ids of a template's segments."""

    id: str  # of the example, for messages
    bos_ids: tuple[int, ...]  # one id, or none where the LM has no bos
    background_ids: tuple[int, ...]  # empty: closed book
    background_end_ids: tuple[int, ...]  # closes a Background that had to be cut
    question_ids: tuple[int, ...]
    answer_ids: tuple[int, ...]  # with eos; empty: a prompt to answer

    @property
    def num_target_tokens(self) -> int:
        """Tokens that carry the loss: the answer and eos, the last of the ids."""
        return len(self.answer_ids)


def encode_prompt(
    tokenizer: LMTokenizer,
    example_id: str,
    question: str,
    *,
    passage: str | None = None,
    answer: str | None = None,
    markers: Markers = EVAL_MARKERS,
) -> Prompt:
    """Encodes the segments; without `passage` there is no Background block at all."""
    background = "" if passage is None else background_block(passage)
    output = []
    if answer is not None:
        output = [*tokenizer.encode(answer_block(answer)), tokenizer.eos_id]
    return Prompt(
        id=example_id,
        bos_ids=() if tokenizer.bos_id is None else (tokenizer.bos_id,),
        background_ids=tuple(tokenizer.encode(background)),
        background_end_ids=tuple(tokenizer.encode(BACKGROUND_END)),
        question_ids=tuple(tokenizer.encode(question_block(question, markers))),
        answer_ids=tuple(output),
    )


def fit(prompt: Prompt, max_tokens: int) -> tuple[list[int], bool]:
    """Token ids of bos, Background, question, answer and eos.

    An over-long prompt loses the end of its passage, by whole tokens; never the
    question, never the answer, and the Background still ends in a blank line.

    Example: a Background of 7 tokens, whose last is the blank line, and 4 tokens of
    room: `b0 b1 b2 b3 b4 b5 \\n\\n` becomes `b0 b1 b2 \\n\\n`.

    Returns:
      The ids, at most `max_tokens`, and whether the Background was cut.

    Raises:
      PromptError: the prompt is too long without any Background.
    """
    background_ids, truncated = _cut(prompt, max_tokens, len(prompt.answer_ids))
    ids = [*prompt.bos_ids, *background_ids, *prompt.question_ids, *prompt.answer_ids]
    return ids, truncated


def prompt_ids(prompt: Prompt, max_tokens: int, reserve: int) -> tuple[list[int], bool]:
    """As `fit`, without the answer: `reserve` tokens are left free for one.

    Raises:
      PromptError: the prompt is too long without any Background.
    """
    background_ids, truncated = _cut(prompt, max_tokens, reserve)
    return [*prompt.bos_ids, *background_ids, *prompt.question_ids], truncated


def _cut(
    prompt: Prompt, max_tokens: int, num_answer_tokens: int
) -> tuple[tuple[int, ...], bool]:
    """The Background's ids that fit, and whether some were cut."""
    num_question_tokens = len(prompt.bos_ids) + len(prompt.question_ids)
    room = max_tokens - num_question_tokens - num_answer_tokens
    if room < 0:
        raise PromptError(
            f"example {prompt.id!r} needs {num_question_tokens} tokens for its "
            f"question and {num_answer_tokens} for its answer, more than the limit of "
            f"{max_tokens}. Raise --config.lm.max_tokens, or leave the example out."
        )
    if len(prompt.background_ids) <= room:
        return prompt.background_ids, False
    kept = room - len(prompt.background_end_ids)
    if kept <= 0:  # not even one token of it: a closed-book prompt
        return (), True
    return prompt.background_ids[:kept] + prompt.background_end_ids, True
