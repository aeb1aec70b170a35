"""bfloat16 held as its bits, where it is read and written part by part.

XLA's CPU backend widens a whole bfloat16 array to float32 to read or write a part of
it in a loop: a layer of a stack of weights, a token of a cache. As integers the part is
copied alone. The bytes are the same.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, DTypeLike


def stored(dtype: DTypeLike) -> jnp.dtype:
    """What `pack` makes of it."""
    dtype = jnp.dtype(dtype)
    return jnp.dtype(jnp.uint16) if dtype == jnp.bfloat16 else dtype


def pack(x: Array, dtype: DTypeLike) -> Array:
    """Rounded to `dtype`; bfloat16 as uint16."""
    x = unpack(x).astype(dtype)
    return jax.lax.bitcast_convert_type(x, stored(dtype))


def unpack(x: Array) -> Array:
    """What was packed, in its own dtype; anything else unchanged."""
    is_packed = x.dtype == jnp.uint16
    return jax.lax.bitcast_convert_type(x, jnp.bfloat16) if is_packed else x
