"""Attention over keys and values that lie in several places.

New tokens see parts: demonstrations that all rows share, a row's own prompt, its
answer so far, themselves. Nothing is copied to bring the parts together: each gives
its sums of weights and of weighted values, and these are merged (as in flash
attention, arXiv 2205.14135; shared prefixes: Hydragen, arXiv 2402.05099).

Prompts are read in streams or in padded rows. Accelerators take rows, in a few large
products; CPUs blocks of a stream, which skip what the longest row pads.
"""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from radit_jax.models import axes, layers, narrow, span_attention
from radit_jax.models.span_attention import Spans

_MASKED = -1e30  # finite, as in `layers.attend`
_QUERY_BLOCK = 128  # tokens of a row: bounds the scores that are held at once
_STREAM_BLOCK = 1024  # likewise, of a stream


class Cache(NamedTuple):
    """Keys and values of tokens that were read, of one layer or of all.

    As `models.narrow` packs them. Heads come before slots, as products want them:
    [layers b g s c], or [b g s c].
    """

    keys: Array
    values: Array

    @property
    def num_slots(self) -> int:
        """s: how many tokens fit."""
        return self.keys.shape[-2]


class Part(NamedTuple):
    """Some of the tokens that a query may see, in one layer."""

    cache: Cache  # [b g s c]; b is 1 where all rows share them
    mask: Bool[Array, "#b #l s"]


class Sums(NamedTuple):
    """Of one part: softmax's sums, and what they are relative to."""

    mixed: Float[Array, "b l g r c"]  # Σ exp(score - top) value
    total: Float[Array, "b l g r 1"]  # Σ exp(score - top)
    top: Float[Array, "b l g r 1"]

    def at(self, start: int, stop: int) -> "Sums":
        """Those of some of the queries."""
        return Sums(*(x[:, start:stop] for x in self))


def attend(
    query: Float[Array, "b l h c"],
    own: Part,
    seen: Sequence[Part],
    dtype: str,
) -> Float[Array, "b l h c"]:
    """softmax(q·k / √c) v over all parts.

    Args:
      query: of the new tokens.
      own: the new tokens themselves; no token sees a later one.
      seen: parts that were read before.
      dtype: of the products' inputs; sums are float32.
    """
    blocks = []
    for start in range(0, query.shape[1], _QUERY_BLOCK):
        stop = min(start + _QUERY_BLOCK, query.shape[1])
        cut = Cache(*(x[:, :, :stop] for x in own.cache))
        parts = [Part(cut, own.mask[:, :, :stop]), *seen]
        parts = [Part(part.cache, _rows(part.mask, start, stop)) for part in parts]
        blocks.append(_attend_block(query[:, start:stop], parts, dtype))
    return blocks[0] if len(blocks) == 1 else jnp.concatenate(blocks, axis=1)


def _rows(mask: Bool[Array, "b #l s"], start: int, stop: int):
    return mask if mask.shape[1] == 1 else mask[:, start:stop]


def _attend_block(query, parts: Sequence[Part], dtype: str):
    scaled = _grouped(query, parts[0].cache.keys.shape[1])
    return merge([_sums(scaled, part, dtype) for part in parts])


def attend_in_streams(
    query: Float[Array, "m n h c"],
    key: Float[Array, "m n g c"],
    value: Float[Array, "m n g c"],
    own: Spans,
    shared: Sequence[Part],
    dtype: str,
) -> Float[Array, "m n h c"]:
    """As `attend`, of rows that follow one another in streams.

    Args:
      query: of the new tokens.
      key: likewise.
      value: likewise.
      own: what of its stream each token sees.
      shared: parts that were read before, the same for all rows; b is 1.
      dtype: of the products' inputs; sums are float32.
    """
    sums = span_sums(query, key, value, own, dtype)
    if not shared:
        return merge([sums])
    blocks = []
    for start in range(0, query.shape[1], _STREAM_BLOCK):
        stop = min(start + _STREAM_BLOCK, query.shape[1])
        scaled = _grouped(query[:, start:stop], key.shape[2])
        parts = [Part(part.cache, _rows(part.mask, start, stop)) for part in shared]
        others = [_sums(scaled, part, dtype) for part in parts]
        blocks.append(merge([sums.at(start, stop), *others]))
    return jnp.concatenate(blocks, axis=1)


def span_sums(
    query: Float[Array, "m n h c"],
    key: Float[Array, "m n g c"],
    value: Float[Array, "m n g c"],
    seen: Spans,
    dtype: str,
    prefix: Spans | None = None,
) -> Sums:
    """Of the spans of its stream that each token sees, on each device for its own."""
    g = key.shape[2]
    of_query, of_key = axes.of_heads(g)
    spans = [*seen, *(prefix or ())]

    def alone(query, key, value, *spans):
        seen, *rest = (Spans(*spans[i : i + 2]) for i in range(0, len(spans), 2))
        return tuple(span_attention.attend(query, key, value, seen, dtype, *rest))

    inputs = (of_query, of_key, of_key, *[("batch", None)] * len(spans))
    attend_alone = axes.on_each_device(alone, inputs, (of_query, of_query[:3]))
    mixed, log_total = attend_alone(query, key, value, *spans)
    shape = *query.shape[:2], g, query.shape[2] // g
    top = log_total.reshape(*shape, 1)
    return Sums(mixed.reshape(*shape, -1), jnp.ones_like(top), top)


def _grouped(query: Float[Array, "b l h c"], g: int) -> Float[Array, "b l g r c"]:
    """Scaled, by the key's head that they read."""
    batch, length, num_heads, c = query.shape
    return (query * c**-0.5).reshape(batch, length, g, num_heads // g, c)


def merge(sums: Sequence[Sums]) -> Float[Array, "b l h c"]:
    """What all parts together give."""
    if len(sums) == 1:
        mixed = sums[0].mixed / sums[0].total
    else:
        top = functools.reduce(jnp.maximum, [part.top for part in sums])
        factors = [jnp.exp(part.top - top) for part in sums]
        mixed = sum(f * part.mixed for f, part in zip(factors, sums, strict=True))
        mixed /= sum(f * part.total for f, part in zip(factors, sums, strict=True))
    return mixed.reshape(*mixed.shape[:2], -1, mixed.shape[-1])


def _sums(query: Float[Array, "b l g r c"], part: Part, dtype: str) -> Sums:
    """One part's; what all rows share is one product, not one a row."""
    keys, values = map(narrow.unpack, part.cache)
    if len(keys) == 1 and len(query) > 1:
        scores = layers.einsum("blgrc,gsc->gblrs", query, keys[0], dtype)
        mask, order = part.mask[None, :, :, None], (1, 2, 0, 3)
        back, values = "gblrs,gsc->gblrc", values[0]
    else:
        scores = layers.einsum("blgrc,bgsc->bglrs", query, keys, dtype)
        mask, order = part.mask[:, None, :, None], (0, 2, 1, 3)
        back = "bglrs,bgsc->bglrc"
    scores = jnp.where(mask, scores, _MASKED)
    top = jnp.max(scores, axis=-1, keepdims=True)
    weights = jnp.exp(scores - top)
    total = jnp.sum(weights, axis=-1, keepdims=True)
    mixed = layers.einsum(back, weights, values, dtype)
    return Sums(*(x.transpose(*order, 4) for x in (mixed, total, top)))
