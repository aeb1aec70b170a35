"""What one training step hands to the next, placed on the mesh."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding

from radit_jax.training import mesh as mesh_lib


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, slots=True)
class TrainState:
    """All that a restart needs of the arithmetic.

    The random stream is a key that never changes: step n draws from
    `state.step_key()`, so that a restored run draws what an unbroken one would.
    """

    step: Any  # int32 scalar: updates done
    params: Any  # `nnx.State` of what learns, float32
    opt_state: Any  # of the optimizer
    rng: Any  # uint32 key data of the run's random stream

    def step_key(self) -> jax.Array:
        """The random key of the update that comes next."""
        return jax.random.fold_in(jax.random.wrap_key_data(self.rng), self.step)


def initial(params: Any, tx: optax.GradientTransformation, seed: int) -> TrainState:
    """The state of step 0; under `jax.eval_shape`, its shapes."""
    rng = jax.random.key_data(jax.random.key(seed))
    return TrainState(jnp.zeros((), jnp.int32), params, tx.init(params), rng)


def init_state(
    params: Any,
    tx: optax.GradientTransformation,
    mesh: Mesh,
    seed: int = 0,
    *,
    uses_up: bool = False,
) -> TrainState:
    """Places the parameters by their `axes` and the optimizer's state to match.

    Args:
      params: `nnx.State` of arrays, the same on every process.
      tx: the gradient transformation.
      mesh: of `make_mesh`.
      seed: of the random stream.
      uses_up: parameters that lie on the mesh already become the state's own, and
        their memory goes to the first update; else the caller's copy stays good.
    """
    placed = place(params, mesh, uses_up=uses_up)
    opt_shardings = mesh_lib.param_shardings(jax.eval_shape(tx.init, placed), mesh)
    whole = mesh_lib.replicated(mesh)
    return TrainState(
        step=mesh_lib.put(np.zeros((), np.int32), whole),
        params=placed,
        opt_state=jax.jit(tx.init, out_shardings=opt_shardings)(placed),
        rng=mesh_lib.put(np.asarray(jax.random.key_data(jax.random.key(seed))), whole),
    )


def abstract(tree: Any) -> Any:
    """Shapes, dtypes and shardings of a tree, without its values."""
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), tree
    )


def place(params: Any, mesh: Mesh, *, uses_up: bool = False) -> Any:
    """Parameters on the mesh by their `axes`; see `init_state`."""
    return jax.tree.map(
        functools.partial(_place, uses_up=uses_up),
        params,
        mesh_lib.param_shardings(params, mesh),
    )


def _place(array: Any, sharding: NamedSharding, uses_up: bool) -> jax.Array:
    if isinstance(array, jax.Array):
        lies_there = array.sharding.is_equivalent_to(sharding, array.ndim)
        if lies_there and uses_up:
            return array
        if lies_there or not array.is_fully_addressable:
            return jax.jit(jnp.copy, out_shardings=sharding)(array)
    return mesh_lib.put(np.asarray(array), sharding)
