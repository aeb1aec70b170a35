"""The compiled step of scoring: texts after shared prefixes.

Projections, norms and feed-forward layers run on streams of tokens that hold a prefix
once and hardly any padding. CPUs attend in the streams too, each token to the spans
of its prefix and of its own text. For accelerators the tokens are laid out for that in
padded prefixes and rows; a row also reads the keys and values of its prefix.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from radit_jax.inference import attention, cached_forward
from radit_jax.models import layers, span_attention
from radit_jax.models.decoder import Decoder, DecoderConfig
from radit_jax.models.span_attention import Spans
from radit_jax.ops import likelihood, masks


class Prefixes(NamedTuple):
    """The shared prefixes of each block, `m` of them."""

    slots: Int[Array, "b m p"]  # where in the stream; anything in padding
    lengths: Int[Array, "b m"]  # tokens
    of_row: Int[Array, "b n"]  # which one a row follows
    # Of each token of the stream: where its prefix begins, and how long it is; 0: none.
    starts: Int[Array, "b l"]
    sizes: Int[Array, "b l"]


def log_likelihood(
    decoder: Decoder,
    tokens: Int[Array, "b l"],
    positions: Int[Array, "b l"],
    row_slots: Int[Array, "b n w"],
    segment_ids: Int[Array, "b n w"],
    attended_slots: Int[Array, "b l"],
    sources: Int[Array, "b t"],
    targets: Int[Array, "b t"],
    prefixes: Prefixes | None,
) -> tuple[Float[Array, "b t"], None]:
    """log p(target | what its source sees), nats; see `prefix_rows.lay_out`.

    Args:
      decoder: the language model.
      tokens: of each block one stream, prefixes and then rows.
      positions: of each token in its text, from 0.
      row_slots: where in the stream the rows' tokens are; anything in padding.
      segment_ids: 1, 2, … for the texts of a row; 0 for padding.
      attended_slots: of each token of the stream, where it is among the padded
        prefixes and rows, one after another.
      sources: where in the stream the predicting tokens are.
      targets: the predicted tokens.
      prefixes: None: no row has one.
    """
    config = decoder.config
    frequencies = layers.rope_frequencies(
        config.head_width, config.rope_theta, config.rope_scaling
    )
    rope = layers.rope_table(positions, frequencies)
    row_mask = _row_mask(config, _take(positions, row_slots), segment_ids, prefixes)
    prefix_mask = None if prefixes is None else _prefix_mask(config, prefixes.slots)
    graphdef, stack = nnx.split(decoder.layers)

    def in_streams(query, key, value):
        return _attend_in_streams(query, key, value, positions, prefixes, config)

    def in_rows(*inputs):
        rows = [_take(x, row_slots) for x in inputs]
        if prefixes is None:
            return _take(_attend(*rows, row_mask, config), attended_slots)
        query, *seen = (_take(x, prefixes.slots) for x in inputs)
        first = _attend(query, *seen, prefix_mask, config)
        rows[1:] = (
            jnp.concatenate([_take(x, prefixes.of_row), own], axis=2)
            for x, own in zip(seen, rows[1:], strict=True)
        )
        mixed = jnp.concatenate([first, _attend(*rows, row_mask, config)], axis=1)
        return _take(mixed, attended_slots)

    def body(x, params):
        layer = nnx.merge(graphdef, params)
        normed = layer.attention_norm(x)
        query = layers.rotate(layer.attention.query(normed), rope)
        key = layers.rotate(layer.attention.key(normed), rope)
        mixed = jax.lax.platform_dependent(
            query,
            key,
            layer.attention.value(normed),
            cpu=in_streams,
            default=in_rows,
        )
        x = x + layer.attention.output(mixed)
        return x + layer.mlp(layer.mlp_norm(x)), None

    x, _ = jax.lax.scan(body, decoder.embedding[...][tokens], stack)
    hidden = decoder.final_norm(_take(x, sources))
    return likelihood.token_log_likelihood(
        hidden, decoder.head, targets, dtype=config.compute_dtype
    ), None


def _take(x: Array, index: Int[Array, "b *i"]) -> Array:
    """[b l …] to [b *i …]: each block from its own stream, so from its own device."""
    return jax.vmap(lambda block, places: block[places])(x, index)


def _attend_in_streams(
    query: Float[Array, "b l h c"],
    key: Float[Array, "b l g c"],
    value: Float[Array, "b l g c"],
    positions: Int[Array, "b l"],
    prefixes: Prefixes | None,
    config: DecoderConfig,
) -> Float[Array, "b l h c"]:
    """Attention to the token's own text, and to its prefix."""
    window = cached_forward.window(config)
    offsets, of_prefix = positions, None
    if prefixes is not None:
        offsets = positions - prefixes.sizes
        first = prefixes.starts + jnp.maximum(positions - window + 1, 0)
        of_prefix = Spans(first, prefixes.starts + prefixes.sizes - 1)
    own = span_attention.spans_of(offsets, window)
    sums = attention.span_sums(query, key, value, own, config.compute_dtype, of_prefix)
    return attention.merge([sums])


def _attend(
    query: Float[Array, "b n l h c"],
    key: Float[Array, "b n s g c"],
    value: Float[Array, "b n s g c"],
    mask: Bool[Array, "b n l s"],
    config: DecoderConfig,
) -> Float[Array, "b nl h c"]:
    """Attention in each row, and the rows one after another."""
    merged = (x.reshape(-1, *x.shape[2:]) for x in (query, key, value, mask))
    mixed = layers.attend(*merged, config.compute_dtype)
    return mixed.reshape(len(query), -1, *mixed.shape[2:])


def _prefix_mask(
    config: DecoderConfig, slots: Int[Array, "b m p"]
) -> Bool[Array, "b m p p"]:
    """Causal; padding is to the right, so that hides it from every token."""
    positions = jnp.broadcast_to(jnp.arange(slots.shape[-1])[None, None], slots.shape)
    mask = masks.causal(slots.shape[-1])[None, None]
    return mask & _near(config, positions, positions)


def _row_mask(
    config: DecoderConfig,
    positions: Int[Array, "b n w"],
    segment_ids: Int[Array, "b n w"],
    prefixes: Prefixes | None,
) -> Bool[Array, "b n w s"]:
    """A token sees its row's prefix, and its own text up to itself."""
    own = jax.vmap(masks.segment_causal)(segment_ids) & _near(
        config, positions, positions
    )
    if prefixes is None:
        return own
    places = jnp.arange(prefixes.slots.shape[-1])[None, None]
    lengths = _take(prefixes.lengths, prefixes.of_row)[:, :, None]
    places = jnp.broadcast_to(places, (*lengths.shape[:2], places.shape[-1]))
    in_prefix = (places < lengths)[:, :, None] & _near(config, positions, places)
    return jnp.concatenate([in_prefix, own], axis=-1)


def _near(
    config: DecoderConfig, query: Int[Array, "b n l"], key: Int[Array, "b n s"]
) -> Bool[Array, "b n l s"]:
    return query[..., :, None] - key[..., None, :] < cached_forward.window(config)
