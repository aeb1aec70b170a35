"""Loading and saving hold little more than a host's own shards."""

import json
import tracemalloc

import jax
import numpy as np
import pytest
from etils import epath
from flax import nnx

from radit_jax.models import huggingface, safetensors_files, shards, tables
from radit_jax.models.decoder import Decoder, DecoderConfig
from radit_jax.models.weights import CheckpointError
from radit_jax.training import mesh as mesh_lib

# LLaMA 65B's layout: its 80 layers and 723 tensors, which are small here.
CONFIG = DecoderConfig(
    vocab_size=512,
    num_layers=80,
    width=64,
    num_heads=8,
    num_kv_heads=8,
    head_width=8,
    mlp_width=256,
)
LARGEST = 4 * 512 * 64  # bytes of a tensor
OVERHEAD = 700_000  # bytes of Python: names, headers, paths


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A checkpoint of many files, and the decoder that is in it."""
    decoder = Decoder(CONFIG, rngs=nnx.Rngs(0))
    path = tmp_path_factory.mktemp("shards") / "model"

    def save():
        huggingface.save_decoder(
            decoder, path, max_shard_bytes=2_000_000, overwrite=True
        )

    save()  # compiles what is counted no more
    peak = _peak(save)
    # One tensor, and a layer's slice of it; never a file of 2 MB.
    assert peak < 2 * LARGEST + OVERHEAD
    return path, decoder


def _peak(function):
    tracemalloc.start()
    try:
        function()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def _blocks_of(host, path, mesh):
    """What the devices of one of four hosts hold, as `shards.assemble` reads it."""
    decoder = nnx.eval_shape(lambda: Decoder(CONFIG, rngs=nnx.Rngs(0)))
    variables = dict(nnx.to_flat_state(nnx.state(decoder)))
    tensors = safetensors_files.read(epath.Path(path))
    place, held = mesh_lib.places(mesh), []
    devices = mesh.devices.flat[2 * host : 2 * host + 2]
    for row in tables.DECODER:
        variable = variables.get(tuple(row.ours.split(".")))
        if variable is None:
            continue
        shape = variable.shape
        sharding = place(shape, variable.get_metadata("axes"))
        indices = sharding.devices_indices_map(shape)
        wanted = [shards.bounds(indices[device], shape) for device in devices]
        names = row.names("hf", shards.num_layers(variable, row))
        held.append(
            shards.read_blocks(wanted, variable, row, [tensors[n] for n in names])
        )
    return [block for blocks in held for block in blocks.values()]


@pytest.mark.parametrize(("fsdp", "tensor"), [(8, 1), (2, 4)])
def test_a_host_holds_its_shards_and_one_tensor(saved, fsdp, tensor):
    path, _ = saved
    mesh = mesh_lib.make_mesh(fsdp, tensor)
    blocks = []
    _blocks_of(1, path, mesh)  # traces what is counted no more
    peak = _peak(lambda: blocks.extend(_blocks_of(1, path, mesh)))
    own = sum(block.nbytes for block in blocks)
    whole = 4 * sum(x.size for x in jax.tree.leaves(nnx.state(saved[1])))
    assert own < 0.3 * whole  # a fourth, and what is not split
    assert peak < own + LARGEST + OVERHEAD


@pytest.mark.parametrize(("fsdp", "tensor"), [(1, 1), (8, 1), (2, 4)])
def test_every_mesh_loads_the_same_bits(saved, fsdp, tensor):
    path, decoder = saved
    mesh = mesh_lib.make_mesh(fsdp, tensor)
    loaded = huggingface.load_decoder(path, place=mesh_lib.places(mesh))
    wanted = mesh_lib.param_shardings(nnx.state(loaded), mesh)
    jax.tree.map(np.testing.assert_array_equal, nnx.state(loaded), nnx.state(decoder))
    for array, sharding in zip(
        jax.tree.leaves(nnx.state(loaded)), jax.tree.leaves(wanted), strict=True
    ):
        assert array.sharding == sharding


def test_rows_that_no_device_holds_are_not_read(saved, monkeypatch):
    path, _ = saved
    tensor = safetensors_files.read(epath.Path(path))["model.embed_tokens.weight"]
    some = tensor.rows(128, 256)
    np.testing.assert_array_equal(some, tensor.read()[128:256])
    assert some.base is not None
    assert len(some.base) == 128 * 64 * 4  # the bytes that were read


def test_shards_of_two_savings_are_no_model(saved, tmp_path):
    path, _ = saved
    other = tmp_path / "model"
    other.mkdir()
    for file in path.iterdir():
        (other / file.name).write_bytes(file.read_bytes())
    index = other / "model.safetensors.index.json"
    named = json.loads(index.read_text())
    named["weight_map"]["model.layers.80.mlp.up_proj.weight"] = min(
        named["weight_map"].values()
    )
    index.write_text(json.dumps(named))
    with pytest.raises(CheckpointError, match=r"1 tensor\(s\) that none of its files"):
        huggingface.load_decoder(other)


def test_a_truncated_shard_is_refused_before_anything_is_read(saved, tmp_path):
    path, _ = saved
    other = tmp_path / "model"
    other.mkdir()
    for file in path.iterdir():
        (other / file.name).write_bytes(file.read_bytes())
    last = max(other.glob("model-*"))
    last.write_bytes(last.read_bytes()[:-1])
    with pytest.raises(
        CheckpointError, match=rf"{last.name} names tensor .* cut short"
    ):
        huggingface.load_decoder(other)
