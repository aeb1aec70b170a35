"""Keys and values of the tokens that a decoder has read."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


class Cache(NamedTuple):
    """Every layer's keys and values in `s` slots; a pytree.

    The batch is axis 1 of both. Which slots hold tokens is the caller's knowledge: it
    goes into the attention mask.
    """

    keys: Float[Array, "layers b s g c"]
    values: Float[Array, "layers b s g c"]

    @property
    def length(self) -> int:
        """s: how many tokens fit."""
        return self.keys.shape[2]

    def write(
        self,
        keys: Float[Array, "layers b l g c"],
        values: Float[Array, "layers b l g c"],
        offset: int | Array,
    ) -> "Cache":
        """The cache with slots [offset, offset + l) replaced.

        Offsets are traced, so only `l <= s` can be checked: as
        `jax.lax.dynamic_update_slice` does, an offset beyond s - l is taken as s - l.
        """
        if keys.shape[2] > self.length:
            raise ValueError(
                f"{keys.shape[2]} tokens do not fit a cache of {self.length} slots; "
                "make it longer with kv_cache.empty(length=...)."
            )
        start = (0, 0, offset, 0, 0)
        return Cache(
            *(
                jax.lax.dynamic_update_slice(old, new.astype(old.dtype), start)
                for old, new in zip(self, (keys, values), strict=True)
            )
        )


def empty(config, batch: int, length: int, dtype=None) -> Cache:
    """A cache without tokens.

    Args:
      config: the `DecoderConfig` whose layers and heads it is for.
      batch: rows.
      length: slots a row, in tokens: prompt and everything decoded after it.
      dtype: of the stored values; None takes `config.compute_dtype`, which loses
        nothing: products read them in that dtype anyway.
    """
    shape = (config.num_layers, batch, length, config.num_kv_heads, config.head_width)
    dtype = jnp.dtype(dtype or config.compute_dtype)
    return Cache(jnp.zeros(shape, dtype), jnp.zeros(shape, dtype))
