"""Loading and saving hold little more than a host's own shards."""

import json
import pathlib
import socket
import subprocess
import sys

import jax
import numpy as np
import pytest
from etils import epath
from flax import nnx

from radit_jax.models import huggingface, safetensors_files
from radit_jax.models.decoder import Decoder
from radit_jax.models.weights import CheckpointError
from radit_jax.training import mesh as mesh_lib
from tests.models import shards_process

LARGEST = 4 * 512 * 64  # bytes of a tensor
OVERHEAD = 700_000  # bytes of Python: names, headers, paths


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A checkpoint of many files, and the decoder that is in it."""
    decoder = Decoder(shards_process.CONFIG, rngs=nnx.Rngs(0))
    path = tmp_path_factory.mktemp("shards") / "model"
    huggingface.save_decoder(decoder, path, max_shard_bytes=shards_process.SHARD_BYTES)
    return path, decoder


def test_a_host_holds_its_shards_and_one_tensor(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "tests.models.shards_process", str(tmp_path / "model")],
        cwd=pathlib.Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout)
    # Never a file of 2 MB, nor a stack of layers, of 5 MB.
    assert found["saving"] < 2 * LARGEST + OVERHEAD
    shapes = jax.eval_shape(
        lambda: nnx.state(Decoder(shards_process.CONFIG, rngs=nnx.Rngs(0)))
    )
    whole = sum(4 * x.size for x in jax.tree.leaves(shapes))
    for one in found["loading"]:
        assert one["own"] < 0.3 * whole  # a fourth, and what is not split
        assert one["peak"] < one["own"] + LARGEST + OVERHEAD


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


def test_two_hosts_load_and_save_what_neither_holds(saved, tmp_path):
    path, _ = saved
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = str(probe.getsockname()[1])
    arguments = [port, str(path), str(tmp_path / "model")]
    running = [
        subprocess.Popen(
            [
                sys.executable,
                "-m",
                "tests.models.two_hosts_process",
                str(i),
                *arguments,
            ],
            cwd=pathlib.Path(__file__).parents[2],
            stderr=subprocess.PIPE,
            text=True,
        )
        for i in range(2)
    ]
    for process in running:
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors[-3000:]
    files = sorted(file.name for file in path.iterdir())
    assert sorted(file.name for file in (tmp_path / "model").iterdir()) == files
    for name in files:
        assert (tmp_path / "model" / name).read_bytes() == (path / name).read_bytes()


def test_rows_that_no_device_holds_are_not_read(saved):
    path, _ = saved
    tensor = safetensors_files.read(epath.Path(path))["model.embed_tokens.weight"]
    some = tensor.rows(128, 256)
    np.testing.assert_array_equal(some, tensor.read()[128:256])
    assert some.base.nbytes == some.nbytes  # of what was read


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
