"""Attention of the training step: one function, with each platform's own kernel.

TPUs run splash attention and NVIDIA GPUs Triton's where these take the shapes; all else
runs in blocks over spans. Which one is chosen as the step is compiled, for whatever it
is compiled for.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from radit_jax.models import (
    axes,
    span_attention,
    splash_attention,
    triton_attention,
)
from radit_jax.models.span_attention import Spans, Sums

_KERNELS = {"tpu": splash_attention, "cuda": triton_attention}  # by platform

Note = Callable[[str, Array], Array]  # a value by its name → it, or what was kept


class Rows(NamedTuple):
    """What the queries see."""

    seen: Spans  # [b t]
    segment_ids: Int[Array, "b l"]
    window: int | None  # tokens; None: no sliding window
    whole: bool  # the queries are all tokens of the rows, in order


def attend(
    query: Float[Array, "b t h c"],
    key: Float[Array, "b s g c"],
    value: Float[Array, "b s g c"],
    rows: Rows,
    *,
    dtype: str,
    note: Note,
) -> Float[Array, "b t h c"]:
    """softmax(q·k / √c) v over each query's span, on each device for its own heads.

    Args:
      query: rotated.
      key: likewise; h/g query heads read each of the g.
      value: of the keys.
      rows: what the queries see.
      dtype: of products' inputs; sums are float32.
      note: keeps what the backward pass should not compute again.
    """
    of_query, of_key = axes.of_heads(key.shape[2])
    inputs = (of_query, of_key, of_key, *[("batch", None)] * 3)
    of_sums = (of_query, of_query[:3])
    way = _Way(dtype, rows.window, rows.whole)
    arrays = query, key, value, *rows.seen, rows.segment_ids
    # Neither a loop of a length known only as it runs nor a kernel that gives no sums
    # can be differentiated: the gradient is `_again`'s to give.
    fixed = map(jax.lax.stop_gradient, arrays)
    mixed, log_total = axes.on_each_device(way.sums, inputs, of_sums)(*fixed)
    mixed, log_total = note("mixed", mixed), note("log_total", log_total)
    again = functools.partial(_again, way)
    differentiable = axes.on_each_device(again, (*inputs, *of_sums), of_query)
    return differentiable(*arrays, mixed, log_total)


class _Way(NamedTuple):
    """How attention is computed; on one device."""

    dtype: str
    window: int | None
    whole: bool

    def sums(self, query, key, value, first, last, segment_ids) -> tuple[Array, Array]:
        """What attention gives, and what its gradient needs (of kernels': nothing)."""

        def in_blocks(query, key, value, first, last, segment_ids):
            del segment_ids
            seen = Spans(first, last)
            return tuple(span_attention.attend(query, key, value, seen, self.dtype))

        def by_kernel(kernel, query, key, value, first, last, segment_ids):
            del first, last
            mixed = kernel.attend(query, key, value, segment_ids, self.window)
            return mixed, jnp.zeros(query.shape[:3], jnp.float32)

        arrays = query, key, value, first, last, segment_ids
        return self._choose(in_blocks, by_kernel, *arrays)

    def gradients(self, arrays, sums: Sums, cotangent) -> tuple[Array, Array, Array]:
        """Of query, key and value."""

        def in_blocks(query, key, value, first, last, segment_ids, *rest):
            del segment_ids
            *sums, cotangent = rest
            seen = Spans(first, last)

            def again(query, key, value):
                return span_attention.attend_again(
                    query, key, value, seen, Sums(*sums), self.dtype
                )

            return jax.vjp(again, query, key, value)[1](cotangent)

        def by_kernel(kernel, query, key, value, first, last, segment_ids, *rest):
            del first, last

            def forward(query, key, value):
                return kernel.attend(query, key, value, segment_ids, self.window)

            return jax.vjp(forward, query, key, value)[1](rest[-1])

        return self._choose(in_blocks, by_kernel, *arrays, *sums, cotangent)

    def _choose(self, in_blocks, by_kernel, *arrays):
        """What the platform's kernel gives where it takes these queries, first here."""
        ways = {
            platform: functools.partial(by_kernel, kernel)
            for platform, kernel in _KERNELS.items()
            if self.whole and kernel.takes(arrays[0], self.dtype, self.window)
        }
        if not ways:
            return in_blocks(*arrays)
        return jax.lax.platform_dependent(*arrays, **ways, default=in_blocks)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _again(way: _Way, query, key, value, first, last, segment_ids, mixed, log_total):
    """`mixed`, which was kept; with the gradients of its inputs."""
    del way, query, key, value, first, last, segment_ids, log_total
    return mixed


def _again_forward(way, *arrays):
    del way
    return arrays[-2], arrays


def _again_backward(way: _Way, saved, cotangent):
    *arrays, mixed, log_total = saved
    gradients = way.gradients(arrays, Sums(mixed, log_total), cotangent)
    return (*gradients, None, None, None, None, None)


_again.defvjp(_again_forward, _again_backward)
