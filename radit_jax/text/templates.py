"""The instruction templates, as text and as the segments of a prompt (paper §2).

`Background: {chunk}\n\n<inst_s>{question}<inst_e><answer_s>{answer}`, in segments
that are encoded apart: the Background, each earlier turn of a conversation, the
question up to "A:", and the answer with the space before it, as BPE vocabularies have
it (" Paris"). So no token depends on what follows its segment.
"""

import dataclasses
import hashlib

from radit_jax.text.tokenizer import LMTokenizer
from radit_jax.types import Instruction

CATEGORIES = (
    "open_qa",
    "dialogue",
    "reading_comprehension",
    "summarization",
    "chain_of_thought",
)
BACKGROUND_END = "\n\n"
QUESTION_MARKERS = ("Q: ", "Question: ", "")  # <inst_s>; the third from memory
ANSWER_MARKERS = ("A:", "Answer:")  # <answer_s>, its space given to the answer
SUMMARIZE = "Summarize this article:"


class PromptError(ValueError):
    """A prompt that can't be made, or does not fit: the counts and the remedy."""


@dataclasses.dataclass(frozen=True, slots=True)
class Markers:
    """What stands around a question."""

    question: str  # <inst_s>
    end: str  # <inst_e>
    answer: str  # <answer_s>, without its last space


EVAL_MARKERS = Markers("Q: ", "\n", "A:")
# A dialogue's turns stand in one line. Its "Q:" are segments of their own, so that
# the turn that comes first, once older ones were dropped, has no space before it.
_DIALOGUE_MARKERS = Markers(" ", " ", "A:")
_DIALOGUE_OPENING = "Q:"
_DIALOGUE_JOINT = " Q:"


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
    turn_ids: tuple[tuple[int, ...], ...] = ()  # asked and answered before, oldest 1st
    opening_ids: tuple[int, ...] = ()  # before the first turn, or the question
    joint_ids: tuple[int, ...] = ()  # after each turn

    @property
    def num_target_tokens(self) -> int:
        """Tokens that carry the loss: the answer and eos, the last of the ids."""
        return len(self.answer_ids)

    @property
    def conversation_ids(self) -> tuple[int, ...]:
        """The turns and the question."""
        turns = [i for turn in self.turn_ids for i in (*turn, *self.joint_ids)]
        return (*self.opening_ids, *turns, *self.question_ids)

    @property
    def ids(self) -> list[int]:
        """All segments, the answer too."""
        return [
            *self.bos_ids,
            *self.background_ids,
            *self.conversation_ids,
            *self.answer_ids,
        ]


@dataclasses.dataclass(frozen=True, slots=True)
class Cut:
    """What an over-long prompt lost."""

    background: bool  # some of its Background's tokens, or all
    num_turns: int  # oldest turns: two for each question with its answer


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


def encode_instruction(
    tokenizer: LMTokenizer,
    example_id: str,
    instruction: Instruction,
    *,
    passage: str | None = None,
    answer: str | None = None,
    markers: Markers = EVAL_MARKERS,
) -> Prompt:
    """Encodes the segments of the template that the category names.

    A gold `context` is the Background in place of `passage`. Whatever `markers` says,
    dialogues have "Q: " and "A: ", and nothing stands before "Summarize this article:".

    Args:
      tokenizer: the LM's.
      example_id: for messages.
      instruction: with a category of `CATEGORIES`.
      passage: the retrieved chunk; None: no Background but a gold one.
      answer: such as `target(instruction)`; None: a prompt to answer.
      markers: of the question, and of the questions before it.

    Raises:
      PromptError: an unknown category, or a history that ends with a question.
    """
    _check(example_id, instruction)
    is_dialogue = instruction.category == "dialogue"
    if is_dialogue:
        markers = _DIALOGUE_MARKERS
    elif instruction.category == "summarization":
        markers = dataclasses.replace(markers, question="")
    prompt = encode_prompt(
        tokenizer,
        example_id,
        asked(instruction),
        passage=instruction.context or passage,
        answer=answer,
        markers=markers,
    )
    questions, answers = instruction.history[::2], instruction.history[1::2]
    after = "" if is_dialogue else markers.end
    turns = (
        question_block(question, markers) + answer_block(answered) + after
        for question, answered in zip(questions, answers, strict=True)
    )
    return dataclasses.replace(
        prompt,
        turn_ids=tuple(tuple(tokenizer.encode(turn)) for turn in turns),
        opening_ids=tuple(tokenizer.encode(_DIALOGUE_OPENING)) if is_dialogue else (),
        joint_ids=tuple(tokenizer.encode(_DIALOGUE_JOINT)) if is_dialogue else (),
    )


def asked(instruction: Instruction) -> str:
    """What stands between the question's markers."""
    if instruction.category == "summarization":
        return SUMMARIZE
    if instruction.category == "chain_of_thought" and instruction.guidance:
        return f"{instruction.guidance} {instruction.question}"
    return instruction.question


def target(instruction: Instruction) -> str:
    """What is learned: the first answer, after the chain of thought if there is one."""
    if instruction.category == "chain_of_thought" and instruction.rationale:
        return f"{instruction.rationale} {instruction.answers[0]}"
    return instruction.answers[0]


def _check(example_id: str, instruction: Instruction) -> None:
    if instruction.category not in CATEGORIES:
        raise PromptError(
            f"example {example_id!r} is of category {instruction.category!r}, which "
            f"has no template; give one of {CATEGORIES}."
        )
    if len(instruction.history) % 2:
        raise PromptError(
            f"example {example_id!r} has {len(instruction.history)} earlier turns, the "
            "last of them unanswered; give a question and its answer in turn."
        )


def fit(prompt: Prompt, max_tokens: int) -> tuple[list[int], bool]:
    """Token ids of bos, Background, turns, question, answer and eos, cut by `shorten`.

    Returns:
      The ids, at most `max_tokens`, and whether the Background was cut.

    Raises:
      PromptError: the question and the answer alone are too long.
    """
    shorter, cut = shorten(prompt, max_tokens, len(prompt.answer_ids))
    return shorter.ids, cut.background


def prompt_ids(prompt: Prompt, max_tokens: int, reserve: int) -> tuple[list[int], bool]:
    """As `fit`, without the answer: `reserve` tokens are left free for one.

    Raises:
      PromptError: the question and the reserve alone are too long.
    """
    shorter, cut = shorten(prompt, max_tokens, reserve)
    return dataclasses.replace(shorter, answer_ids=()).ids, cut.background


def shorten(
    prompt: Prompt, max_tokens: int, num_answer_tokens: int
) -> tuple[Prompt, Cut]:
    """Makes a prompt fit: first the Background gives way, then the oldest turns.

    The Background loses its end, by whole tokens, and still ends in a blank line. Only
    where none of it is left do turns go, a question with its answer at a time. The
    last question and the answer are never cut.

    Example: a Background of 7 tokens, whose last is the blank line, and 4 tokens of
    room: `b0 b1 b2 b3 b4 b5 \\n\\n` becomes `b0 b1 b2 \\n\\n`.

    Args:
      prompt: to shorten.
      max_tokens: of the prompt and its answer.
      num_answer_tokens: kept free, whatever `prompt.answer_ids` holds.

    Raises:
      PromptError: the question and the answer alone are too long.
    """
    num_before = len(prompt.turn_ids)
    while prompt.turn_ids and _room(prompt, max_tokens, num_answer_tokens) < 0:
        prompt = dataclasses.replace(prompt, turn_ids=prompt.turn_ids[1:])
    num_turns = 2 * (num_before - len(prompt.turn_ids))
    room = _room(prompt, max_tokens, num_answer_tokens)
    if room < 0:
        num_question_tokens = len(prompt.bos_ids) + len(prompt.conversation_ids)
        raise PromptError(
            f"example {prompt.id!r} needs {num_question_tokens} tokens for its "
            f"question and {num_answer_tokens} for its answer, more than the limit of "
            f"{max_tokens}. Raise --config.lm.max_tokens, or leave the example out."
        )
    if len(prompt.background_ids) <= room:
        return prompt, Cut(False, num_turns)
    # Without room for even one token of it, it is a closed-book prompt.
    kept, end_ids = room - len(prompt.background_end_ids), prompt.background_end_ids
    background_ids = prompt.background_ids[:kept] + end_ids if kept > 0 else ()
    return dataclasses.replace(prompt, background_ids=background_ids), Cut(
        True, num_turns
    )


def _room(prompt: Prompt, max_tokens: int, num_answer_tokens: int) -> int:
    """Tokens left for the Background."""
    num_question_tokens = len(prompt.bos_ids) + len(prompt.conversation_ids)
    return max_tokens - num_question_tokens - num_answer_tokens
