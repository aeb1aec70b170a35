"""The decoder's forward pass in training: packed rows in, hidden states at targets.

The same function as `Decoder.__call__`, with less work and memory:

* Of the last layer, queries, output projection and feed-forward are computed at the
  target positions alone; every other token gives only its keys and values there.
* The backward pass keeps each layer's input and what `remat` says, in the products'
  dtype. It reads each layer's weights in the stack that holds them all, and writes
  their gradients into a stack: that of the micro-batches before, where there are any
  (see `read_targets`).
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from radit_jax.models import axes, layers, narrow, packed_attention, span_attention
from radit_jax.models.decoder import Decoder, DecoderConfig, DecoderLayer
from radit_jax.models.packed_attention import Note, Rows
from radit_jax.models.span_attention import Spans

# What each layer keeps for the backward pass, besides its input.
_ATTENTION = ("query", "key", "value", "mixed", "log_total")
KEPT = {"none": (*_ATTENTION, "gate", "up"), "mlp": _ATTENTION, "layer": ()}

_STREAM = ("batch", None, None)  # axes of the residual stream, and of its gradient


class Context(NamedTuple):
    """What all layers read; nothing in it has a gradient."""

    rope: layers.Rope
    seen: Spans
    segment_ids: Int[Array, "b l"]


class Targets(NamedTuple):
    """What is read off packed rows."""

    hidden: Float[Array, "b t d"]  # after the final norm
    params: Any  # the layers' own, as they were given: see `read_targets`


def read_targets(
    decoder: Decoder,
    tokens: Int[Array, "b l"],
    positions: Int[Array, "b l"],
    segment_ids: Int[Array, "b l"],
    target_positions: Int[Array, "b t"],
    *,
    remat: str = "none",
) -> Targets:
    """Reads packed rows.

    `Targets.params` are the layers' parameters, unchanged. Given back as a cotangent, a
    sum of gradients is added to in place, layer by layer; to add two sums when both
    are whole takes twice the memory.

    Args:
      decoder: the language model.
      tokens: ids.
      positions: of each token in its own text, from 0.
      segment_ids: 1, 2, … for the texts of a row, side by side; 0 for padding.
      target_positions: places in the row whose hidden states are wanted.
      remat: what the backward pass computes again: "none" of the large products,
        "mlp", those of the feed-forward layers' first half, or the whole "layer".
    """
    config = decoder.config
    frequencies = layers.rope_frequencies(
        config.head_width, config.rope_theta, config.rope_scaling
    )
    seen = span_attention.spans(segment_ids, config.sliding_window)
    context = Context(layers.rope_table(positions, frequencies), seen, segment_ids)
    graphdef, params, frozen = _split(decoder.layers)
    stack = _Stack(graphdef, config, KEPT[remat])
    x = axes.constrain(decoder.embed(tokens), *_STREAM)
    x, params = _run(stack, params, frozen, x, context)
    last, params = _last(params)
    last = last, jax.tree.map(lambda p: p[-1], frozen)
    x = stack.last_layer(last, x, context, target_positions)
    return Targets(decoder.final_norm(x), params)


def _split(stacked: DecoderLayer) -> tuple[Any, Any, Any]:
    """Their graph, what learns and what does not: adapters, where they have any."""
    graphdef, adapters, rest = nnx.split(stacked, nnx.LoRAParam, ...)
    return (graphdef, adapters, rest) if adapters else (graphdef, rest, adapters)


class _Stack(NamedTuple):
    """What is fixed of a stack of layers; its parameters come and go."""

    graphdef: Any  # of one layer and of all
    config: DecoderConfig
    kept: tuple[str, ...]

    def layer(self, params: Any, x, context: Context, note: Note):
        """One layer; what `note` is given by name, it may give back from memory."""
        layer = nnx.merge(self.graphdef, *params)
        normed = layer.attention_norm(x)
        key, value = self._key_value(layer, normed, context.rope)
        query = self._turned(layer.attention.query(normed), context.rope, "heads")
        query, key, value = note("query", query), note("key", key), note("value", value)
        x = x + layer.attention.output(self._attend(query, key, value, context, note))
        x = axes.constrain(x, *_STREAM)
        return axes.constrain(x + self._feed_forward(layer, x, note), *_STREAM)

    def last_layer(self, params: Any, x, context: Context, places: Int[Array, "b t"]):
        """Keys and values of all tokens; all else at `places`, [b t d]."""
        layer = nnx.merge(self.graphdef, *params)
        normed = layer.attention_norm(x)
        key, value = self._key_value(layer, normed, context.rope)
        rope = tuple(_take(table, places) for table in context.rope)
        query = layer.attention.query(_take(normed, places))
        query = self._turned(query, rope, "heads")
        some = context._replace(seen=context.seen.at(places))
        mixed = self._attend(query, key, value, some, _forget, whole=False)
        x = _take(x, places) + layer.attention.output(mixed)
        return x + self._feed_forward(layer, x, _forget)

    def _key_value(self, layer: DecoderLayer, normed, rope: layers.Rope):
        key = self._turned(layer.attention.key(normed), rope, "kv_heads")
        value = layer.attention.value(normed)
        return key, axes.constrain(value, "batch", None, "kv_heads", None)

    def _turned(self, x, rope: layers.Rope, heads: str):
        return axes.constrain(layers.rotate(x, rope), "batch", None, heads, None)

    def _attend(self, query, key, value, context: Context, note: Note, whole=True):
        window = self.config.sliding_window
        rows = Rows(context.seen, context.segment_ids, window, whole)
        dtype = self.config.compute_dtype
        return packed_attention.attend(query, key, value, rows, dtype=dtype, note=note)

    def _feed_forward(self, layer: DecoderLayer, x, note: Note):
        normed, names = layer.mlp_norm(x), ("batch", None, "mlp")
        gate = note("gate", axes.constrain(layer.mlp.gate(normed), *names))
        up = note("up", axes.constrain(layer.mlp.up(normed), *names))
        return layer.mlp.down(jax.nn.silu(gate) * up)

    def keep(self, params: Any, x, context: Context):
        """One layer, and what of it the backward pass will not compute again."""
        kept = {}

        def note(name: str, value: Array) -> Array:
            if name in self.kept:
                # Products read them in this dtype; float32 sums need float32.
                dtype = (
                    value.dtype if name == "log_total" else self.config.compute_dtype
                )
                kept[name] = narrow.pack(value, dtype)
            return value

        return self.layer(params, x, context, note), kept


def _forget(name: str, value: Array) -> Array:
    del name
    return value


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _run(
    stack: _Stack,
    params: Any,
    frozen: Any,
    x: Float[Array, "b l d"],
    context: Context,
):
    """All layers but the last, and the parameters of all, as they were given."""
    return _run_forward(stack, params, frozen, x, context)[0]


def _run_forward(stack: _Stack, params, frozen, x, context):
    def step(x, i):
        y, kept = stack.keep(_at((params, frozen), i), x, context)
        return y, (narrow.pack(x, stack.config.compute_dtype), kept)

    numbers = jnp.arange(stack.config.num_layers - 1)
    y, kept = jax.lax.scan(step, x, numbers)
    return (y, params), (params, frozen, context, kept)


def _run_backward(stack: _Stack, saved, cotangents):
    params, frozen, context, kept = saved

    def step(carry, xs):
        y_bar, sums = carry
        i, (x, kept) = xs
        x = narrow.unpack(x).astype(y_bar.dtype)

        def note(name: str, value: Array) -> Array:
            return _recall(kept[name], value) if name in kept else value

        def layer(params, x):
            return stack.layer((params, _at(frozen, i)), x, context, note)

        _, backward = jax.vjp(layer, _at(params, i), x)
        gradient, x_bar = backward(y_bar)
        sums = jax.tree.map(lambda s, g: _add_at(s, g, i), sums, gradient)
        return (x_bar, sums), None

    numbers = jnp.arange(stack.config.num_layers - 1)
    (x_bar, sums), _ = jax.lax.scan(step, cotangents, (numbers, kept), reverse=True)
    return sums, None, x_bar, None


_run.defvjp(_run_forward, _run_backward)


@jax.custom_vjp
def _last(params: Any) -> tuple[Any, Any]:
    """The last layer's parameters; and all, as they were given."""
    return jax.tree.map(lambda p: p[-1], params), params


_last.defvjp(
    lambda params: (_last(params), None),
    lambda _, cotangents: (
        jax.tree.map(lambda g, s: _add_at(s, g, len(s) - 1), *cotangents),
    ),
)


@jax.custom_vjp
def _recall(kept: Array, value: Array) -> Array:
    """The kept value; its gradient goes to `value`, which is then not computed."""
    return narrow.unpack(kept).astype(value.dtype)


_recall.defvjp(
    lambda kept, value: (_recall(kept, value), None),
    lambda _, cotangent: (None, cotangent),
)


def _at(params: Any, i: Int[Array, ""]) -> Any:
    """One layer's parameters."""
    return jax.tree.map(lambda p: jax.lax.dynamic_index_in_dim(p, i, 0, False), params)


def _add_at(total: Array, more: Array, i: int | Int[Array, ""]) -> Array:
    """Adds one layer's in place; `.at[i].add` would guard against an `i` out of it."""
    more += jax.lax.dynamic_index_in_dim(total, i, 0, False)
    return jax.lax.dynamic_update_index_in_dim(total, more, i, 0)


def _take(x: Array, places: Int[Array, "b t"]) -> Array:
    """[b l …] to [b t …], each row from itself."""
    return jax.vmap(lambda row, some: row[some])(x, places)
