import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from radit_jax.models.decoder import DecoderConfig

from .conftest import DECODER, causal_inputs, draw_tokens, make_decoder, run


def test_a_hidden_state_depends_on_no_later_token(decoder):
    graphdef, params = nnx.split(decoder)
    # Token i is at position i alone, so its table row's gradient is the position's.
    inputs = causal_inputs(np.arange(6)[None])

    @jax.jit
    def hidden_at_3(params):
        return nnx.merge(graphdef, params)(*inputs)[0, 3].sum()

    gradient = jax.grad(hidden_at_3)(params)["embedding"][...]
    reached = np.abs(np.asarray(gradient)).max(axis=1) > 0
    np.testing.assert_array_equal(reached[:8], [True] * 4 + [False] * 4)


def test_rows_that_attend_to_nothing_are_finite_and_change_no_other(decoder):
    tokens, positions, mask = causal_inputs(draw_tokens(2, 7))
    padded = mask.at[1, 4:].set(False).at[1, :, 4:].set(False)
    graphdef, params = nnx.split(decoder)

    @jax.jit
    def loss(params, mask):
        hidden = nnx.merge(graphdef, params)(tokens, positions, mask)
        return jnp.sum(jnp.square(hidden)), hidden

    (_, hidden), gradient = jax.value_and_grad(loss, has_aux=True)(params, padded)
    assert np.isfinite(hidden).all()
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))
    whole = run(decoder, tokens, positions, mask)
    np.testing.assert_allclose(hidden[0], whole[0], atol=1e-6)
    np.testing.assert_allclose(hidden[1, :4], whole[1, :4], atol=1e-6)


def test_packed_examples_equal_the_examples_alone(decoder):
    first, second = draw_tokens(1, 4), draw_tokens(1, 7)[:, 4:]
    segments = np.array([1] * 4 + [2] * 3)
    mask = (segments[:, None] == segments) & np.tril(np.ones((7, 7), bool))
    positions = np.array([[0, 1, 2, 3, 0, 1, 2]])
    packed = run(
        decoder,
        jnp.asarray(np.concatenate([first, second], 1)),
        jnp.asarray(positions),
        jnp.asarray(mask[None]),
    )
    alone = [run(decoder, *causal_inputs(tokens)) for tokens in (first, second)]
    np.testing.assert_allclose(packed, np.concatenate(alone, 1), atol=1e-5)


def test_sliding_window_hides_older_tokens(decoder):
    tokens, positions, mask = causal_inputs(draw_tokens(2, 7))
    near = positions[:, :, None] - positions[:, None, :] < 3
    expected = run(decoder, tokens, positions, mask & near)
    windowed_decoder = make_decoder(sliding_window=3)
    windowed = run(windowed_decoder, tokens, positions, mask)
    np.testing.assert_allclose(windowed, expected, atol=1e-6)
    full = run(windowed_decoder, tokens[:, :3], positions[:, :3], mask[:, :3, :3])
    np.testing.assert_allclose(full, expected[:, :3], atol=1e-5)


def test_remat_changes_no_gradient():
    inputs = causal_inputs(draw_tokens(2, 5))

    def gradient(remat):
        graphdef, params = nnx.split(make_decoder(remat=remat))
        return jax.jit(
            jax.grad(lambda p: jnp.sum(nnx.merge(graphdef, p)(*inputs)[:, -1]))
        )(params)

    def close(a, b):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)

    jax.tree.map(close, gradient(True), gradient(False))


def test_bfloat16_stays_near_float32_and_returns_float32():
    hidden = {}
    for dtype in ("float32", "bfloat16"):
        model = make_decoder(compute_dtype=dtype)
        hidden[dtype] = run(model, *causal_inputs(draw_tokens(2, 5)))
        assert hidden[dtype].dtype == jnp.float32
    difference = np.abs(hidden["float32"] - hidden["bfloat16"]).max()
    assert 1e-5 < difference < 0.1


def test_tied_head_is_the_embedding_table():
    tied = make_decoder(tied_head=True)
    assert tied.head_weight is None
    np.testing.assert_array_equal(tied.head, tied.embedding[...])
    hidden = jnp.ones((1, 2, 16))
    np.testing.assert_allclose(
        tied.logits(hidden)[0, 1], np.asarray(tied.head).sum(1), rtol=1e-4, atol=1e-5
    )


def test_uneven_head_groups_are_refused():
    with pytest.raises(ValueError, match="6 query heads cannot share 4"):
        DecoderConfig(**(dataclasses.asdict(DECODER) | {"num_kv_heads": 4}))
