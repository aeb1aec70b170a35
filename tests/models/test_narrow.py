import jax
import jax.numpy as jnp
import numpy as np
import pytest

from radit_jax.models import narrow

VALUES = jnp.asarray([1.0, -2.5, 1 / 3, 1e30])


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_what_is_packed_comes_back_rounded(dtype):
    packed = narrow.pack(VALUES, dtype)
    assert packed.dtype == narrow.stored(dtype)
    np.testing.assert_array_equal(narrow.unpack(packed), VALUES.astype(dtype))
    np.testing.assert_array_equal(narrow.pack(packed, dtype), packed)


def test_a_part_is_read_without_widening_the_whole():
    stack = narrow.pack(jnp.ones((6, 32, 32)), "bfloat16")

    def summed(stack):
        def step(total, layer):
            return total + narrow.unpack(layer).astype(jnp.float32), None

        return jax.lax.scan(step, jnp.zeros((32, 32)), stack)[0]

    assert "f32[6,32,32]" not in jax.jit(summed).lower(stack).compile().as_text()
