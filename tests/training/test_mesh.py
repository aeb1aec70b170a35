import logging

import jax
import numpy as np
import optax
import pytest
from flax import nnx
from jax.sharding import PartitionSpec

from radit_jax.training import mesh as mesh_lib


@pytest.mark.parametrize(
    ("fsdp", "tensor", "shape"),
    [(1, 1, (8, 1, 1)), (8, 1, (1, 8, 1)), (2, 2, (2, 2, 2)), (1, 4, (2, 1, 4))],
)
def test_what_is_left_over_is_data_parallel(fsdp, tensor, shape):
    mesh = mesh_lib.make_mesh(fsdp, tensor)
    assert mesh.axis_names == ("data", "fsdp", "tensor")
    assert mesh.devices.shape == shape


@pytest.mark.parametrize(("fsdp", "tensor"), [(3, 1), (4, 4), (0, 1)])
def test_devices_that_do_not_divide_are_refused(fsdp, tensor):
    message = f"fsdp={fsdp} and tensor={tensor} .* there are 8; choose"
    with pytest.raises(ValueError, match=message):
        mesh_lib.make_mesh(fsdp, tensor)


@pytest.mark.parametrize(
    ("shape", "axes", "spec"),
    [
        ((3, 8, 16), ("layers", "embed", "mlp"), (None, "fsdp", "tensor")),
        ((8, 6, 4), ("embed", "heads", "head"), ("fsdp", "tensor", None)),
        ((8, 3, 4), ("embed", "kv_heads", "head"), ("fsdp", None, None)),
        ((7, 8), ("vocab", "embed"), (None, "fsdp")),
        ((16, 4), ("mlp", "heads"), ("tensor", None)),
        ((8,), None, ()),
    ],
)
def test_rules(shape, axes, spec):
    metadata = {} if axes is None else {"axes": axes}
    variable = nnx.Param(np.zeros(shape, np.float32), **metadata)
    mesh = mesh_lib.make_mesh(fsdp=4, tensor=2)
    assert mesh_lib.partition_spec(variable, mesh) == PartitionSpec(*spec)


@pytest.mark.parametrize("axes", [("embed", "width"), ("embed",)])
def test_axes_that_do_not_fit_are_refused(axes):
    variable = nnx.Param(np.zeros((8, 4), np.float32), axes=axes)
    with pytest.raises(ValueError, match=r"shape \(8, 4\) has axes=.* give one name"):
        mesh_lib.partition_spec(variable, mesh_lib.make_mesh())


def test_an_axis_that_divides_nothing_is_refused_with_the_sizes(caplog):
    def params(heads, mlp):
        zeros = np.zeros((2, 8, heads, 4), np.float32)
        query = nnx.Param(zeros, axes=("layers", "embed", "heads", "head"))
        up = nnx.Param(np.zeros((8, mlp), np.float32), axes=("embed", "mlp"))
        return nnx.State({"query": query, "up": up})

    mesh = mesh_lib.make_mesh(fsdp=2, tensor=4)
    with pytest.raises(ValueError, match="tensor=4 divides none .*heads=6, mlp=10; ch"):
        mesh_lib.check_divides(params(6, 10), mesh)
    with caplog.at_level(logging.INFO):
        mesh_lib.check_divides(params(6, 12), mesh)
    assert "the mesh axis tensor=4 leaves ['heads=6'] whole" in caplog.text


def test_optimizer_moments_lie_as_their_parameters():
    mesh = mesh_lib.make_mesh(fsdp=4, tensor=2)
    params = nnx.State(
        {"w": nnx.Param(np.zeros((8, 4), np.float32), axes=("embed", "mlp"))}
    )
    moments = jax.eval_shape(optax.adam(1.0).init, params)
    shardings = mesh_lib.param_shardings(moments, mesh)
    assert jax.tree.structure(shardings) == jax.tree.structure(moments)
    specs = [leaf.spec for leaf in jax.tree.leaves(shardings)]
    split = PartitionSpec("fsdp", "tensor")
    assert specs == [PartitionSpec(), split, split]


def test_batches_are_split_over_data_and_fsdp_and_replicated_over_tensor():
    mesh = mesh_lib.make_mesh(fsdp=2, tensor=2)
    rows = np.arange(24, dtype=np.float32).reshape(8, 3)
    placed = mesh_lib.put_batch({"rows": rows, "six": rows[:6]}, mesh)
    np.testing.assert_array_equal(placed["rows"], rows)
    assert placed["rows"].sharding.shard_shape((8, 3)) == (2, 3)
    assert placed["six"].sharding.is_fully_replicated
    np.testing.assert_array_equal(placed["six"], rows[:6])


def test_a_process_holds_the_rows_of_its_devices():
    mesh = mesh_lib.make_mesh(fsdp=2, tensor=2)
    first, second = np.split(mesh.devices.reshape(-1), 2)
    assert mesh_lib.local_rows(mesh, 8, set(first)).tolist() == [0, 1, 2, 3]
    assert mesh_lib.local_rows(mesh, 8, set(second)).tolist() == [4, 5, 6, 7]
    assert mesh_lib.local_rows(mesh, 8).tolist() == list(range(8))
    # A batch that does not divide is whole on every process.
    assert mesh_lib.local_rows(mesh, 6, set(second)).tolist() == list(range(6))
    # Processes that split only `tensor` hold the same rows.
    mesh = mesh_lib.make_mesh(tensor=8)
    assert mesh_lib.local_rows(mesh, 4, set(mesh.devices.reshape(-1)[4:])).size == 4
