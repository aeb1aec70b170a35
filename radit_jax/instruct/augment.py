"""Questions made from the corpus itself: the 95 % of retriever tuning (paper §4)."""

from collections.abc import Iterator

import numpy as np
from absl import logging

from radit_jax.corpus.store import ChunkStore
from radit_jax.text.tokenizer import LMTokenizer
from radit_jax.types import Chunk, Instruction

_READ_AHEAD = 1024  # chunks


class AugmentError(ValueError):
    """A corpus that gives no questions: the numbers and the remedy."""


def corpus_instructions(
    store: ChunkStore, num: int, tokens: int, tokenizer: LMTokenizer, seed: int
) -> list[Instruction]:
    """Draws chunks: the question is a chunk's first tokens, the answer its last.

    Both are slices of the chunk's text, and never overlap: chunks of fewer than
    2 * `tokens` are passed over. Where the corpus has fewer than `num` chunks that
    are long enough, all of them are taken, and a warning says so.

    Args:
      store: the corpus.
      num: questions wanted.
      tokens: LM tokens of the question, and of the answer.
      tokenizer: the LM's.
      seed: of the draw.

    Returns:
      The questions in the order of their chunks, with `source_chunk` set.

    Raises:
      AugmentError: no chunk is long enough.
    """
    found, num_short = [], 0
    for chunk in _shuffled(store, seed):
        if len(found) == num:
            break
        instruction = _cut(chunk, tokens, tokenizer)
        if instruction is None:
            num_short += 1
        else:
            found.append(instruction)
    numbers = (
        f"{len(found)} of the {num} corpus questions wanted: {num_short} of the "
        f"{len(store)} chunks are shorter than 2 x {tokens} tokens"
    )
    if num and not found:
        raise AugmentError(
            f"found {numbers}. Lower --config.instructions.corpus_query_tokens, or "
            "set --config.instructions.corpus_queries=0."
        )
    if len(found) < num:
        logging.warning("Found %s.", numbers)
    else:
        logging.info("%d corpus questions; passed over %d.", len(found), num_short)
    return sorted(found, key=lambda instruction: instruction.source_chunk)


def _shuffled(store: ChunkStore, seed: int) -> Iterator[Chunk]:
    """All chunks in a drawn order, read many at a time."""
    order = np.random.default_rng(seed).permutation(len(store))
    for begin in range(0, len(order), _READ_AHEAD):
        yield from store.get_many(order[begin : begin + _READ_AHEAD])


def _cut(chunk: Chunk, tokens: int, tokenizer: LMTokenizer) -> Instruction | None:
    """The chunk's two ends; None if it has no room for both."""
    spans = tokenizer.spans(chunk.text)
    if len(spans) < 2 * tokens:
        return None
    # A character of several bytes can be several tokens: the question keeps it.
    middle = spans[tokens - 1][1]
    question = chunk.text[:middle].strip()
    answer = chunk.text[max(middle, spans[-tokens][0]) :].strip()
    if not question or not answer:
        return None
    return Instruction(f"corpus:{chunk.id}", question, (answer,), source_chunk=chunk.id)
