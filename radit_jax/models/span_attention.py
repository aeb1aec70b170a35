"""Causal attention within the texts of packed rows, in blocks (arXiv 2205.14135).

What a query sees is a span of its row: every key from `first` to `last`. That is all
there is to a causal mask in packed texts, whole or with a sliding window, so no mask is
held; and blocks of keys outside every span of a block of queries are not computed. No
array of [b h l l] exists, forward or backward: scores of a block of queries and one of
keys at a time are made, and made again for the gradient from the softmax's saved sums.
"""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from radit_jax.models import layers

_MASKED = -1e30  # finite, as in `layers.attend`
# A block's queries and keys: packed texts are short, and see few blocks. With more
# queries XLA's CPU backend splits these small products over threads, at a loss.
_QUERIES, _KEYS = 32, 64


class Spans(NamedTuple):
    """The keys of its row that each query sees; none where `first` is after `last`."""

    first: Int[Array, "b t"]
    last: Int[Array, "b t"]  # itself, of its own text

    def at(self, places: Int[Array, "b u"]) -> "Spans":
        """Those of the queries at these places."""
        return Spans(*(jnp.take_along_axis(x, places, axis=1) for x in self))


def spans(segment_ids: Int[Array, "b l"], window: int | None) -> Spans:
    """What tokens of packed rows see: their own text, up to themselves.

    Args:
      segment_ids: the same for the tokens of a text, which stand side by side.
      window: tokens that a token sees at most, itself included; None: all.
    """
    places = jnp.broadcast_to(jnp.arange(segment_ids.shape[1])[None], segment_ids.shape)
    is_new = jnp.diff(segment_ids, axis=1, prepend=-1) != 0
    first = jax.lax.cummax(jnp.where(is_new, places, 0), axis=1)
    return spans_of(places - first, window)


def spans_of(offsets: Int[Array, "b l"], window: int | None) -> Spans:
    """The same, from the place of each token in its text, from 0."""
    places = jnp.broadcast_to(jnp.arange(offsets.shape[1])[None], offsets.shape)
    first = places - offsets
    if window is not None:
        first = jnp.maximum(first, places - window + 1)
    return Spans(first, places)


class Sums(NamedTuple):
    """What attention gives, and what its gradient needs of the softmax."""

    mixed: Float[Array, "b t h c"]
    log_total: Float[Array, "b t h"]  # log Σ exp(score)


def attend(
    query, key, value, seen: Spans, dtype: str, prefix: Spans | None = None
) -> Sums:
    """softmax(q·k / √c) v over each query's span; see `attend_again` for a gradient.

    Args:
      query: [b t h c]
      key: [b s g c], h/g query heads read each of the g.
      value: likewise.
      seen: the spans of the queries, [b t], within s.
      dtype: of products' inputs; sums are float32.
      prefix: spans that the queries see too, apart from the others; None: there are
        none.
    """
    blocks = _Blocks(query, key)
    keys, values = blocks.keys(key), blocks.keys(value)

    def block(_, xs):
        row, query, *spans = xs
        walk = _Walk(blocks, spans)

        def step(i, sums):
            j, span = walk.at(i)
            scores = blocks.scores(query, keys[row, j], span, j, dtype)
            top = jnp.maximum(sums[2], jnp.max(scores, axis=-1, keepdims=True))
            weights, factor = jnp.exp(scores - top), jnp.exp(sums[2] - top)
            mixed = layers.einsum("gqk,gkc->gqc", weights, values[row, j], dtype)
            total = jnp.sum(weights, axis=-1, keepdims=True)
            return sums[0] * factor + mixed, sums[1] * factor + total, top

        zeros = jnp.zeros((*query.shape[:-1], 1), jnp.float32)
        begin = jnp.zeros(query.shape, jnp.float32), zeros, zeros + _MASKED
        mixed, total, top = jax.lax.fori_loop(0, walk.length, step, begin)
        return None, (mixed / total, top + jnp.log(total))

    spans = [seen] if prefix is None else [seen, prefix]
    _, (mixed, log_total) = jax.lax.scan(block, None, blocks.queries(query, *spans))
    return Sums(blocks.join(mixed), blocks.join(log_total)[..., 0])


@functools.partial(jax.custom_vjp, nondiff_argnums=(5,))
def attend_again(query, key, value, seen: Spans, sums: Sums, dtype: str) -> Array:
    """`sums.mixed` of `attend`, which was kept; with the gradients of its inputs."""
    del query, key, value, seen, dtype
    return sums.mixed


def _attend_forward(query, key, value, seen, sums, dtype):
    del dtype
    return sums.mixed, (query, key, value, seen, sums)


def _attend_backward(dtype, saved, cotangent):
    query, key, value, seen, sums = saved
    blocks = _Blocks(query, key)
    keys, values = blocks.keys(key), blocks.keys(value)
    # Σ_c of cotangent · mixed: what the softmax' gradient subtracts.
    ones = jnp.ones(query.shape[-1], jnp.float32)  # see `layers._rms_norm`
    exact = jax.lax.Precision.HIGHEST
    mean = jnp.einsum("bthc,c->bth", cotangent * sums.mixed, ones, precision=exact)
    mean = mean[..., None]

    def block(gradients, xs):
        row, query, span, cotangent, mean, log_total = xs
        walk = _Walk(blocks, [span])

        def step(i, carry):
            query_bar, key_bar, value_bar = carry
            j, _ = walk.at(i)
            scores = blocks.scores(query, keys[row, j], span, j, dtype)
            weights = jnp.exp(scores - log_total)
            given = layers.einsum("gqc,gkc->gqk", cotangent, values[row, j], dtype)
            scores_bar = weights * (given - mean)
            query_bar += layers.einsum("gqk,gkc->gqc", scores_bar, keys[row, j], dtype)
            more = layers.einsum("gqk,gqc->gkc", scores_bar, query, dtype)
            key_bar = key_bar.at[row, j].add(more)
            more = layers.einsum("gqk,gqc->gkc", weights, cotangent, dtype)
            return query_bar, key_bar, value_bar.at[row, j].add(more)

        begin = jnp.zeros(query.shape, jnp.float32), *gradients
        query_bar, *gradients = jax.lax.fori_loop(0, walk.length, step, begin)
        return tuple(gradients), query_bar

    zeros = jnp.zeros(keys.shape, jnp.float32)
    more = (cotangent, mean, sums.log_total[..., None])
    gradients, query_bar = jax.lax.scan(
        block, (zeros, zeros), (*blocks.queries(query, seen), *map(blocks.split, more))
    )
    key_bar, value_bar = map(blocks.join_keys, gradients)
    query_bar = blocks.join(query_bar) * blocks.scale
    gradients = (query_bar, key_bar, value_bar)
    inputs = (query, key, value)
    casts = (g.astype(x.dtype) for g, x in zip(gradients, inputs, strict=True))
    return (*casts, None, None)


attend_again.defvjp(_attend_forward, _attend_backward)


class _Blocks:
    """Rows cut into blocks; the r = h/g query heads of a key's head lie together."""

    def __init__(self, query: Array, key: Array):
        self._rows, self._queries, num_heads, c = query.shape
        self._length, self._g = key.shape[1:3]
        self._r, self.scale = num_heads // self._g, c**-0.5
        self._query_block = min(_QUERIES, self._queries)
        self._key_block = min(_KEYS, self._length)

    def queries(self, query: Array, *seen: Spans) -> tuple:
        """(row, scaled query, spans …) of each block of queries."""
        cut = self.split(query * self.scale)
        rows = jnp.repeat(jnp.arange(self._rows), len(cut) // self._rows)
        # Padding sees what the last query does: no block grows by it.
        spans = [
            Spans(*(self._cut(x, self._query_block, "edge") for x in one))
            for one in seen
        ]
        flat = jax.tree.map(lambda x: x.reshape(len(cut), -1), spans)
        return (rows, cut, *flat)

    def split(self, x: Float[Array, "b t h c"]) -> Float[Array, "m g rq c"]:
        """Into blocks of queries."""
        x = self._cut(x, self._query_block)
        x = x.reshape(-1, self._query_block, self._g, self._r, x.shape[-1])
        x = x.transpose(0, 2, 3, 1, 4)
        return x.reshape(*x.shape[:2], -1, x.shape[-1])

    def join(self, x: Float[Array, "m g rq c"]) -> Float[Array, "b t h c"]:
        """What `split` cut."""
        x = x.reshape(-1, self._g, self._r, self._query_block, x.shape[-1])
        x = x.transpose(0, 3, 1, 2, 4).reshape(
            self._rows, -1, self._g * self._r, x.shape[-1]
        )
        return x[:, : self._queries]

    def keys(self, x: Float[Array, "b s g c"]) -> Float[Array, "b n g k c"]:
        """Into blocks of keys."""
        return self._cut(x, self._key_block).swapaxes(2, 3)

    def join_keys(self, x: Float[Array, "b n g k c"]) -> Float[Array, "b s g c"]:
        """What `keys` cut."""
        x = x.swapaxes(2, 3)
        return x.reshape(self._rows, -1, *x.shape[3:])[:, : self._length]

    def range(self, span: Spans) -> tuple[Array, Array]:
        """Of the blocks of keys that a block of queries sees: the first, how many."""
        sees = span.first <= span.last
        first = jnp.min(jnp.where(sees, span.first, self._length))
        start = first // self._key_block
        stop = jnp.max(jnp.where(sees, span.last, -1)) // self._key_block + 1
        return start, jnp.maximum(stop - start, 0)

    def scores(self, query, key, span: Spans, j, dtype) -> Float[Array, "g rq k"]:
        """Of a block of queries and the j-th of keys; out of sight: very small."""
        found = layers.einsum("gqc,gkc->gqk", query, key, dtype)
        places = j * self._key_block + jnp.arange(self._key_block)[None]
        mask = (span.first[:, None] <= places) & (places <= span.last[:, None])
        return jnp.where(jnp.tile(mask, (self._r, 1))[None], found, _MASKED)

    @staticmethod
    def _cut(x: Array, size: int, mode: str = "constant") -> Array:
        """[b l …] to [b n size …], zeros at the end, or in mode "edge" the last."""
        padding = -x.shape[1] % size
        x = jnp.pad(x, ((0, 0), (0, padding), *[(0, 0)] * (x.ndim - 2)), mode)
        return x.reshape(x.shape[0], -1, size, *x.shape[2:])


class _Walk:
    """Through the blocks of keys of a block of queries: of one span, or of two."""

    def __init__(self, blocks: _Blocks, spans: Sequence[Spans]):
        self._spans = spans
        self._starts, self._counts = zip(*map(blocks.range, spans), strict=True)

    @property
    def length(self) -> Array:
        """How many blocks."""
        return sum(self._counts)

    def at(self, i: Array) -> tuple[Array, Spans]:
        """The i-th block's number, and the span for which it is seen."""
        j, span = self._starts[0] + i, self._spans[0]
        if len(self._spans) == 1:
            return j, span
        is_second, of_second = i >= self._counts[0], i - self._counts[0]
        j = jnp.where(is_second, self._starts[1] + of_second, j)
        pairs = zip(self._spans[1], span, strict=True)
        return j, Spans(*(jnp.where(is_second, *pair) for pair in pairs))
