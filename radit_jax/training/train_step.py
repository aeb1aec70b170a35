"""One update: summed gradients of micro-batches over their summed weight."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from radit_jax.training import mesh as mesh_lib
from radit_jax.training import optimizer as optimizer_lib
from radit_jax.training import state as state_lib

# (params, micro-batch[, frozen]) -> (loss summed, its weight, other sums to report)
LossFn = Callable[..., tuple[jax.Array, jax.Array, dict[str, jax.Array]]]
StepFn = Callable[[Any, Any], tuple[Any, dict[str, jax.Array]]]


def make_train_step(
    loss_fn: LossFn,
    optimizer: optimizer_lib.Optimizer,
    accumulation_steps: int = 1,
    *,
    mesh: Mesh,
    frozen: Any = None,
    count_fn: Callable[[Any], dict[str, jax.Array]] | None = None,
) -> StepFn:
    """Compiles `(state, batch) -> (state, metrics)`; the state is donated.

    The loss of an update is Σ loss_sum / Σ weight over all micro-batches and devices
    (tokens, queries: what `loss_fn` counts), never a mean of means, so it does not
    depend on how a batch is cut.

    Args:
      loss_fn: returns the *summed* loss of a micro-batch, the weight it was summed
        over, and a dict of further scalar sums, reported over the same weight. It may
        have a method `threaded` that returns this and the parameters as they were
        given: gradients are then summed through it (see `lm_loss`).
      optimizer: of `make_optimizer`.
      accumulation_steps: micro-batches that a batch is cut into; divides it.
      mesh: where the state lives.
      frozen: placed arrays that the loss reads too and that do not learn: they have
        neither gradients nor optimizer state. None: there are none.
      count_fn: batch → further scalars to report as they are.

    Returns:
      The step. Its metrics are scalars: `loss`, `weight`, `gradient_norm` (before
      clipping), `learning_rate`, the means of the further sums, and the counts.

    Raises:
      ValueError: from the step, if the batch cannot be cut evenly.
    """

    def step(state: state_lib.TrainState, batch: Any, frozen: Any = None):
        with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
            return update(state, batch, frozen)

    def update(state: state_lib.TrainState, batch: Any, frozen: Any):
        threaded = getattr(loss_fn, "threaded", None) or _threaded(loss_fn)
        if frozen is not None:
            threaded = functools.partial(threaded, frozen=frozen)
        sums, gradients = _accumulate(
            threaded, state.params, batch, accumulation_steps, mesh
        )
        loss_sum, weight, aux = sums
        # Times, not divided by: XLA then makes it part of what reads the gradients.
        scale = 1 / weight
        gradients = jax.tree.map(lambda g: g * scale, gradients)
        tx = optimizer.transformation
        updates, opt_state = tx.update(gradients, state.opt_state, state.params)
        metrics = {name: value / weight for name, value in aux.items()} | {
            "loss": loss_sum / weight,
            "weight": weight,
            "gradient_norm": optax.tree.norm(gradients),
            "learning_rate": jnp.asarray(optimizer.schedule(state.step), jnp.float32),
        }
        metrics |= {} if count_fn is None else count_fn(batch)
        params = optax.apply_updates(state.params, updates)
        after = state_lib.TrainState(state.step + 1, params, opt_state, state.rng)
        return _pin(after, mesh), jax.lax.with_sharding_constraint(
            metrics, mesh_lib.replicated(mesh)
        )

    jitted = jax.jit(step, donate_argnums=0)
    # An argument rather than a constant of the program, which would hold a copy.
    return jitted if frozen is None else functools.partial(jitted, frozen=frozen)


def _pin(state: state_lib.TrainState, mesh: Mesh) -> state_lib.TrainState:
    # Left to itself the compiler may place the new state otherwise than the old one:
    # nothing could be donated, and the second step would compile again.
    shardings = mesh_lib.param_shardings(state, mesh)
    return jax.lax.with_sharding_constraint(state, shardings)


def _accumulate(threaded: Callable, params: Any, batch: Any, num: int, mesh: Mesh):
    """Sums `((loss_sum, weight, aux), gradients)` over `num` micro-batches."""

    def one(total: Any, micro: Any):
        def loss(params: Any):
            (loss_sum, weight, aux), params = threaded(params, micro)
            sums = loss_sum, jnp.asarray(weight, jnp.float32), aux
            return (loss_sum, params), sums

        (loss_sum, _), backward, sums = jax.vjp(loss, params, has_aux=True)
        # The parameters pass through the loss, and what is given as their cotangent
        # comes back with this micro-batch's gradients in it.
        (total,) = backward((jnp.ones_like(loss_sum), total))
        return total, sums

    zeros = jax.tree.map(jnp.zeros_like, params)
    shardings = mesh_lib.param_shardings(params, mesh)
    zeros = jax.lax.with_sharding_constraint(zeros, shardings)
    if num == 1:
        # Or XLA turns what is added to them into padding, which takes CPUs longer.
        zeros = jax.lax.optimization_barrier(zeros)
        gradients, sums = one(zeros, batch)
        return sums, gradients
    gradients, sums = jax.lax.scan(one, zeros, _cut(batch, num))
    return jax.tree.map(lambda x: jnp.sum(x, axis=0), sums), gradients


def _threaded(loss_fn: LossFn) -> Callable:
    return lambda params, micro, **frozen: (loss_fn(params, micro, **frozen), params)


def _cut(batch: Any, num: int) -> Any:
    """`[b ...] -> [num b/num ...]`: micro-batch j has the rows j, j + num, ...

    Rows are dealt out rather than cut in blocks, so that every device, which holds a
    block of rows, has its share of each micro-batch and none moves.
    """

    def cut(array: jax.Array) -> jax.Array:
        if array.shape[0] % num:
            raise ValueError(
                f"a batch of {array.shape[0]} rows cannot be cut into "
                f"accumulation_steps={num} equal micro-batches; change either."
            )
        rows = array.reshape(array.shape[0] // num, num, *array.shape[1:])
        return jnp.swapaxes(rows, 0, 1)

    return jax.tree.map(cut, batch)
