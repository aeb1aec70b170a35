"""How much memory this process holds, on the host and on its first device."""

import sys

import jax

try:
    import resource
except ImportError:  # Windows
    resource = None


def host_bytes() -> int:
    """Resident now; macOS tells the most there ever was, Windows nothing: 0."""
    if resource is None:
        return 0
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * resource.getpagesize()
    except OSError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024  # which counts KiB


def device_bytes() -> tuple[int, int]:
    """In use and in all, of an accelerator; (0, 0) where the device has none."""
    stats = jax.local_devices()[0].memory_stats() or {}
    return stats.get("bytes_in_use", 0), stats.get("bytes_limit", 0)
