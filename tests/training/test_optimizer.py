import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from radit_jax.training import optimizer as optimizer_lib

SETTINGS = {"peak": 0.8, "end": 0.1, "warmup": 4, "num_steps": 10}


def test_schedule_climbs_to_the_peak_and_ends_at_the_end():
    schedule = optimizer_lib.warmup_cosine(0.8, 0.1, 4, 10)
    rates = np.array([schedule(update) for update in range(10)])
    np.testing.assert_allclose(rates[:4], [0.2, 0.4, 0.6, 0.8], rtol=1e-6)
    cosine = 0.1 + 0.7 * (1 + np.cos(np.pi * np.arange(7) / 6)) / 2
    np.testing.assert_allclose(rates[3:], cosine, rtol=1e-6)


def test_a_linear_schedule_falls_by_equal_steps_to_the_end():
    schedule = optimizer_lib.warmup_linear(0.8, 0.1, 4, 10)
    rates = np.array([schedule(update) for update in range(10)])
    climb, fall = [0.2, 0.4, 0.6, 0.8], np.linspace(0.8, 0.1, 7)[1:]
    np.testing.assert_allclose(rates, [*climb, *fall], rtol=1e-6)


def test_the_64_shot_stage_begins_at_its_peak():
    adam = optimizer_lib.make_optimizer(
        peak=1e-5, end=1e-6, warmup=0, num_steps=100, weight_decay=0.1, clip_norm=1.0,
        schedule="linear",
    )  # fmt: skip
    rates = [adam.schedule(update) for update in (0, 33, 99)]
    np.testing.assert_allclose(rates, [1e-5, 7e-6, 1e-6], rtol=1e-6)


@pytest.mark.parametrize("decay", ["warmup_cosine", "warmup_linear"])
@pytest.mark.parametrize(("warmup", "num_steps"), [(0, 1), (1, 1), (3, 3), (0, 5)])
def test_short_schedules_reach_the_peak(decay, warmup, num_steps):
    schedule = getattr(optimizer_lib, decay)(0.8, 0.1, warmup, num_steps)
    assert max(float(schedule(n)) for n in range(num_steps)) == pytest.approx(0.8)


@pytest.mark.parametrize("decay", ["warmup_cosine", "warmup_linear"])
def test_a_warmup_longer_than_the_run_is_refused(decay):
    message = "warmup_steps=200 is more than num_steps=100.*lower warmup_steps"
    with pytest.raises(ValueError, match=message):
        getattr(optimizer_lib, decay)(1e-5, 1e-7, 200, 100)


def _param(*axes):
    return nnx.Param(jnp.ones((2,) * len(axes)), axes=axes)


def test_only_matrices_of_the_layers_decay():
    params = nnx.State(
        {
            "embedding": _param("vocab", "embed"),
            "norm": {"scale": _param("layers", "embed")},
            "query": {
                "weight": _param("layers", "embed", "heads", "head"),
                "bias": _param("layers", "heads", "head"),
            },
        }
    )
    mask = optimizer_lib.decay_mask(params)
    named = {jax.tree_util.keystr(k): v for k, v in jax.tree.leaves_with_path(mask)}
    assert [key for key, decays in named.items() if decays] == ["['query']['weight']"]
    assert len(named) == 4


def test_first_update_is_adamw_with_decay_and_a_clipped_gradient():
    adam = optimizer_lib.make_optimizer(**SETTINGS, weight_decay=0.5, clip_norm=1.0)
    params = nnx.State({"w": _param("embed", "mlp"), "b": _param("mlp")})
    gradients = jax.tree.map(lambda x: jnp.full(x.shape, 30.0), params)
    tx = adam.transformation
    updates, opt_state = tx.update(gradients, tx.init(params), params)
    # Adam's first direction is 1; weight decay adds 0.5 · 1 for the matrix alone.
    np.testing.assert_allclose(updates["w"][...], -0.2 * 1.5, rtol=1e-5)
    np.testing.assert_allclose(updates["b"][...], -0.2, rtol=1e-5)
    moment = opt_state[1][0].mu["w"][...]
    np.testing.assert_allclose(moment, 0.1 * 30 / np.sqrt(6 * 30.0**2), rtol=1e-5)
