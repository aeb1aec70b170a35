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


TOKENS = np.log(
    np.array(
        [
            [[0.5, 0.02, 0.9], [0.1, 0.3, 0.6], [0.7, 0.2, 0.05], [0.3, 0.3, 0.01]],
            [[0.2, 0.6, 0.1], [0.04, 0.8, 0.5], [0.9, 0.1, 0.3], [0.5, 0.5, 0.5]],
            [[0.1, 0.2, 0.3], [0.4, 0.5, 0.6], [0.7, 0.8, 0.9], [0.1, 0.1, 0.1]],
        ],
        np.float32,
    )
)
TARGETS = np.array([[1, 1, 1], [1, 1, 0], [1, 0, 0]], bool)
LIKELIHOODS = np.exp(LM_SCORES)


def _softmax(x):
    return np.exp(np.float64(x) - x.max()) / np.exp(np.float64(x) - x.max()).sum()


def _rival(name, retriever_scores, mask=MASK, lm=None):
    """A rival with its own temperatures, on scores of the size that suits them."""
    scores = jnp.array(retriever_scores)
    if name == "emdr2":
        tokens = jnp.array(TOKENS if lm is None else lm)
        return losses.emdr2_loss(scores, tokens, jnp.array(TARGETS), jnp.array(mask))
    if name == "pdist":
        lm_scores = jnp.array(LM_SCORES / 50 if lm is None else lm)
        return losses.pdist_loss(scores / 50, lm_scores, jnp.array(mask), width=9)
    likelihoods = jnp.array(LIKELIHOODS if lm is None else lm)
    return losses.replug_lsr_loss(scores / 10, likelihoods, jnp.array(mask))


def _rival_reference(name):
    """Loops, in probabilities and float64; MASK leaves the last query out."""
    values = []
    for b, mask in enumerate(MASK[:2]):
        s, lm = RETRIEVER_SCORES[b][mask], LM_SCORES[b][mask]
        if name == "replug_lsr":
            p, q = _softmax(s / 10 / 0.1), _softmax(np.exp(lm) / 0.1)
            values.append(sum(p * np.log(p / q)))
        elif name == "pdist":
            p, q = _softmax(s / 50 / np.sqrt(9) / 0.01), _softmax(lm / 50 / 0.01)
            values.append(sum(q * np.log(q / p)))
        else:
            p = _softmax(s)
            for t in np.flatnonzero(TARGETS[b]):
                mixed = sum(p * np.exp(np.float64(TOKENS[b][mask][:, t])))
                values.append(-np.log(mixed))
    return np.mean(values)


RIVALS = ("replug_lsr", "pdist", "emdr2")


@pytest.mark.parametrize("name", RIVALS)
def test_rivals_match_loops(name):
    loss = _rival(name, RETRIEVER_SCORES)
    np.testing.assert_allclose(loss, _rival_reference(name), rtol=1e-5)


def test_replug_lsr_by_hand():
    """P_R = (1/4, 3/4), Q_LM = (3/4, 1/4): ¼ ln(1/3) + ¾ ln 3 = ½ ln 3."""
    scores, lm = jnp.array([[0, 0.1 * np.log(3)]]), jnp.array([[0.1 * np.log(3), 0]])
    loss = losses.replug_lsr_loss(scores, lm, jnp.ones((1, 2), bool))
    np.testing.assert_allclose(loss, 0.5 * np.log(3), rtol=1e-5)


def test_pdist_by_hand():
    """p_LM = (1/2, 1/2), p_R = (1/4, 3/4): ½ ln 2 + ½ ln(2/3) = ½ ln(4/3)."""
    scores, lm = jnp.array([[0, 0.02 * np.log(3)]]), jnp.zeros((1, 2))
    loss = losses.pdist_loss(scores, lm, jnp.ones((1, 2), bool), width=4)
    np.testing.assert_allclose(loss, 0.5 * np.log(4 / 3), rtol=1e-5)


def test_emdr2_by_hand():
    """¼ · ½ + ¾ · 1/10 = 0.2."""
    tokens = jnp.log(jnp.array([[[0.5], [0.1]]]))
    scores = jnp.array([[0, np.log(3)]])
    loss = losses.emdr2_loss(
        scores, tokens, jnp.ones((1, 1), bool), jnp.ones((1, 2), bool)
    )
    np.testing.assert_allclose(loss, -np.log(0.2), rtol=1e-5)


def test_emdr2_gradient_is_p_r_minus_the_posterior():
    """∂/∂s of -log Σ p(y_t) p_R is p_R - p(c | y_t), here of one token."""
    scores, tokens = jnp.array(RETRIEVER_SCORES[:1]), jnp.array(TOKENS[:1, :, :1])
    one = jnp.ones((1, 1), bool)
    gradient = jax.grad(
        lambda s: losses.emdr2_loss(s, tokens, one, jnp.ones((1, 4), bool))
    )(scores)
    p_r = _softmax(RETRIEVER_SCORES[0])
    posterior = p_r * np.exp(TOKENS[0, :, 0])
    expected = p_r - posterior / posterior.sum()
    np.testing.assert_allclose(gradient[0], expected, atol=1e-6)


@pytest.mark.parametrize("name", RIVALS)
def test_rivals_gradient_reaches_the_retriever_and_never_the_lm(name):
    lm = {"replug_lsr": LIKELIHOODS, "pdist": LM_SCORES / 50, "emdr2": TOKENS}[name]
    retriever, lm_gradient = jax.grad(
        lambda scores, lm: _rival(name, scores, lm=lm), argnums=(0, 1)
    )(jnp.array(RETRIEVER_SCORES), jnp.array(lm))
    np.testing.assert_array_equal(lm_gradient, np.zeros_like(lm_gradient))
    assert np.all(np.abs(retriever[MASK]) > 1e-5)
    np.testing.assert_array_equal(retriever[~MASK], np.zeros_like(retriever[~MASK]))


@pytest.mark.parametrize("name", RIVALS)
def test_rivals_masked_scores_change_nothing(name):
    lm = {"replug_lsr": LIKELIHOODS, "pdist": LM_SCORES / 50, "emdr2": TOKENS}[name]
    there = MASK if name != "emdr2" else MASK[:, :, None] & TARGETS[:, None]
    loss = _rival(
        name, np.where(MASK, RETRIEVER_SCORES, 1e4), lm=np.where(there, lm, 9)
    )
    assert loss == _rival(name, RETRIEVER_SCORES)
    assert _rival(name, RETRIEVER_SCORES, mask=np.zeros_like(MASK)) == 0


@pytest.mark.parametrize("name", RIVALS)
def test_rivals_extreme_scores_stay_finite(name):
    """Raw DRAGON+ products of several hundred, and answers next to impossible."""
    scores = jnp.array([[700.0, -700.0, 350.0, 699.0], [-300.0, 500.0, 0.0, 800.0]])
    scores *= {"replug_lsr": 10, "pdist": 50, "emdr2": 1}[name]  # as `_rival` divides
    scores = jnp.concatenate([scores, scores[:1]])
    lm = jnp.array([[-400.0, -0.001, -90.0, -3.0], [-1e-6, -500.0, -250.0, 9.0]])
    lm = jnp.concatenate([lm, lm[:1]])
    if name == "replug_lsr":
        lm = jnp.exp(jnp.minimum(lm, 0))
    elif name == "emdr2":
        lm = jnp.repeat(lm[:, :, None], 3, axis=2)
    value, gradient = jax.value_and_grad(lambda s: _rival(name, s, lm=lm))(scores)
    assert np.isfinite(value)
    assert np.all(np.isfinite(gradient))
    assert np.abs(gradient[:2]).max() > 0


def _diagnostics(log_p_r, log_p_lsr, mask):
    with np.errstate(divide="ignore"):
        arrays = (jnp.array(np.log(np.asarray(x))) for x in (log_p_r, log_p_lsr))
        return losses.diagnostics(*arrays, jnp.array(mask))


def test_diagnostics_match_loops():
    p_r, p_lsr = [0.2, 0.5, 0.3, 0.0], [0.1, 0.3, 0.6, 0.0]
    mask = [[True, True, True, False]]
    found = _diagnostics([p_r], [p_lsr], mask)
    p, q = np.array(p_r[:3]), np.array(p_lsr[:3])
    expected = {
        "entropy_p_r": -sum(p * np.log(p)),
        "entropy_p_lsr": -sum(q * np.log(q)),
        "kl_p_r_p_lsr": sum(p * np.log(p / q)),
        "kl_p_lsr_p_r": sum(q * np.log(q / p)),
        "agreement": 0,
        "nearly_uniform": 0,
    }
    assert set(found) == set(expected)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], [value], rtol=1e-5, err_msg=name)


def test_diagnostics_tell_a_uniform_target():
    """Nearly uniform, peaked, one chunk alone, none at all."""
    p_r = [[0.4, 0.3, 0.3]] * 2 + [[1.0, 0, 0], [0, 0, 0]]
    p_lsr = [[0.36, 0.31, 0.33], [0.5, 0.3, 0.2], [1.0, 0, 0], [0, 0, 0]]
    mask = [[True] * 3, [True] * 3, [True, False, False], [False] * 3]
    found = _diagnostics(p_r, p_lsr, mask)
    np.testing.assert_array_equal(found["nearly_uniform"], [1, 0, 1, 0])
    np.testing.assert_array_equal(found["agreement"], [1, 1, 1, 0])
    assert found["kl_p_r_p_lsr"][3] == 0
