import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from radit_jax.models import cpu_products


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    ("spec", "left", "right"),
    [
        ("blx,bluv->xuv", (2, 32, 7), (2, 32, 3, 5)),
        ("blxy,blu->xyu", (2, 32, 4, 3), (2, 32, 6)),
    ],
)
def test_gradients_are_those_of_einsum(spec, left, right, dtype):
    rng = np.random.default_rng(0)
    operands = [jnp.asarray(rng.normal(size=s), dtype) for s in (left, right)]
    product = jax.jit(cpu_products.of(spec, *operands))
    expected = jnp.einsum(spec, *operands, preferred_element_type=jnp.float32)
    np.testing.assert_allclose(product(*operands), expected, rtol=1e-5, atol=1e-4)


def test_what_an_operand_is_made_of_is_computed_as_it_lies():
    x, cotangent = jnp.ones((2, 32, 6)), jnp.ones((2, 32, 8), jnp.bfloat16)
    product = cpu_products.of("blx,blu->xu", x.astype(jnp.bfloat16), cotangent)

    def gradient(x, cotangent):
        return product((jax.nn.silu(x) * x).astype(jnp.bfloat16), cotangent)

    def is_mixed(computation):
        is_turned = " transpose(" in computation or " copy(" in computation
        return is_turned and " multiply(" in computation

    hlo = jax.jit(gradient).lower(x, cotangent).compile().as_text()
    assert " multiply(" in hlo
    assert not any(map(is_mixed, hlo.split("\n\n"))), hlo


def test_what_cannot_be_turned_in_chunks_is_left_alone():
    small = jnp.ones((2, 3, 64), jnp.bfloat16), jnp.ones((2, 3, 5), jnp.bfloat16)
    assert cpu_products.of("blx,blu->xu", *small) is None
    assert cpu_products.of("bqc,bkc->bqk", *small) is None
    assert cpu_products.of("blx,xu->blu", jnp.ones((2, 32, 7)), small[0][0]) is None


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_narrower_operand_is_turned(dtype):
    operands = jnp.ones((2, 32, 8), dtype), jnp.ones((2, 32, 6), dtype)
    product = jax.jit(cpu_products.of("blx,blu->xu", *operands))
    hlo = product.lower(*operands).compile().as_text()
    assert re.search(r" f32\[6,8\]\S* dot\(", hlo), hlo
    assert not re.search(r" f32\[8,6\]\S* dot\(", hlo), hlo


def test_other_types_are_left_alone():
    x, cotangent = jnp.ones((2, 32, 7)), jnp.ones((2, 32, 3))
    assert cpu_products.of("blx,blu->xu", x.astype(jnp.bfloat16), cotangent) is None
    of_float16 = x.astype(jnp.float16), cotangent.astype(jnp.float16)
    assert cpu_products.of("blx,blu->xu", *of_float16) is None
