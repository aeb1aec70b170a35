"""Attention masks: bool, True where a query position sees a key position."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Int


def causal(num_tokens: int) -> Bool[Array, "l s"]:
    """Each token sees itself and the tokens before it.

    Args:
      num_tokens: `l`, and `s = l`.
    """
    return jnp.tril(jnp.ones((num_tokens, num_tokens), bool))


def segment_causal(segment_ids: Int[Array, "b l"]) -> Bool[Array, "b l s"]:
    """Causal inside each segment of a packed row, blind across segments.

    Example: segments `[1, 1, 2, 0]` let token 1 see tokens 0 and 1, and token 2 see
    only itself.

    Args:
      segment_ids: 1, 2, … for the examples packed in a row; 0 for padding.

    Returns:
      The mask, `s = l`. Padding sees earlier padding: a query that sees nothing would
      make its softmax 0/0, and NaN there spreads to every gradient.
    """
    same_segment = segment_ids[:, :, None] == segment_ids[:, None, :]
    return same_segment & causal(segment_ids.shape[1])[None]


def tree_causal(ends: Int[Array, "b l"]) -> Bool[Array, "b l s"]:
    """Each token of a tree sees itself and what it goes on from.

    Example: ends `[3, 2, 3, 0]` let tokens 1 and 2 see token 0 and themselves.

    Args:
      ends: tokens come before those that go on from them, which end here; 0 for
        padding, which sees nothing and is not seen.

    Returns:
      The mask, `s = l`.
    """
    inside = jnp.arange(ends.shape[1])[None, :, None] < ends[:, None, :]
    return inside & causal(ends.shape[1])[None]
