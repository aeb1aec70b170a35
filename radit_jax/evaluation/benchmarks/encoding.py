r"""Benchmark prompts as token ids: demonstrations, Background, question, answers.

The order is that of paper §6: the demonstrations come first, a prefix that all items
share, and without Background; the chunk stands next to the item that is asked:

    [bos] [Q: …\nA:] [ Paris] [\n\n] … [Background: …\n\n] [Q: …\nA:] [ Rome]

Every bracket is a segment, encoded apart. Demonstrations end in a blank line (the
paper is silent on it).
"""

from collections.abc import Sequence

from radit_jax.evaluation.benchmarks.item import Benchmark, Item
from radit_jax.text import templates
from radit_jax.text.templates import Prompt
from radit_jax.text.tokenizer import LMTokenizer

DEMONSTRATION_END = "\n\n"


def text(
    benchmark: Benchmark,
    item: Item,
    passage: str | None = None,
    demonstrations: Sequence[Item] = (),
    option: int = 0,
) -> str:
    """The whole prompt and one of its answers as a reader sees it."""
    blocks = [
        block
        for shown in demonstrations
        for block in (*benchmark.shown(shown), DEMONSTRATION_END)
    ]
    if passage is not None and benchmark.with_background:
        blocks.append(templates.background_block(passage))
    asked = benchmark.prompt(item)
    return "".join((*blocks, asked.question, asked.head(option), asked.answers[option]))


def demonstration_ids(
    tokenizer: LMTokenizer, benchmark: Benchmark, demonstrations: Sequence[Item]
) -> list[list[int]]:
    """Token ids of each demonstration, to be joined after bos, whole ones dropped."""
    end = tokenizer.encode(DEMONSTRATION_END)
    return [
        [i for block in benchmark.shown(item) for i in tokenizer.encode(block)] + end
        for item in demonstrations
    ]


def prompt(
    tokenizer: LMTokenizer,
    benchmark: Benchmark,
    item: Item,
    passage: str | None = None,
) -> Prompt:
    """The item's prompt without demonstrations, for `templates.prompt_ids`.

    A benchmark without Background has none, whatever `passage` says.
    """
    background = ""
    if passage is not None and benchmark.with_background:
        background = templates.background_block(passage)
    return Prompt(
        id=item.id,
        bos_ids=() if tokenizer.bos_id is None else (tokenizer.bos_id,),
        background_ids=tuple(tokenizer.encode(background)),
        background_end_ids=tuple(tokenizer.encode(templates.BACKGROUND_END)),
        question_ids=tuple(tokenizer.encode(benchmark.prompt(item).question)),
        answer_ids=(),
    )


def option_ids(
    tokenizer: LMTokenizer, benchmark: Benchmark, item: Item
) -> list[tuple[list[int], list[int]]]:
    """What to score an item's options by, as token ids.

    Returns:
      For each option: what its prompt has after the question (nothing, but for
      WinoGrande), and what is scored, without eos: more text might follow it.
    """
    asked = benchmark.prompt(item)
    return [
        (tokenizer.encode(asked.head(i)), tokenizer.encode(answer))
        for i, answer in enumerate(asked.answers)
    ]


def option_chars(benchmark: Benchmark, item: Item) -> list[int]:
    """Characters of each option's scored text, by which `nll_char` divides.

    Without the space before it, as lm-evaluation-harness counts.
    """
    return [len(answer[1:]) for answer in benchmark.prompt(item).answers]
