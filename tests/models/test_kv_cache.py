import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from radit_jax.models import kv_cache

from .conftest import DECODER


def test_empty_cache_has_the_models_shape_and_compute_dtype():
    config = dataclasses.replace(DECODER, compute_dtype="bfloat16")
    cache = kv_cache.empty(config, batch=5, length=7)
    assert cache.keys.shape == cache.values.shape == (3, 5, 7, 2, 4)
    assert cache.keys.dtype == jnp.bfloat16
    assert kv_cache.empty(config, 5, 7, "float32").values.dtype == jnp.float32
    assert cache.length == 7


def test_write_replaces_the_slots_from_offset_and_no_others():
    cache = kv_cache.empty(DECODER, batch=1, length=5)
    new = jnp.ones((3, 1, 2, 2, 4))
    written = cache.write(new, 2 * new, 1)
    np.testing.assert_array_equal(written.keys[0, 0, :, 0, 0], [0, 1, 1, 0, 0])
    np.testing.assert_array_equal(written.values[2, 0, :, 1, 3], [0, 2, 2, 0, 0])


def test_more_tokens_than_slots_are_refused():
    cache = kv_cache.empty(DECODER, batch=1, length=5)
    new = jnp.ones((3, 1, 6, 2, 4))
    with pytest.raises(ValueError, match="6 tokens do not fit a cache of 5 slots"):
        cache.write(new, new, 0)
