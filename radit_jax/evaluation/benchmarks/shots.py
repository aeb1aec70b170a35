"""64 solved questions a task as training examples: the paper's 64-shot stage (§3).

An example is what the task's prompt would be at 0-shot behind a chunk, then the answer
as a demonstration shows it, and eos; only the answer is learned.
"""

import dataclasses

from radit_jax.evaluation.benchmarks import encoding
from radit_jax.evaluation.benchmarks.item import Benchmark, Item
from radit_jax.evaluation.benchmarks.tasks import KNOWLEDGE
from radit_jax.instruct.packing import Example
from radit_jax.instruct.rendering import Rendered
from radit_jax.text import templates
from radit_jax.text.tokenizer import LMTokenizer
from radit_jax.types import Chunk

LM = "ra_it_64shot"  # the tuned LM's name, and its examples'
STARTS_FROM = "ra_it"  # the LM that it goes on from
TASKS = tuple(one.name for one in KNOWLEDGE if one.name != "mmlu")


def example(
    tokenizer: LMTokenizer,
    benchmark: Benchmark,
    item: Item,
    chunk: Chunk | None,
    max_tokens: int,
) -> Rendered:
    """The training example of an item behind a chunk.

    Args:
      tokenizer: the LM's.
      benchmark: of the item.
      item: of its train split.
      chunk: one of those retrieved; None: closed book.
      max_tokens: of the example; a longer one loses the end of its chunk.

    Raises:
      PromptError: question and answer alone are too long.
    """
    *_, answer = benchmark.shown(item)
    passage = None if chunk is None else chunk.passage
    prompt = dataclasses.replace(
        encoding.prompt(tokenizer, benchmark, item, passage),
        answer_ids=(*tokenizer.encode(answer), tokenizer.eos_id),
    )
    prompt, cut = templates.shorten(prompt, max_tokens, len(prompt.answer_ids))
    ids = prompt.ids
    name = f"{benchmark.name}/{item.id}/{None if chunk is None else chunk.id}"
    num_prompt_tokens = len(ids) - len(prompt.answer_ids)
    return Rendered(
        Example(name, ids, num_prompt_tokens), benchmark.name, cut.background
    )
