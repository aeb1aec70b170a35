"""What lm-evaluation-harness' requests hold: contexts, and generation options."""

import dataclasses
import tempfile
from typing import Any

import transformers

from radit_jax.inference.choosing import Sampling
from radit_jax.text.templates import background_block
from radit_jax.text.tokenizer import LMTokenizer

_BLOCK_END = "\n\n"  # between the shown and the asked
_MAX_TOKENS = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")
_DRAWING = ("do_sample", "temperature", "top_p", "top_k")


@dataclasses.dataclass(frozen=True, slots=True)
class Generation:
    """How a task wants its answers."""

    until: tuple[str, ...]  # stop strings
    max_tokens: int
    sampling: Sampling


def generation(options: dict[str, Any], default_max_tokens: int) -> Generation:
    """A request's generation options, as the harness' tasks write them.

    Drawing is as there: `do_sample: false` is greedy whatever the temperature, and
    without `do_sample` a temperature above 0 draws.

    Raises:
      ValueError: options that mean nothing here and would change the answer.
    """
    options = dict(options)
    until = options.pop("until", None) or []
    until = [until] if isinstance(until, str) else until
    limits = [options.pop(name, None) for name in _MAX_TOKENS]
    drawing = {name: options.pop(name, None) for name in _DRAWING}
    temperature = float(drawing["temperature"] or 0)
    if drawing["do_sample"] is False:
        temperature = 0.0
    if options or (temperature and drawing["top_k"]):
        unknown = sorted(options) or ["top_k"]
        raise ValueError(
            f"the generation options {unknown} are not known here; of a task's "
            f"generation_kwargs take until, {', '.join(_MAX_TOKENS)}, do_sample, "
            "temperature and top_p."
        )
    limit = next((limit for limit in limits if limit), default_max_tokens)
    return Generation(
        tuple(one for one in until if one),
        int(limit),
        Sampling(temperature, float(drawing["top_p"] or 1)),
    )


def published(tokenizer: LMTokenizer) -> Any:
    """The tokenizer as its publisher's users know it, spaces and bos included."""
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save(folder)
        return transformers.AutoTokenizer.from_pretrained(folder)


def asked_of(context: str) -> str:
    """What the retriever is asked: the last block, a few-shot prompt's own question."""
    blocks = [block for block in context.split(_BLOCK_END) if block.strip()]
    return blocks[-1].strip()


def with_background(context: str, passage: str) -> str:
    """The context with a chunk before its last block."""
    text = context.rstrip("\n")
    shown, end, asked = text.rpartition(_BLOCK_END)
    return f"{shown}{end}{background_block(passage)}{asked}{context[len(text) :]}"
