"""TPU chips, by their publisher's figures, and slices of them to compile for.

Figures: cloud.google.com/tpu/docs/v4, /v5e, /v5p, /v6e. A slice needs no TPU: libtpu
(`pip install 'radit_jax[tpu]'`) knows the chips and compiles for them on any Linux.
"""

import dataclasses
import importlib.util
import os
from collections.abc import Sequence

import jax
from jax.experimental import topologies

from radit_jax.config import ConfigError


@dataclasses.dataclass(frozen=True, slots=True)
class Chip:
    """One chip; bytes and operations are of 10^9."""

    name: str
    memory_bytes: float
    memory_bytes_per_second: float
    link_bytes_per_second: float  # to all neighbours together
    flops_per_second: float  # bfloat16


CHIPS = {
    "v4": Chip("v4", 32e9, 1228e9, 300e9, 275e12),
    "v5e": Chip("v5e", 16e9, 819e9, 200e9, 197e12),
    "v5p": Chip("v5p", 95e9, 2765e9, 600e9, 459e12),
    "v6e": Chip("v6e", 32e9, 1640e9, 448e9, 918e12),
}
# libtpu asks the machine that it runs on, unless it is told.
_NO_TPU_HERE = {
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_ACCELERATOR_TYPE": "v5litepod-8",
}


def chip_of(topology: str) -> Chip:
    """The chip of e.g. "v5e:4x8".

    Raises:
      ConfigError: a chip that is not in the table, or no shape.
    """
    name, _, shape = topology.partition(":")
    sizes = shape.split("x")
    if name not in CHIPS or not all(size.isdigit() and int(size) for size in sizes):
        raise ConfigError(
            f"--topology={topology!r} is no slice; give a chip of {sorted(CHIPS)} and "
            "the shape of the slice, such as v5e:4x8 or v5p:4x4x4."
        )
    return CHIPS[name]


def devices(topology: str) -> Sequence[jax.Device]:
    """The devices of a slice, to compile for.

    Raises:
      ConfigError: libtpu is not installed, or knows no such slice.
    """
    chip_of(topology)
    if importlib.util.find_spec("libtpu") is None:
        raise ConfigError(
            "planning for TPUs needs libtpu, their compiler; run `pip install "
            "'radit_jax[tpu]'` (Linux, no TPU needed)."
        )
    for name, value in _NO_TPU_HERE.items():
        os.environ.setdefault(name, value)
    try:
        return topologies.get_topology_desc(topology, platform="tpu").devices
    except Exception as error:  # of several types, all of them libtpu's refusal
        raise ConfigError(
            f"libtpu knows no slice {topology!r}: {error}. Take a shape that is sold, "
            "such as v5e:4x8, v5p:4x4x4 or v6e:8x8."
        ) from error
