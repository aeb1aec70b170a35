"""TPU slices to compile for: they need not be there.

libtpu (`pip install 'radit_jax[tpu]'`) knows the chips and compiles for them on any
Linux.
"""

import importlib.util
import os
from collections.abc import Sequence

import jax
from jax.experimental import topologies

from radit_jax.chips import CHIPS, Chip
from radit_jax.config import ConfigError

# libtpu asks the machine that it runs on, unless it is told; and it locks the chips,
# which a compiler does not need: several plans may be made at a time.
_NO_TPU_HERE = {
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
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
