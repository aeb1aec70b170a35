"""Does exact search over a corpus fit a slice, and what bounds its speed?

The roofline is that of TPU-KNN (Chern et al., arXiv 2206.14286) without its third
wall, operations of the vector unit, which are published for few chips.
"""

import dataclasses
import time
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from radit_jax.chips import Chip
from radit_jax.config import ConfigError
from radit_jax.planning import topology as topologies
from radit_jax.retrieval import exact_index

_SCORE_AND_ID_BYTES = 8  # of a candidate that the devices send each other


@dataclasses.dataclass(frozen=True, slots=True)
class Corpus:
    """What is searched, and how."""

    num_chunks: int  # n
    width: int  # e
    is_bfloat16: bool  # rows in memory; else float32
    batch_size: int  # queries searched together
    num_candidates: int  # of each query that a device keeps, then ranked exactly
    approximate_recall: float = 1.0  # see `ops.topk.top_k`


def plan(corpus: Corpus, topology: str) -> dict[str, float | int | str]:
    """Compiles the search for a slice.

    Args:
      corpus: of the search.
      topology: e.g. "v5e:8x8".

    Returns:
      Bytes a chip, as the compiler counts them, and seconds a batch of queries, by
      arithmetic; a JSON object.

    Raises:
      ConfigError: see `topology.devices` and `compile_for`.
    """
    chip, devices = topologies.chip_of(topology), topologies.devices(topology)
    begin = time.perf_counter()
    memory = compile_for(corpus, devices).memory_analysis()
    seconds = time.perf_counter() - begin
    needed = memory.argument_size_in_bytes + memory.temp_size_in_bytes
    needed += memory.output_size_in_bytes + memory.generated_code_size_in_bytes
    walls = _walls(corpus, chip, len(devices))
    bound = max(walls, key=walls.get)
    return {
        "stage": "retrieve",
        "topology": topology,
        "chips": len(devices),
        "chunks": corpus.num_chunks,
        "width": corpus.width,
        "argument_bytes": memory.argument_size_in_bytes,
        "temporary_bytes": memory.temp_size_in_bytes,
        "peak_bytes": needed,
        "chip_bytes": chip.memory_bytes,
        **{f"{name}_seconds": value for name, value in walls.items()},
        "bound": bound,
        "seconds_a_batch": walls[bound],
        "queries_a_second": corpus.batch_size / walls[bound],
        "compile_seconds": seconds,
    }


def compile_for(corpus: Corpus, devices: Sequence[jax.Device]) -> jax.stages.Compiled:
    """`exact_index.program`, compiled for devices that need not be there.

    Raises:
      ConfigError: the compiler finds that it does not fit them.
    """
    mesh = Mesh(np.asarray(devices), (exact_index.AXIS,))
    blocks = exact_index.block_shape(
        corpus.num_chunks, len(devices), exact_index.BLOCK_ROWS
    )
    search = exact_index.program(
        mesh,
        corpus.num_chunks,
        blocks,
        corpus.approximate_recall,
        rounds_products=corpus.is_bfloat16,
    )
    rows = jax.ShapeDtypeStruct(
        (len(devices) * blocks[0] * blocks[1], corpus.width),
        jnp.uint16 if corpus.is_bfloat16 else jnp.float32,  # bits of bfloat16
        sharding=NamedSharding(mesh, PartitionSpec(exact_index.AXIS)),
    )
    queries = jax.ShapeDtypeStruct(
        (corpus.batch_size, corpus.width),
        jnp.float32,
        sharding=NamedSharding(mesh, PartitionSpec()),
    )
    try:
        return search.lower(queries, rows, k=corpus.num_candidates).compile()
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        raise ConfigError(
            f"{corpus} does not fit {len(devices)} devices of kind "
            f"{devices[0].device_kind}: {error}. Take a larger slice, or "
            "--config.index.rows_dtype=bfloat16."
        ) from error


def _walls(corpus: Corpus, chip: Chip, num_chips: int) -> dict[str, float]:
    """Seconds a batch that each resource needs at least."""
    num_values = corpus.num_chunks / num_chips * corpus.width
    # float32 products at full precision take six passes of bfloat16.
    passes = 1 if corpus.is_bfloat16 else 6
    sent = corpus.batch_size * corpus.num_candidates * _SCORE_AND_ID_BYTES
    return {
        "memory": num_values
        * (2 if corpus.is_bfloat16 else 4)
        / chip.memory_bytes_per_second,
        "arithmetic": 2
        * corpus.batch_size
        * num_values
        * passes
        / chip.flops_per_second,
        "links": sent * (num_chips - 1) / chip.link_bytes_per_second,
    }
