"""TPU chips, by their publisher's figures.

cloud.google.com/tpu/docs/v4, /v5e, /v5p, /v6e.
"""

import dataclasses


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
