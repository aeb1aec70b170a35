"""A decoder reads new tokens after tokens whose keys and values are cached."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from radit_jax.inference.attention import Cache, Part, attend
from radit_jax.inference.streams import Rows
from radit_jax.models import layers, narrow
from radit_jax.models.decoder import Decoder, DecoderConfig


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
    rows: Rows | None,
    own: Bool[Array, "#b w w"],
    seen: Sequence[tuple[Cache, Array]],
) -> tuple[Float[Array, "m n d"], Cache]:
    """What the layers make of new tokens, before the final norm, and their cache.

    Args:
      decoder: the language model.
      tokens: in streams, or without `rows` a row each.
      positions: of each token in its text, the prefix included.
      rows: where the streams' rows are, for attention; None: m is b, n is w.
      own: what new tokens see of each other.
      seen: tokens read before, [layers b g s c], and which new tokens see of them,
        [#b #w s].
    """
    config = decoder.config
    frequencies = layers.rope_frequencies(
        config.head_width, config.rope_theta, config.rope_scaling
    )
    rope = layers.rope_table(positions, frequencies)
    graphdef, stack = nnx.split(decoder.layers)
    caches, seen_masks = [cache for cache, _ in seen], [mask for _, mask in seen]

    def body(x, xs):
        params, past = xs
        layer = nnx.merge(graphdef, params)
        normed = layer.attention_norm(x)
        new = [
            layers.rotate(layer.attention.query(normed), rope),
            layers.rotate(layer.attention.key(normed), rope),
            layer.attention.value(normed),
        ]
        query, *new = new if rows is None else map(rows.to_rows, new)
        new = Cache(*(narrow.pack(y.swapaxes(1, 2), config.compute_dtype) for y in new))
        parts = map(Part, past, seen_masks)
        mixed = attend(query, Part(new, own), list(parts), config.compute_dtype)
        mixed = mixed if rows is None else rows.to_streams(mixed)
        x = x + layer.attention.output(mixed)
        return x + layer.mlp(layer.mlp_norm(x)), new

    return jax.lax.scan(body, decoder.embed(tokens), (stack, caches))


def starts(prefix: Prefix | None, num_rows: int) -> Int[Array, "b"]:
    """The position of each prompt's first token."""
    length = 0 if prefix is None else prefix.length
    return jnp.broadcast_to(jnp.asarray(length), (num_rows,))


def seen_prefix(
    config: DecoderConfig, prefix: Prefix | None, positions: Int[Array, "b l"]
) -> list[tuple[Cache, Bool[Array, "b l s"]]]:
    """The prefix, if there is one, and what tokens at these positions see of it."""
    if prefix is None:
        return []
    places = jnp.arange(prefix.cache.num_slots)[None]
    mask = (places < prefix.length[:, None])[:, None]
    return [(prefix.cache, mask & near(config, positions, places))]


def seen_prompts(
    config: DecoderConfig, prompts: Prompts, positions: Int[Array, "b l"]
) -> tuple[Cache, Bool[Array, "b l s"]]:
    """The prompts, and what tokens at these positions of their texts see of them."""
    places = jnp.arange(prompts.cache.num_slots)[None]
    mask = (places < prompts.lengths[:, None])[:, None]
    first = starts(prompts.prefix, len(prompts.lengths))[:, None]
    return prompts.cache, mask & near(config, positions, first + places)


def near(
    config: DecoderConfig, query: Int[Array, "b1 l"], key: Int[Array, "b2 s"]
) -> Bool[Array, "b l s"]:
    """Within the sliding window; everything where there is none."""
    return query[:, :, None] - key[:, None, :] < window(config)


def window(config: DecoderConfig) -> int:
    """Tokens that a token may see, itself included."""
    return config.sliding_window or config.max_positions
