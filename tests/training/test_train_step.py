import jax
import numpy as np
import pytest
from flax import nnx

from radit_jax.training import mesh as mesh_lib
from radit_jax.training import state as state_lib

from . import toy


def _update(accumulation_steps):
    step_fn, state, mesh = toy.problem(accumulation_steps=accumulation_steps)
    batch = next(toy.Batches())
    return step_fn(state, mesh_lib.put_batch(batch, mesh))


def test_micro_batches_of_unequal_weight_equal_one_batch():
    mask = next(toy.Batches())["mask"]
    assert mask[0::2].sum() != mask[1::2].sum()  # else a mean of means would pass
    whole, whole_metrics = _update(1)
    for number in (2, 4, 8):
        cut, cut_metrics = _update(number)
        for name, value in whole_metrics.items():
            np.testing.assert_allclose(cut_metrics[name], value, rtol=1e-6)
        # Adam's first moment is the clipped gradient itself.
        for one, other in zip(
            jax.tree.leaves(whole.opt_state), jax.tree.leaves(cut.opt_state), strict=1
        ):
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_metrics_are_those_of_numpy():
    batch = next(toy.Batches())
    graphdef, params = nnx.split(toy.Linear(nnx.Rngs(3)))
    weight = np.asarray(params["weight"][...])
    error = (batch["x"] @ weight - batch["y"])[batch["mask"]]
    gradient = batch["x"][batch["mask"]].T @ (2 * error) / len(error)
    norm = np.sqrt((gradient**2).sum() + ((2 * error).mean(0) ** 2).sum())

    _, metrics = _update(1)
    assert float(metrics["weight"]) == len(error) == 5
    np.testing.assert_allclose(metrics["loss"], (error**2).sum() / 5, rtol=1e-5)
    np.testing.assert_allclose(metrics["error"], np.abs(error).sum() / 5, rtol=1e-5)
    np.testing.assert_allclose(metrics["gradient_norm"], norm, rtol=1e-5)
    np.testing.assert_allclose(metrics["learning_rate"], 0.1, rtol=1e-6)


def test_the_state_is_donated_and_the_callers_parameters_are_not():
    mesh = mesh_lib.make_mesh()
    graphdef, params = nnx.split(toy.Linear(nnx.Rngs(3)))
    before = np.array(params["weight"][...])
    state = state_lib.init_state(params, toy.optimizer().transformation, mesh)
    step_fn, _, _ = toy.problem(mesh)
    after, _ = step_fn(state, mesh_lib.put_batch(next(toy.Batches()), mesh))
    assert state.params["weight"].get_value().is_deleted()
    np.testing.assert_array_equal(params["weight"][...], before)
    assert not np.array_equal(after.params["weight"][...], before)


def test_a_batch_that_cannot_be_cut_is_refused():
    message = "8 rows cannot be cut into accumulation_steps=3"
    with pytest.raises(ValueError, match=message):
        _update(3)


def test_step_keys_differ_by_step_and_by_seed():
    def draw(state):
        return float(jax.random.uniform(state.step_key()))

    _, state, mesh = toy.problem()
    tx = toy.optimizer().transformation
    other = state_lib.init_state(state.params, tx, mesh, seed=8)
    later = state_lib.TrainState(state.step + 1, (), (), state.rng)
    assert len({draw(state), draw(other), draw(later)}) == 3
