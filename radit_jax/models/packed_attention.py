"""Attention of the training step: one function, with each platform's own kernel."""

from collections.abc import Callable

import jax
from jaxtyping import Array, Float

from radit_jax.models import axes, span_attention
from radit_jax.models.span_attention import Spans, Sums

Note = Callable[[str, Array], Array]  # a value by its name → it, or what was kept


def attend(
    query: Float[Array, "b t h c"],
    key: Float[Array, "b s g c"],
    value: Float[Array, "b s g c"],
    seen: Spans,
    *,
    dtype: str,
    note: Note,
) -> Float[Array, "b t h c"]:
    """softmax(q·k / √c) v over each query's span, on each device for its own heads.

    Args:
      query: rotated.
      key: likewise; h/g query heads read each of the g.
      value: of the keys.
      seen: the spans of the queries.
      dtype: of products' inputs; sums are float32.
      note: keeps what the backward pass should not compute again.
    """
    # Heads are split where those of keys are too, or groups would be torn apart.
    is_split = axes.is_split("kv_heads", key.shape[2])
    heads, groups = ("heads", "kv_heads") if is_split else (None, None)
    of_query, of_key = ("batch", None, heads, None), ("batch", None, groups, None)
    inputs = (of_query, of_key, of_key, ("batch", None), ("batch", None))
    of_sums = (of_query, of_query[:3])

    def forward(query, key, value, first, last):
        return tuple(
            span_attention.attend(query, key, value, Spans(first, last), dtype)
        )

    def again(query, key, value, first, last, mixed, log_total):
        sums, seen = Sums(mixed, log_total), Spans(first, last)
        return span_attention.attend_again(query, key, value, seen, sums, dtype)

    # The loop over blocks has a length that is known only as it runs, so its gradient
    # is `again`'s to give.
    fixed = map(jax.lax.stop_gradient, (query, key, value))
    mixed, log_total = axes.on_each_device(forward, inputs, of_sums)(*fixed, *seen)
    mixed, log_total = note("mixed", mixed), note("log_total", log_total)
    differentiable = axes.on_each_device(again, (*inputs, *of_sums), of_query)
    return differentiable(query, key, value, *seen, mixed, log_total)
