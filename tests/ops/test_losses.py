import jax
import jax.numpy as jnp
import numpy as np
import pytest

from radit_jax.ops import losses

RETRIEVER_SCORES = np.array(
    [[3.0, 1.0, -2.0, 0.5], [0.1, 0.7, 0.2, 9.0], [1.0, 2.0, 3.0, 4.0]], np.float32
)
LM_SCORES = np.array(
    [[-1.2, -0.3, -0.9, -2.0], [-0.5, -0.1, -3.0, 0.0], [-1.0, -9.0, -2.0, -1.0]],
    np.float32,
)
MASK = np.array([[1, 1, 1, 1], [1, 1, 1, 0], [0, 0, 0, 0]], bool)


def _reference(direction, lm_temperature, retriever_temperature):
    """Eq. 4 and 5 with loops, in probabilities and float64."""
    divergences = []
    for s, lm, mask in zip(RETRIEVER_SCORES, LM_SCORES, MASK, strict=True):
        if not mask.any():
            continue
        p = np.exp(np.float64(s[mask]) / retriever_temperature)
        q = np.exp(np.float64(lm[mask]) / lm_temperature)
        p, q = p / p.sum(), q / q.sum()
        if direction == "reverse":
            p, q = q, p
        divergences.append(sum(x * np.log(x / y) for x, y in zip(p, q, strict=True)))
    return np.mean(divergences)


def _loss(retriever_scores, lm_scores=LM_SCORES, mask=MASK, **kwargs):
    kwargs = {"lm_temperature": 0.5, **kwargs}
    return losses.lsr_loss(
        jnp.array(retriever_scores), jnp.array(lm_scores), jnp.array(mask), **kwargs
    )


def test_next_token_loss_counts_masked_tokens_out():
    log_likelihood = jnp.array([[-1.0, -2.0, jnp.nan], [-4.0, -8.0, -16.0]])
    mask = jnp.array([[True, True, False], [False, True, False]])
    loss, num_tokens = losses.next_token_loss(log_likelihood, mask)
    assert (loss, num_tokens) == (11.0, 3.0)
    gradient = jax.grad(lambda x: losses.next_token_loss(x, mask)[0])(log_likelihood)
    np.testing.assert_array_equal(gradient, np.where(mask, -1, 0))


def test_next_token_loss_sums_bfloat16_in_float32():
    """bfloat16 cannot count past 256, and a row of 2,048 tokens does."""
    log_likelihood = jnp.full((1, 2048), -1.0, jnp.bfloat16)
    loss, num_tokens = losses.next_token_loss(log_likelihood, jnp.ones((1, 2048), bool))
    assert (loss, num_tokens) == (2048.0, 2048.0)


@pytest.mark.parametrize("direction", losses.DIRECTIONS)
@pytest.mark.parametrize("retriever_temperature", [1.0, 3.0])
def test_lsr_loss_matches_loops(direction, retriever_temperature):
    expected = _reference(direction, 0.5, retriever_temperature)
    loss = _loss(
        RETRIEVER_SCORES,
        direction=direction,
        retriever_temperature=retriever_temperature,
    )
    np.testing.assert_allclose(loss, expected, rtol=1e-5)


def test_lsr_loss_by_hand():
    """½ ln(½ / ¾) + ½ ln(½ / ¼) = ½ ln(4/3), and ¾ ln(3/2) + ¼ ln(1/2) reversed."""
    lm_scores = [[0.0, -0.01 * np.log(3)]]
    kwargs = {"lm_scores": lm_scores, "mask": [[True, True]], "lm_temperature": 0.01}
    forward = _loss([[0.0, 0.0]], **kwargs)
    np.testing.assert_allclose(forward, 0.5 * np.log(4 / 3), rtol=1e-5)
    reverse = _loss([[0.0, 0.0]], direction="reverse", **kwargs)
    np.testing.assert_allclose(
        reverse, 0.75 * np.log(1.5) + 0.25 * np.log(0.5), rtol=1e-5
    )


def test_lsr_loss_is_zero_where_both_distributions_agree():
    loss = _loss(LM_SCORES / 0.5 + 7)
    np.testing.assert_allclose(loss, 0, atol=1e-6)


@pytest.mark.parametrize("direction", losses.DIRECTIONS)
def test_gradient_reaches_the_retriever_and_never_the_lm(direction):
    def loss(retriever_scores, lm_scores):
        return _loss(retriever_scores, lm_scores, direction=direction)

    retriever, lm = jax.grad(loss, argnums=(0, 1))(
        jnp.array(RETRIEVER_SCORES), jnp.array(LM_SCORES)
    )
    np.testing.assert_array_equal(lm, np.zeros_like(lm))
    assert np.all(np.abs(retriever[MASK]) > 1e-4)
    np.testing.assert_array_equal(retriever[~MASK], np.zeros_like(retriever[~MASK]))


@pytest.mark.parametrize("direction", losses.DIRECTIONS)
def test_gradient_matches_finite_differences(direction):
    gradient = jax.grad(lambda s: _loss(s, direction=direction))(
        jnp.array(RETRIEVER_SCORES)
    )
    for b, k in [(0, 0), (0, 3), (1, 1)]:
        step = np.zeros_like(RETRIEVER_SCORES)
        step[b, k] = 1e-2
        difference = _loss(RETRIEVER_SCORES + step, direction=direction) - _loss(
            RETRIEVER_SCORES - step, direction=direction
        )
        np.testing.assert_allclose(gradient[b, k], difference / 2e-2, atol=2e-3)


def test_reverse_gradient_is_p_r_minus_p_lsr():
    log_p_r, log_p_lsr = losses.lsr_distributions(
        jnp.array(RETRIEVER_SCORES),
        jnp.array(LM_SCORES),
        jnp.array(MASK),
        lm_temperature=0.5,
    )
    gradient = jax.grad(lambda s: _loss(s, direction="reverse"))(
        jnp.array(RETRIEVER_SCORES)
    )
    expected = (np.exp(log_p_r) - np.exp(log_p_lsr)) / 2  # two queries have chunks
    np.testing.assert_allclose(gradient, expected, atol=1e-6)


@pytest.mark.parametrize("direction", losses.DIRECTIONS)
def test_extreme_scores_stay_finite(direction):
    """Raw dot products of several hundred and τ = 0.01: exponents beyond ±10,000."""
    scores = [[700.0, -700.0, 350.0, 699.0], [-300.0, 500.0, 0.0, 800.0]]
    lm_scores = [[-400.0, -0.001, -90.0, -3.0], [-1e-6, -500.0, -250.0, 9.0]]

    def loss(scores):
        return _loss(
            scores, lm_scores, MASK[:2], lm_temperature=0.01, direction=direction
        )

    value, gradient = jax.value_and_grad(loss)(jnp.array(scores))
    assert np.isfinite(value)
    assert value > 100
    assert np.all(np.isfinite(gradient))
    assert gradient[1, 3] == 0


def test_masked_scores_change_nothing():
    changed = np.where(MASK, RETRIEVER_SCORES, 1e4)
    lm_changed = np.where(MASK, LM_SCORES, -1e4)
    assert _loss(changed, lm_changed) == _loss(RETRIEVER_SCORES)


def test_no_chunks_at_all_is_zero():
    assert _loss(RETRIEVER_SCORES, mask=np.zeros_like(MASK)) == 0


def test_unknown_direction():
    with pytest.raises(ValueError, match="direction is 'sideways'; choose one of"):
        _loss(RETRIEVER_SCORES, direction="sideways")
