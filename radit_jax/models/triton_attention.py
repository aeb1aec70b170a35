"""NVIDIA GPUs' own kernel for attention in packed rows: JAX's in Triton.

Blocks above the diagonal are never computed; texts of a row are told apart by their
segment ids. The kernel knows no sliding window, and wants a key's head for each of the
query's.
"""

import jax
import jax.numpy as jnp
from jax.experimental.pallas.ops.gpu import attention as kernels
from jaxtyping import Array, Float, Int

_BLOCK = 128  # queries and keys that are held together
_WIDEST = 128  # head: what a block takes of a GPU's shared memory grows with it


def takes(query: Array | jax.ShapeDtypeStruct, dtype: str, window: int | None) -> bool:
    """Whether the kernel takes queries [b l h c], to be multiplied in this dtype."""
    *_, length, _, c = query.shape
    sees_all = window is None or window >= length
    fits = length % _BLOCK == 0 and c <= _WIDEST
    return dtype == "bfloat16" and sees_all and fits


def attend(
    query: Float[Array, "b l h c"],
    key: Float[Array, "b l g c"],
    value: Float[Array, "b l g c"],
    segment_ids: Int[Array, "b l"],
    window: int | None,
    *,
    dtype: str = "bfloat16",
    interpret: bool = False,
) -> Float[Array, "b l h c"]:
    """softmax(q·k / √c) v over each token's own text up to itself, float32.

    Args:
      query: rotated; h/g query heads read each of the g.
      key: likewise.
      value: of the keys.
      segment_ids: the same for the tokens of a text.
      window: not less than l, or None; see `takes`.
      dtype: of products' inputs.
      interpret: run without a GPU, slowly, to be tested.
    """
    del window
    num_heads, c = query.shape[2:]
    key, value = (jnp.repeat(x, num_heads // x.shape[2], axis=2) for x in (key, value))
    inputs = (x.astype(dtype) for x in (query, key, value))
    mixed = kernels.mha(
        *inputs, segment_ids, sm_scale=c**-0.5, causal=True, interpret=interpret
    )
    return mixed.astype(jnp.float32)
