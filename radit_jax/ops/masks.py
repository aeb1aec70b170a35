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


def prefix(
    slot_mask: Bool[Array, "b s"],
    num_tokens: int,
    offset: int | Int[Array, ""] = 0,
) -> Bool[Array, "b l s"]:
    """What new tokens see of a key/value cache that already holds a prefix.

    New token i is written to slot `offset + i`. It sees the filled slots up to there
    and always its own, so that a padding token's softmax is not empty.

    Example: `slot_mask = [T, F, T, T]`, 2 tokens at offset 2: token 0 sees slots 0 and
    2, token 1 sees slots 0, 2 and 3. Slot 1 is a shorter prompt's padding.

    Args:
      slot_mask: True for slots that hold, or are about to hold, a real token.
      num_tokens: `l`, the number of new tokens.
      offset: slot of the first new token.
    """
    query_slots = (offset + jnp.arange(num_tokens))[None, :, None]
    key_slots = jnp.arange(slot_mask.shape[1])[None, None, :]
    earlier = (key_slots < query_slots) & slot_mask[:, None, :]
    return earlier | (key_slots == query_slots)
