"""Measures what loading and saving hold: what test_shards.py starts.

By itself, for what checks annotations in the tests keeps arrays alive for a while.
"""

import json
import os
import sys
import tracemalloc
from collections.abc import Callable

os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=8"

from etils import epath  # noqa: E402
from flax import nnx  # noqa: E402

from radit_jax.models import (  # noqa: E402
    huggingface,
    safetensors_files,
    shards,
    tables,
)
from radit_jax.models.decoder import Decoder, DecoderConfig  # noqa: E402
from radit_jax.training import mesh as mesh_lib  # noqa: E402

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
MESHES = ((8, 1), (2, 4))  # fsdp, tensor
SHARD_BYTES = 2_000_000  # of a file


def peak(function: Callable[[], object]) -> int:
    """Bytes that the function's second call holds at most, NumPy's arrays and all."""
    function()
    tracemalloc.start()
    kept = function()
    del kept
    found = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return found


def blocks_of(host: int, path: str, fsdp: int, tensor: int) -> list:
    """What the devices of one of four hosts hold, as `shards.assemble` reads it."""
    mesh = mesh_lib.make_mesh(fsdp, tensor)
    decoder = nnx.eval_shape(lambda: Decoder(CONFIG, rngs=nnx.Rngs(0)))
    variables = dict(nnx.to_flat_state(nnx.state(decoder)))
    tensors = safetensors_files.read(epath.Path(path))
    devices = mesh.devices.flat[2 * host : 2 * host + 2]
    held = []
    for row in tables.DECODER:
        variable = variables.get(tuple(row.ours.split(".")))
        if variable is None:
            continue
        shape = variable.shape
        sharding = mesh_lib.places(mesh)(shape, variable.get_metadata("axes"))
        indices = sharding.devices_indices_map(shape)
        wanted = [shards.bounds(indices[device], shape) for device in devices]
        names = row.names("hf", shards.num_layers(variable, row))
        read = shards.read_blocks(wanted, variable, row, [tensors[n] for n in names])
        held += read.values()
    return held


def main(path: str) -> None:
    """Prints the peaks as JSON."""
    decoder = Decoder(CONFIG, rngs=nnx.Rngs(0))
    saving = peak(
        lambda: huggingface.save_decoder(
            decoder, path, max_shard_bytes=SHARD_BYTES, overwrite=True
        )
    )
    loading = [
        {
            "own": sum(block.nbytes for block in blocks_of(1, path, *sizes)),
            "peak": peak(lambda sizes=sizes: blocks_of(1, path, *sizes)),
        }
        for sizes in MESHES
    ]
    print(json.dumps({"saving": saving, "loading": loading}))


if __name__ == "__main__":
    main(sys.argv[1])
