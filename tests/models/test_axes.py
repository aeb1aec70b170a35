import jax
import jax.numpy as jnp
import pytest
from jax.sharding import PartitionSpec

from radit_jax.models import axes
from radit_jax.training import mesh as mesh_lib


@pytest.mark.parametrize(
    ("shape", "spec"),
    [((16, 4), PartitionSpec(("data", "fsdp"))), ((6, 4), PartitionSpec())],
)
def test_activations_are_split_by_row_where_rows_divide(shape, spec):
    mesh = mesh_lib.make_mesh(fsdp=4)

    @jax.jit
    def double(x):
        with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
            return axes.constrain(x * 2, "batch", None)

    x = jax.device_put(jnp.ones(shape), mesh_lib.replicated(mesh))
    assert double(x).sharding.spec == spec


def test_without_a_mesh_nothing_is_placed():
    x = jnp.ones((8, 2))
    assert axes.constrain(x, "batch", None) is x
