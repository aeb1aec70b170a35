"""One of two processes that load and save a model together: see test_shards.py."""

import os
import sys

os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=2"

import jax  # noqa: E402
from flax import nnx  # noqa: E402

from radit_jax.models import huggingface  # noqa: E402
from radit_jax.training import mesh as mesh_lib  # noqa: E402


def main(process: int, port: str, source: str, target: str) -> None:
    """Loads `source` split over all four devices, and writes `target`."""
    jax.distributed.initialize(f"localhost:{port}", 2, process)
    mesh = mesh_lib.make_mesh(fsdp=4)
    decoder = huggingface.load_decoder(source, place=mesh_lib.places(mesh))
    split = [x for x in jax.tree.leaves(nnx.state(decoder)) if x.size > 10_000]
    assert split
    assert not any(x.is_fully_addressable or x.is_fully_replicated for x in split)
    huggingface.save_decoder(decoder, target, max_shard_bytes=2_000_000)
    jax.distributed.shutdown()  # which waits for the other


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:])
