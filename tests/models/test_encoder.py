import jax
import jax.numpy as jnp
import numpy as np
import pytest

from radit_jax.models.encoder import pool

from .conftest import draw_tokens, run


def test_padding_changes_no_real_token(encoder):
    ids = jnp.asarray(draw_tokens(2, 6, 30))
    mask = jnp.asarray(np.arange(6) < np.array([[6], [4]]))
    padded = run(encoder, ids, mask)
    alone = run(encoder, ids[1:, :4], jnp.ones((1, 4), bool))
    np.testing.assert_allclose(padded[1, :4], alone[0], atol=1e-5)
    assert np.isfinite(padded).all()


def test_texts_beyond_the_position_table_are_refused(encoder):
    with pytest.raises(ValueError, match="10 tokens exceed this encoder's 9"):
        encoder(jnp.zeros((1, 10), jnp.int32), jnp.ones((1, 10), bool))


def test_pool_takes_the_first_token_or_the_mean_of_the_real_ones():
    hidden = jnp.asarray(draw_tokens(2, 5 * 3).reshape(2, 5, 3).astype(np.float32))
    mask = jnp.asarray(np.arange(5) < np.array([[5], [2]]))
    np.testing.assert_array_equal(pool(hidden, mask, "cls", False), hidden[:, 0])
    mean = pool(hidden, mask, "mean", False)
    np.testing.assert_allclose(mean[0], np.asarray(hidden[0]).mean(0), rtol=1e-6)
    np.testing.assert_allclose(mean[1], np.asarray(hidden[1, :2]).mean(0), rtol=1e-6)


def test_normalised_vectors_have_length_one_and_a_gradient_at_zero():
    hidden = jnp.asarray([[[3.0, 4.0]], [[0.0, 0.0]]])
    mask = jnp.ones((2, 1), bool)
    unit = pool(hidden, mask, "cls", True)
    np.testing.assert_allclose(unit, [[0.6, 0.8], [0.0, 0.0]], rtol=1e-6)
    gradient = jax.grad(lambda h: pool(h, mask, "cls", True)[:, 0].sum())(hidden)
    assert np.isfinite(gradient).all()


def test_unknown_pooling_is_refused():
    with pytest.raises(ValueError, match=r"pooling is 'max'; choose one of"):
        pool(jnp.ones((1, 2, 3)), jnp.ones((1, 2), bool), "max", False)
