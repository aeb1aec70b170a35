"""A decoder reads new tokens after tokens whose keys and values are cached."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from radit_jax.inference import attention
from radit_jax.inference.attention import Cache, Part
from radit_jax.inference.streams import Rows
from radit_jax.models import layers, narrow
from radit_jax.models.decoder import Decoder, DecoderConfig
from radit_jax.models.span_attention import Spans

# See `read`.
Mix = Callable[[Array, Array, Array, Sequence[Cache]], tuple[Array, Cache]]


class Prefix(NamedTuple):
    """Tokens that come before every prompt."""

    cache: Cache  # [layers 1 g p c]
    length: Int[Array, "1"]  # tokens


class Prompts(NamedTuple):
    """What is kept of prompts that were read."""

    cache: Cache  # [layers b g s c]
    lengths: Int[Array, "b"]  # tokens, without the prefix
    hidden: Float[Array, "b d"]  # after the last token
    prefix: Prefix | None


def read(
    decoder: Decoder,
    tokens: Int[Array, "m n"],
    positions: Int[Array, "m n"],
    mix: Mix,
    past: Sequence[Cache],
) -> tuple[Float[Array, "m n d"], Cache]:
    """What the layers make of new tokens, before the final norm, and their cache.

    Args:
      decoder: the language model.
      tokens: in streams, or a row each.
      positions: of each token in its text, the prefix included.
      mix: attention: (query, key, value, past of a layer) to what was mixed, each
        [m n h c], and the new keys and values as they are kept.
      past: tokens read before, [layers b g s c].
    """
    config = decoder.config
    frequencies = layers.rope_frequencies(
        config.head_width, config.rope_theta, config.rope_scaling
    )
    rope = layers.rope_table(positions, frequencies)
    graphdef, stack = nnx.split(decoder.layers)

    def body(x, xs):
        params, past = xs
        layer = nnx.merge(graphdef, params)
        normed = layer.attention_norm(x)
        query = layers.rotate(layer.attention.query(normed), rope)
        key = layers.rotate(layer.attention.key(normed), rope)
        mixed, new = mix(query, key, layer.attention.value(normed), past)
        x = x + layer.attention.output(mixed)
        return x + layer.mlp(layer.mlp_norm(x)), new

    return jax.lax.scan(body, decoder.embed(tokens), (stack, list(past)))


def mix_rows(
    rows: Rows | None, own: Bool[Array, "#b w w"], masks: Sequence[Array], dtype: str
) -> Mix:
    """Attention in padded rows.

    Args:
      rows: where the streams' rows are; None: tokens come a row each.
      own: what new tokens see of each other.
      masks: which tokens of each past they see, [#b #w s].
      dtype: of products' inputs.
    """

    def mix(query, key, value, past: Sequence[Cache]):
        if rows is not None:
            query, key, value = map(rows.to_rows, (query, key, value))
        new = _kept(key, value, dtype)
        parts = list(map(Part, past, masks))
        mixed = attention.attend(query, Part(new, own), parts, dtype)
        return (mixed if rows is None else rows.to_streams(mixed)), new

    return mix


def mix_streams(rows: Rows, own: Spans, masks: Sequence[Array], dtype: str) -> Mix:
    """Attention in streams, over a past that all rows share.

    Args:
      rows: where the streams' rows are, for what is kept.
      own: what new tokens see of their stream.
      masks: which tokens of each past they see, [#m #n s].
      dtype: of products' inputs.
    """

    def mix(query, key, value, past: Sequence[Cache]):
        parts = list(map(Part, past, masks))
        mixed = attention.attend_in_streams(query, key, value, own, parts, dtype)
        return mixed, _kept(rows.to_rows(key), rows.to_rows(value), dtype)

    return mix


def _kept(key: Array, value: Array, dtype: str) -> Cache:
    return Cache(*(narrow.pack(x.swapaxes(1, 2), dtype) for x in (key, value)))


def starts(prefix: Prefix | None, num_rows: int) -> Int[Array, "b"]:
    """The position of each prompt's first token."""
    length = 0 if prefix is None else prefix.length
    return jnp.broadcast_to(jnp.asarray(length), (num_rows,))


def seen_prefix(
    config: DecoderConfig, prefix: Prefix | None, positions: Int[Array, "b l"]
) -> list[Bool[Array, "b l s"]]:
    """What tokens at these positions see of the prefix, if there is one."""
    if prefix is None:
        return []
    places = jnp.arange(prefix.cache.num_slots)[None]
    mask = (places < prefix.length[:, None])[:, None]
    return [mask & near(config, positions, places)]


def seen(
    config: DecoderConfig, prompts: Prompts, positions: Int[Array, "b l"]
) -> tuple[list[Cache], list[Bool[Array, "b l s"]]]:
    """What was read of prefix and prompts, and what tokens at these positions see."""
    prefix = prompts.prefix
    places = jnp.arange(prompts.cache.num_slots)[None]
    mask = (places < prompts.lengths[:, None])[:, None]
    first = starts(prefix, len(prompts.lengths))[:, None]
    mask &= near(config, positions, first + places)
    past = [*([] if prefix is None else [prefix.cache]), prompts.cache]
    return past, [*seen_prefix(config, prefix, positions), mask]


def near(
    config: DecoderConfig, query: Int[Array, "b1 l"], key: Int[Array, "b2 s"]
) -> Bool[Array, "b l s"]:
    """Within the sliding window; everything where there is none."""
    return query[:, :, None] - key[:, None, :] < window(config)


def window(config: DecoderConfig) -> int:
    """Tokens that a token may see, itself included."""
    return config.sliding_window or config.max_positions
