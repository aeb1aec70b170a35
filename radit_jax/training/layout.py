"""What a tree of arrays consists of: names, shapes, dtypes, checksums."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp


def named_leaves(tree: Any) -> dict[str, Any]:
    """Leaves by their path, such as `params.layers.query.value`, in tree order.

    Saved so, a checkpoint does not depend on the classes that made the tree.
    """
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {
        jax.tree_util.keystr(path, simple=True, separator="."): leaf
        for path, leaf in leaves
    }


def describe(arrays: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Shape, dtype and checksum of each array, as JSON holds them."""
    checksums = jax.device_get(_checksums(dict(arrays)))
    return {
        name: {
            "shape": list(x.shape),
            "dtype": str(x.dtype),
            "checksum": int(checksums[name]),
        }
        for name, x in arrays.items()
    }


def differences(saved: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    """One line for each array that is missing, unexpected, or of another shape.

    Args:
      saved: of `describe`.
      here: arrays, or their shapes and dtypes, by name.
    """
    there = {k: f"{x['dtype']}{list(x['shape'])}" for k, x in saved.items()}
    wanted = {k: f"{x.dtype}{list(x.shape)}" for k, x in here.items()}
    return [
        f"{k}: {there.get(k, 'absent')} saved, {wanted.get(k, 'absent')} here"
        for k in sorted({*there, *wanted})
        if there.get(k) != wanted.get(k)
    ]


@jax.jit
def _checksums(arrays: dict[str, jax.Array]) -> dict[str, jax.Array]:
    """Sums of the bits, modulo 2^32: exact, and the same under every sharding."""

    def checksum(array: jax.Array) -> jax.Array:
        bits = array.astype(jnp.uint8) if array.dtype == bool else array
        width = bits.dtype.itemsize * 8
        bits = jax.lax.bitcast_convert_type(bits, jnp.dtype(f"uint{width}"))
        return jnp.sum(bits, dtype=jnp.uint32)

    return {name: checksum(array) for name, array in arrays.items()}
