"""Texts that continue prompts, whatever they ask."""

from collections.abc import Sequence

from radit_jax.inference.decoding import AS_SAMPLER, Decoding
from radit_jax.inference.placement import Tokens, batch_rows
from radit_jax.inference.sampler import Sampler
from radit_jax.progress import Progress
from radit_jax.text.tokenizer import LMTokenizer


def generate(
    sampler: Sampler,
    tokenizer: LMTokenizer,
    prompts: Sequence[Tokens],
    batch_size: int,
    decoding: Decoding = AS_SAMPLER,
    seeds: Sequence[int] | None = None,
    prefix: Tokens = (),
    progress: Progress | None = None,
) -> list[str]:
    """What the LM says to each prompt, in the order given.

    Args:
      sampler: holds the LM.
      tokenizer: the LM's.
      prompts: token ids; those of like length run together.
      batch_size: prompts that run together.
      decoding: how long, up to which stop strings, and how tokens are drawn.
      seeds: of each prompt's draws, under 2³²; None: all the same.
      prefix: tokens before every prompt, read once.
      progress: is told of each prompt.
    """
    order = sorted(range(len(prompts)), key=lambda i: -len(prompts[i]))
    found = [""] * len(prompts)
    for start in range(0, len(order), batch_size):
        some = order[start : start + batch_size]
        num_rows = batch_rows(len(some), batch_size)
        prefilled = sampler.prefill([prompts[i] for i in some], num_rows, prefix)
        drawn = None if seeds is None else [seeds[i] for i in some]
        tokens = sampler.decode(prefilled, seeds=drawn, decoding=decoding)
        texts = decoding.texts(tokenizer, *tokens)
        for i, text in zip(some, texts, strict=True):
            found[i] = text
        if progress is not None:
            progress.update(len(some))
    return found
