import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from radit_jax.models import layers

RNG = np.random.default_rng(0)


def normal(*shape):
    return jnp.asarray(RNG.normal(size=shape).astype(np.float32))


@pytest.mark.parametrize(
    ("spec", "x_shape", "w_shape"),
    [
        ("blx,xuv->bluv", (2, 3, 4), (4, 5, 6)),
        ("blxy,xyu->blu", (2, 3, 4, 5), (4, 5, 6)),
        ("blgrc,bsgc->bgrls", (2, 3, 2, 4, 5), (2, 6, 2, 5)),
        ("btd,vd->btv", (2, 3, 4), (7, 4)),
    ],
)
def test_einsum_and_its_gradients_equal_jnp_einsum(spec, x_shape, w_shape):
    x, w = normal(*x_shape), normal(*w_shape)

    def weighted(product):
        return jnp.sum(product * jnp.arange(product.size).reshape(product.shape))

    ours = jax.value_and_grad(
        lambda x, w: weighted(layers.einsum(spec, x, w, "float32")), argnums=(0, 1)
    )
    theirs = jax.value_and_grad(
        lambda x, w: weighted(jnp.einsum(spec, x, w)), argnums=(0, 1)
    )
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-4),
        ours(x, w),
        theirs(x, w),
    )


def test_bfloat16_einsum_rounds_inputs_and_cotangents_and_nothing_else():
    def rounded(a):
        return np.asarray(jnp.asarray(a).astype(jnp.bfloat16).astype(jnp.float32))

    x, w, cotangent = normal(2, 3, 64), normal(64, 5), normal(2, 3, 5)
    product, pull = jax.vjp(
        lambda x, w: layers.einsum("blx,xu->blu", x, w, "bfloat16"), x, w
    )
    x_bar, w_bar = pull(cotangent)
    assert product.dtype == x_bar.dtype == w_bar.dtype == jnp.float32
    expected = np.einsum("blx,xu->blu", rounded(x), rounded(w))
    np.testing.assert_allclose(product, expected, rtol=1e-5, atol=1e-5)
    expected = np.einsum("blu,xu->blx", rounded(cotangent), rounded(w))
    np.testing.assert_allclose(x_bar, expected, rtol=1e-5, atol=1e-5)
    expected = np.einsum("blx,blu->xu", rounded(x), rounded(cotangent))
    np.testing.assert_allclose(w_bar, expected, rtol=1e-5, atol=1e-5)


def test_attend_equals_a_loop_over_heads():
    query, key, value = normal(2, 3, 6, 4), normal(2, 5, 2, 4), normal(2, 5, 2, 4)
    mask = jnp.asarray(RNG.random((2, 3, 5)) < 0.6).at[:, :, 0].set(True)
    expected = np.zeros((2, 3, 6, 4), np.float32)
    for b, i, h in np.ndindex(2, 3, 6):
        g = h // 3
        scores = np.asarray(key[b, :, g] @ query[b, i, h]) / 2.0
        weights = np.where(mask[b, i], np.exp(scores), 0.0)
        expected[b, i, h] = weights / weights.sum() @ np.asarray(value[b, :, g])
    result = layers.attend(query, key, value, mask, "float32")
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-5)


def test_attend_without_any_key_is_the_mean_of_the_values():
    query, key, value = normal(1, 2, 2, 4), normal(1, 3, 2, 4), normal(1, 3, 2, 4)
    result = layers.attend(query, key, value, jnp.zeros((1, 2, 3), bool), "float32")
    expected = np.broadcast_to(np.asarray(value).mean(1, keepdims=True), (1, 2, 2, 4))
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-6)


def test_rotary_scores_depend_on_the_distance_only():
    query, key = normal(1, 1, 1, 8), normal(1, 1, 1, 8)
    frequencies = layers.rope_frequencies(8, 100.0, None)

    def score(i, j):
        at = [
            layers.rope_table(jnp.array([[position]]), frequencies)
            for position in (i, j)
        ]
        rotated = layers.rotate(query, at[0]) * layers.rotate(key, at[1])
        return float(rotated.sum())

    assert score(7, 3) == pytest.approx(score(24, 20), abs=1e-5)
    assert score(7, 3) != pytest.approx(score(3, 7), abs=1e-2)


def test_rope_frequencies_follow_their_definitions():
    plain = layers.rope_frequencies(8, 10_000.0, None)
    np.testing.assert_allclose(plain, [1, 1e-1, 1e-2, 1e-3], rtol=1e-6)
    linear = layers.RopeScaling("linear", 4.0)
    np.testing.assert_allclose(
        layers.rope_frequencies(8, 10_000.0, linear), plain / 4, rtol=1e-6
    )
    # Wavelengths 6, 63, 628 and 6283 tokens. With 400 pre-training tokens, 2 to 8
    # turns are the passage: 63 turns are kept, 6.4 mixed, 0.6 and 0.06 divided.
    llama3 = layers.RopeScaling("llama3", 8.0, 2.0, 8.0, 400)
    turns = 400 * 0.1 / (2 * np.pi)
    keep = (turns - 2) / 6
    expected = [1, 0.1 * (keep + (1 - keep) / 8), 1e-2 / 8, 1e-3 / 8]
    np.testing.assert_allclose(
        layers.rope_frequencies(8, 10_000.0, llama3), expected, rtol=1e-5
    )


def test_parameters_name_their_axes():
    projection = layers.Projection(
        3,
        (("embed", 4),),
        (("heads", 2), ("head", 5)),
        bias=True,
        dtype="float32",
        rngs=nnx.Rngs(0),
    )
    assert projection.weight.shape == (3, 4, 2, 5)
    assert projection.weight.get_metadata("axes") == (
        "layers",
        "embed",
        "heads",
        "head",
    )
    assert projection.bias.get_metadata("axes") == ("layers", "heads", "head")
    first, second = np.asarray(projection.weight[...])[:2]
    assert np.abs(first - second).max() > 0.01  # layers are drawn independently
