import jax
import jax.numpy as jnp
import numpy as np

from radit_jax.ops import ensemble


def test_retrieval_log_softmax_matches_numpy():
    scores = np.array([[3.0, -1.0, 0.5], [2.0, 9.0, 4.0]], np.float32)
    mask = np.array([[True, True, True], [True, False, True]])
    weights = np.exp(scores / 2.0) * mask
    expected = weights / weights.sum(-1, keepdims=True)
    log_p_r = ensemble.retrieval_log_softmax(jnp.array(scores), jnp.array(mask), 2.0)
    np.testing.assert_allclose(np.exp(log_p_r), expected, atol=1e-6)
    assert log_p_r[1, 1] == -jnp.inf


def test_retrieval_log_softmax_of_a_query_without_chunks_is_not_nan():
    scores, mask = jnp.array([[3.0, 4.0]]), jnp.zeros((1, 2), bool)

    def total(scores):
        log_p_r = ensemble.retrieval_log_softmax(scores, mask)
        return jnp.sum(jnp.exp(log_p_r))

    with jax.debug_nans(True):  # not even hidden behind a `where`
        assert total(scores) == 0
        np.testing.assert_array_equal(jax.grad(total)(scores), [[0, 0]])


def test_mix_answers_by_hand():
    """0.5·0.75 + 0.1·0.25 = 0.4 and 0.2·0.75 + 0.8·0.25 = 0.35."""
    answers = jnp.log(jnp.array([[[0.5, 0.1], [0.2, 0.8]]]))
    mixed = ensemble.mix_answers(answers, jnp.log(jnp.array([[0.75, 0.25]])))
    np.testing.assert_allclose(np.exp(mixed), [[0.4, 0.35]], atol=1e-6)


def test_mix_answers_matches_a_loop_and_ignores_masked_chunks():
    rng = np.random.default_rng(0)
    answers = rng.normal(size=(3, 4, 5)).astype(np.float32) * 50 - 100
    scores = rng.normal(size=(3, 5)).astype(np.float32)
    mask = np.array([[1, 1, 1, 1, 1], [1, 0, 1, 0, 1], [0, 0, 0, 1, 0]], bool)
    log_p_r = ensemble.retrieval_log_softmax(jnp.array(scores), jnp.array(mask))
    expected = np.empty((3, 4))
    for b in range(3):
        total = sum(np.exp(np.float64(scores[b, k])) for k in range(5) if mask[b, k])
        for a in range(4):
            expected[b, a] = np.log(
                sum(
                    np.exp(np.float64(answers[b, a, k]) + scores[b, k]) / total
                    for k in range(5)
                    if mask[b, k]
                )
            )
    mixed = ensemble.mix_answers(jnp.array(answers), log_p_r)
    np.testing.assert_allclose(mixed, expected, rtol=1e-5)


def test_mix_answers_survives_probabilities_below_the_smallest_float():
    mixed = ensemble.mix_answers(
        jnp.array([[[-900.0, -800.0]]]), jnp.log(jnp.array([[0.5, 0.5]]))
    )
    np.testing.assert_allclose(mixed, [[-800.0 - np.log(2)]], rtol=1e-6)


def test_mix_tokens_stays_a_distribution():
    rng = np.random.default_rng(1)
    log_probs = jax.nn.log_softmax(jnp.array(rng.normal(size=(2, 3, 7)), jnp.float32))
    log_p_r = jnp.log(jnp.array([[0.2, 0.5, 0.3], [0.0, 1.0, 0.0]]))
    mixed = ensemble.mix_tokens(log_probs, log_p_r)
    expected = np.einsum("bkv,bk->bv", np.exp(log_probs), np.exp(log_p_r))
    np.testing.assert_allclose(np.exp(mixed), expected, atol=1e-6)
    np.testing.assert_allclose(np.exp(mixed).sum(-1), [1, 1], atol=1e-6)
    np.testing.assert_allclose(mixed[1], log_probs[1, 1], atol=1e-6)
