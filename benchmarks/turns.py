"""Contenders in processes of their own, on the same cores, which take turns."""

import contextlib
import json
import os
import pathlib
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

NUM_THREADS = 2


def serve(work: Callable[..., Any]) -> None:
    """A child process: does the work that each line of standard input describes.

    Args:
      work: called with a line's JSON object as keyword arguments, and timed. What was
        made before, such as a loaded model, counts in memory but not in time.
    """
    loaded = peak_bytes()
    with contextlib.suppress(OSError):  # where it can't be reset, loading counts
        pathlib.Path("/proc/self/clear_refs").write_text("5")
    for line in sys.stdin:
        asked = json.loads(line)
        begin, begin_cpu = time.perf_counter(), time.process_time()
        work(**asked)
        spent = {
            "seconds": time.perf_counter() - begin,
            "cpu_seconds": time.process_time() - begin_cpu,
        }
        memory = {"peak_bytes": peak_bytes(), "loading_bytes": loaded}
        print(json.dumps(spent | memory), flush=True)


def peak_bytes() -> int:
    """The largest resident set of this process, libraries included."""
    with contextlib.suppress(OSError):
        for line in pathlib.Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


class Child:
    """A process that serves one contender; it sleeps while others have their turn."""

    def __init__(self, module: str, function: str, *args: str):
        """Starts `function` of `module`, which must end in `serve`.

        Args:
          module: e.g. "benchmarks.encoding".
          function: its name.
          *args: its arguments.
        """
        program = f"import sys; from {module} import {function} as f; f(*sys.argv[1:])"
        settings = {
            "OMP_NUM_THREADS": str(NUM_THREADS),
            "JAX_PLATFORMS": "cpu",
            # Large pages for large arrays: both sides gain where memory is new.
            "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
        }
        cores = ",".join(map(str, sorted(os.sched_getaffinity(0))[:NUM_THREADS]))
        self._name = " ".join(args)
        # Bound before any thread starts: a thread keeps the cores it was born with.
        self._process = subprocess.Popen(
            ["taskset", "-c", cores, sys.executable, "-c", program, *args],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | settings,
        )

    def run(self, **work: Any) -> dict[str, Any]:
        """One turn: its seconds, those of processor time, the peak bytes so far.

        Raises:
          RuntimeError: the process ended instead.
        """
        self._process.stdin.write(json.dumps(work) + "\n")
        self._process.stdin.flush()
        # A library may greet on standard output before.
        for line in self._process.stdout:
            if line.startswith('{"seconds"'):
                return json.loads(line)
        raise RuntimeError(f"{self._name} ended while it did {work}.")

    def end(self) -> None:
        """Waits for the process to end."""
        self._process.stdin.close()
        self._process.stdout.read()
        self._process.wait()
