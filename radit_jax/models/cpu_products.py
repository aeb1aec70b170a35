"""Gradients of weights, with operands as XLA's CPU backend wants them.

It wants the left operand contracted over its last axis. A weight's gradient is not, so
XLA turns that operand, and computes what it is made of while it does, in an order that
misses the caches. Here it is computed as it lies, and then turned in small chunks; and
of the two operands the narrower is turned. A gradient of [1536 576] over 2,048 tokens,
with the product of two activations that it is made of, takes 29 ms instead of 50 in
float32, 13 instead of 41 in bfloat16 (2 cores).
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from radit_jax.models import narrow

_CHUNK = 16  # rows turned at a time: those of any width fit in a core's first cache
_DTYPES = (jnp.float32, jnp.bfloat16)


def of(spec: str, left: Array, right: Array) -> Callable[[Array, Array], Array] | None:
    """How to multiply arrays so, or None: as ever.

    Args:
      spec: of `jnp.einsum`; such as "blx,bluv->xuv".
      left: the first operand, or its shape.
      right: the second.
    """
    (x, y), output = spec.split("->")[0].split(","), spec.split("->")[1]
    is_gradient = x[:2] == y[:2] == "bl" and output == x[2:] + y[2:]
    if not is_gradient or left.dtype != right.dtype or left.dtype not in _DTYPES:
        return None
    return None if math.prod(left.shape[:2]) % _CHUNK else _weight_gradient


def _weight_gradient(x: Array, cotangent: Array) -> Array:
    tokens = math.prod(x.shape[:2])
    operands = x.reshape(tokens, -1), cotangent.reshape(tokens, -1)
    left, right = sorted(operands, key=lambda operand: operand.shape[1])
    gradient = jnp.einsum(
        "it,to->io", turned(left), right, preferred_element_type=jnp.float32
    )
    if left is not operands[0]:
        # Not without the barrier: XLA would exchange the operands again.
        gradient = jax.lax.optimization_barrier(gradient).T
    return gradient.reshape(*x.shape[2:], *cotangent.shape[2:])


def turned(x: Float[Array, "n m"]) -> Float[Array, "m n"]:
    """The transpose, in two passes that XLA does not fold into a product."""
    n, m = x.shape
    # A loop, so that what `x` is made of is computed as it lies.
    chunks = narrow.pack(x, x.dtype).reshape(n // _CHUNK, _CHUNK, m)
    chunks = jax.lax.map(jnp.transpose, chunks)
    return narrow.unpack(chunks.swapaxes(0, 1).reshape(m, n))
