"""TPU's own kernel for attention in packed rows: JAX's splash attention.

Blocks above the diagonal, or outside the sliding window, are never computed; texts of a
row are told apart by their segment ids.
"""

import jax
import jax.numpy as jnp
from jax.experimental.pallas.ops.tpu.splash_attention import (
    splash_attention_kernel as kernels,
)
from jax.experimental.pallas.ops.tpu.splash_attention import (
    splash_attention_mask as masks,
)
from jaxtyping import Array, Float, Int

_BLOCKS = (512, 256, 128)  # queries and keys that are held together
_LANES = 128  # of the chip: a head's width is a multiple


def takes(query: Array | jax.ShapeDtypeStruct, dtype: str, window: int | None) -> bool:
    """Whether the kernel takes queries [b l h c]; it multiplies bfloat16 alone."""
    del window  # any
    *_, length, _, c = query.shape
    return dtype == "bfloat16" and c % _LANES == 0 and length % _BLOCKS[-1] == 0


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
      window: tokens that a token sees at most, itself included; None: all.
      dtype: of products' inputs; TPUs take bfloat16 alone.
      interpret: run without a TPU, slowly, to be tested.
    """
    kernel = _kernel(*query.shape[1:3], window, interpret)

    def row(query, key, value, segment_ids):
        ids = kernels.SegmentIds(segment_ids, segment_ids)
        return kernel(query, key, value, segment_ids=ids)

    scaled = query * query.shape[-1] ** -0.5
    inputs = (x.astype(dtype).swapaxes(1, 2) for x in (scaled, key, value))
    mixed = jax.vmap(row)(*inputs, segment_ids)
    return mixed.swapaxes(1, 2).astype(jnp.float32)


def _kernel(length: int, num_heads: int, window: int | None, interpret: bool):
    shape = (length, length)
    mask = masks.CausalMask(shape)
    if window is not None:
        mask = masks.LocalMask(shape, (window - 1, 0), offset=0)
    block = next(size for size in _BLOCKS if length % size == 0)
    fields = (
        *("block_q", "block_kv", "block_kv_compute"),
        *("block_q_dkv", "block_kv_dkv", "block_kv_dkv_compute"),
        *("block_q_dq", "block_kv_dq"),
    )
    return kernels.make_splash_mha(
        masks.MultiHeadMask([mask] * num_heads),
        block_sizes=kernels.BlockSizes(**dict.fromkeys(fields, block)),
        head_shards=1,
        q_seq_shards=1,
        interpret=interpret,
    )
