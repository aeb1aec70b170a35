import functools
import re

import jax
import jax.extend
import jax.numpy as jnp
import numpy as np
import pytest

from radit_jax.ops import likelihood

BATCH, TARGETS, WIDTH, WORDS = 3, 7, 5, 11


def _inputs(batch=BATCH, targets=TARGETS, width=WIDTH, words=WORDS):
    rng = np.random.default_rng(0)
    hidden = jnp.array(rng.normal(size=(batch, targets, width)), jnp.float32)
    head = jnp.array(rng.normal(size=(words, width)), jnp.float32)
    return hidden, head, jnp.array(rng.integers(words, size=(batch, targets)))


def _plain(hidden, head, targets):
    logits = jnp.einsum("btd,vd->btv", hidden, head)
    log_probs = jax.nn.log_softmax(logits)
    return jnp.take_along_axis(log_probs, targets[..., None], axis=-1)[..., 0]


def _weighted(function, weights):
    return lambda hidden, head, targets: jnp.sum(
        weights * function(hidden, head, targets)
    )


def test_token_log_likelihood_matches_a_loop():
    hidden, head, targets = _inputs()
    expected = np.empty((BATCH, TARGETS))
    for b in range(BATCH):
        for t in range(TARGETS):
            logits = np.float64(head) @ np.float64(hidden[b, t])
            expected[b, t] = logits[targets[b, t]] - np.log(np.exp(logits).sum())
    result = likelihood.token_log_likelihood(hidden, head, targets, block_tokens=6)
    np.testing.assert_allclose(result, expected, atol=1e-5)


@pytest.mark.parametrize("block_tokens", [1, 3, 6, 9, 21, 512])
def test_block_size_changes_neither_value_nor_gradient(block_tokens):
    hidden, head, targets = _inputs()
    weights = jnp.arange(BATCH * TARGETS, dtype=jnp.float32).reshape(BATCH, TARGETS)
    ours = functools.partial(likelihood.token_log_likelihood, block_tokens=block_tokens)
    np.testing.assert_allclose(
        ours(hidden, head, targets), _plain(hidden, head, targets), atol=1e-5
    )
    gradients = jax.grad(_weighted(ours, weights), (0, 1))(hidden, head, targets)
    expected = jax.grad(_weighted(_plain, weights), (0, 1))(hidden, head, targets)
    np.testing.assert_allclose(gradients[0], expected[0], atol=1e-4)
    np.testing.assert_allclose(gradients[1], expected[1], atol=1e-4)


def test_no_targets():
    hidden, head, targets = _inputs(targets=0)
    result = likelihood.token_log_likelihood(hidden, head, targets)
    assert result.shape == (BATCH, 0)


def test_extreme_logits_stay_finite():
    hidden, head, targets = _inputs()
    value, gradient = jax.value_and_grad(
        lambda hidden: jnp.sum(likelihood.token_log_likelihood(hidden, head, targets))
    )(hidden * 1e4)
    assert np.isfinite(value)
    assert np.all(np.isfinite(gradient))


def test_bfloat16_products_give_float32_results_near_the_float32_ones():
    hidden, head, targets = _inputs()
    ours = functools.partial(
        likelihood.token_log_likelihood, block_tokens=6, dtype=jnp.bfloat16
    )
    result = ours(hidden, head, targets)
    assert result.dtype == jnp.float32
    np.testing.assert_allclose(result, _plain(hidden, head, targets), atol=0.1)
    weights = jnp.ones((BATCH, TARGETS))
    gradients = jax.grad(_weighted(ours, weights), (0, 1))(hidden, head, targets)
    expected = jax.grad(_weighted(_plain, weights), (0, 1))(hidden, head, targets)
    for gradient, reference in zip(gradients, expected, strict=True):
        assert gradient.dtype == jnp.float32
        np.testing.assert_allclose(gradient, reference, atol=0.1)


def test_bfloat16_head_sums_its_gradient_over_blocks_in_float32():
    """400 blocks of 1/16 reach 25; added in bfloat16 they stall at 16."""
    hidden = jnp.ones((1, 400, 1), jnp.bfloat16)
    head = jnp.zeros((16, 1), jnp.bfloat16)
    targets = jnp.zeros((1, 400), jnp.int32)
    gradient = jax.grad(
        lambda head: jnp.sum(
            likelihood.token_log_likelihood(hidden, head, targets, block_tokens=1)
        )
    )(head)
    np.testing.assert_allclose(np.float32(gradient[5, 0]), -25, rtol=1e-2)


def _array_sizes(jaxpr):
    """Elements of every array that a program computes, inner programs included."""
    for equation in jaxpr.eqns:
        for variable in equation.outvars:
            yield variable.aval.size
        for inner in jax.extend.core.jaxprs_in_params(equation.params):
            yield from _array_sizes(inner)


def test_all_logits_are_never_held():
    hidden, head, targets = _inputs(batch=4, targets=64, width=8, words=1000)

    def loss(hidden, head):
        return jnp.sum(
            likelihood.token_log_likelihood(hidden, head, targets, block_tokens=16)
        )

    step = jax.value_and_grad(loss, argnums=(0, 1))
    all_logits = 4 * 64 * 1000
    largest = max(_array_sizes(jax.make_jaxpr(step)(hidden, head).jaxpr))
    assert largest == 16 * 1000  # the logits of one block
    compiled = jax.jit(step).lower(hidden, head).compile().memory_analysis()
    assert compiled.temp_size_in_bytes < 4 * all_logits / 2


def test_a_batch_cut_over_devices_gives_the_same():
    hidden, head, targets = _inputs(batch=8)
    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    rows = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
    step = jax.jit(
        jax.value_and_grad(
            lambda *inputs: jnp.sum(
                likelihood.token_log_likelihood(*inputs, block_tokens=16)
            ),
            argnums=(0, 1),
        )
    )
    alone = step(hidden, head, targets)
    hidden, targets = jax.device_put((hidden, targets), rows)
    shared = step(hidden, head, targets)
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, atol=1e-5), alone, shared
    )
    assert shared[1][0].sharding.is_equivalent_to(rows, 3)


def test_no_device_holds_the_whole_gradient_of_the_head(monkeypatch):
    monkeypatch.setattr(likelihood, "_WORDS", 16)
    hidden, head, targets = _inputs(batch=8, words=40, width=24)
    auto = (jax.sharding.AxisType.Auto,)
    mesh = jax.make_mesh((8,), ("fsdp",), axis_types=auto)
    rows, whole, columns = (
        jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(*axes))
        for axes in (("fsdp",), (), (None, "fsdp"))
    )

    def loss(hidden, head, targets, scatter=None):
        return jnp.sum(
            likelihood.token_log_likelihood(
                hidden, head, targets, block_tokens=16, scatter=scatter
            )
        )

    expected = jax.grad(loss, (0, 1))(hidden, head, targets)
    inputs = jax.device_put((hidden, head, targets), (rows, whole, rows))

    def scatter(gradient):
        return jax.lax.with_sharding_constraint(gradient, columns)

    step = jax.jit(jax.grad(functools.partial(loss, scatter=scatter), (0, 1)))
    found = step(*inputs)
    assert found[1].sharding.is_equivalent_to(columns, 2)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
    hlo = step.lower(*inputs).compile().as_text()
    summed = re.findall(r" f32\[(\d+),24\]\S* (?:all-reduce|reduce-scatter)\(", hlo)
    assert set(summed) == {"16", "8"}, hlo  # of 40 words, 16 at a time


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("mean_log_likelihood", [np.log(1 / 16) / 2, np.log(0.3), 0]),
        ("log_likelihood", [np.log(1 / 16), np.log(0.3), 0]),
        ("likelihood", [1 / 16, 0.3, 1]),
        ("mean_likelihood", [1 / 4, 0.3, 1]),
    ],
)
def test_sequence_score_by_hand(form, expected):
    """Tokens of probability 0.5 and 0.125; one of 0.3; none."""
    probability = jnp.array([[0.5, 0.9, 0.125], [0.3, 0.8, 0.7], [0.2, 0.2, 0.2]])
    mask = jnp.array([[1, 0, 1], [1, 0, 0], [0, 0, 0]], bool)
    score = likelihood.sequence_score(jnp.log(probability), mask, form)
    np.testing.assert_allclose(score, expected, rtol=1e-5)


def test_sequence_score_takes_leading_axes():
    score = likelihood.sequence_score(
        jnp.full((2, 3, 4), -1.5), jnp.ones((2, 3, 4), bool), "log_likelihood"
    )
    np.testing.assert_array_equal(score, np.full((2, 3), -6.0))


def test_unknown_form():
    with pytest.raises(ValueError, match="form is 'perplexity'; choose one of"):
        likelihood.sequence_score(
            jnp.zeros((1, 2)), jnp.ones((1, 2), bool), "perplexity"
        )


@pytest.mark.parametrize("num_parts", [1, 2, 4])
def test_masked_positions_change_nothing_and_take_no_time(num_parts):
    hidden, head, targets = _inputs(batch=4)
    mask = jnp.array(np.random.default_rng(1).random(targets.shape) < 0.3)
    assert mask.sum(1).min() < mask.sum(1).max()  # rows are unlike
    # What is not computed cannot be wrong: blocks without targets see NaN.
    hidden = jnp.where(mask[..., None], hidden, jnp.nan)

    def loss(function, hidden, head):
        found = function(hidden, head)
        return jnp.sum(jnp.where(mask, found, 0.0) * jnp.arange(TARGETS)[None])

    def ours(hidden, head):
        settings = {"mask": mask, "block_tokens": 1, "num_parts": num_parts}
        return likelihood.token_log_likelihood(hidden, head, targets, **settings)

    def plain(hidden, head):
        return _plain(jnp.where(mask[..., None], hidden, 0.0), head, targets)

    value = jax.value_and_grad(functools.partial(loss, ours), (0, 1))
    expected = jax.value_and_grad(functools.partial(loss, plain), (0, 1))(hidden, head)
    if num_parts > 1:  # other parts have more targets: some of the masked are computed
        hidden = jnp.where(mask[..., None], hidden, 0.0)
    found = value(hidden, head)
    for one, other in zip(
        jax.tree.leaves(found), jax.tree.leaves(expected), strict=True
    ):
        np.testing.assert_allclose(one, other, atol=1e-4)


def test_a_block_is_as_large_as_memory_allows():
    assert likelihood.block_tokens_of(32_000, 16e9) == 1280
    assert likelihood.block_tokens_of(32_000, 95e9) == 7680
    assert likelihood.block_tokens_of(150_000, 1e9) == 128
