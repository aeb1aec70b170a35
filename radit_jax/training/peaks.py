"""Peak speed of accelerators, by the name that JAX gives them.

bfloat16, dense, by their publishers' figures: TPUs as in `radit_jax.chips`; NVIDIA's
data sheets of A100, H100 (SXM and PCIe), H200, L4, L40S and A10G.
"""

import jax

from radit_jax.chips import CHIPS

_TPUS = {
    "TPU v4": "v4",
    "TPU v5 lite": "v5e",
    "TPU v5e": "v5e",
    "TPU v5": "v5p",
    "TPU v5p": "v5p",
    "TPU v6 lite": "v6e",
    "TPU v6e": "v6e",
}
_GPUS = {  # the longest prefix of the name counts
    "NVIDIA A100": 312e12,
    "NVIDIA H100": 989e12,
    "NVIDIA H100 PCIe": 756e12,
    "NVIDIA H200": 989e12,
    "NVIDIA L4": 121e12,
    "NVIDIA L40S": 362e12,
    "NVIDIA A10G": 70e12,
}


def flops_per_second(device_kind: str) -> float | None:
    """Of one device; None where it is not known, rather than a guess."""
    if device_kind in _TPUS:
        return CHIPS[_TPUS[device_kind]].flops_per_second
    known = [n for n in _GPUS if (device_kind + " ").startswith((n + " ", n + "-"))]
    return _GPUS[max(known, key=len)] if known else None


def of_all_devices() -> float | None:
    """Of this job's devices together; None where they are not known."""
    one = flops_per_second(jax.devices()[0].device_kind)
    return None if one is None else one * jax.device_count()
