import jax
import numpy as np
import optax
import pytest
from flax import nnx

from radit_jax.training import mesh as mesh_lib
from radit_jax.training import state as state_lib


@pytest.fixture
def params():
    """A matrix that lies on a 1x4x2 mesh already."""
    mesh = mesh_lib.make_mesh(fsdp=4, tensor=2)
    value = mesh_lib.put(
        np.arange(32, dtype=np.float32).reshape(8, 4),
        mesh_lib.places(mesh)((8, 4), ("embed", "mlp")),
    )
    return mesh, nnx.State({"w": nnx.Param(value, axes=("embed", "mlp"))})


@pytest.mark.parametrize("uses_up", [True, False])
def test_placed_parameters_are_copied_unless_they_are_used_up(params, uses_up):
    mesh, tree = params
    state = state_lib.init_state(tree, optax.sgd(1.0), mesh, uses_up=uses_up)
    mine, theirs = state.params["w"][...], tree["w"][...]
    assert mine.sharding == theirs.sharding
    np.testing.assert_array_equal(mine, theirs)
    jax.jit(lambda x: x + 1, donate_argnums=0)(mine)
    assert theirs.is_deleted() == uses_up


def test_the_state_has_the_shapes_of_its_description(params):
    mesh, tree = params
    tx = optax.adam(1.0)
    made = state_lib.init_state(tree, tx, mesh)
    described = jax.eval_shape(lambda tree: state_lib.initial(tree, tx, 0), tree)
    assert jax.tree.structure(described) == jax.tree.structure(made)
    for one, other in zip(
        jax.tree.leaves(described), jax.tree.leaves(made), strict=True
    ):
        assert (one.shape, one.dtype) == (other.shape, other.dtype)
