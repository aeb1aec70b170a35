"""How fast a run is: step time, input wait, tokens a second, MFU."""

import dataclasses
import time
from collections.abc import Callable, Mapping


@dataclasses.dataclass(slots=True)
class Speedometer:
    """Times the steps of a loop that dispatches one before it reads the last.

    A step's time is what passes between its metrics and those of the step before,
    less what hooks took. The first step after a start compiles, and has none.
    """

    # Metrics of a step → its floating-point operations, of all devices together;
    # what is computed again in the backward pass does not count (PaLM, appendix B).
    flops: Callable[[Mapping[str, float]], float] | None = None
    peak_flops_per_second: float | None = None  # of all devices; None: not known
    _last: float | None = None
    _wait_seconds: list[float] = dataclasses.field(default_factory=list)
    _paused_seconds: float = 0.0

    def waited(self, seconds: float) -> None:
        """Notes how long the loop waited for a batch, in the order of the steps."""
        self._wait_seconds.append(seconds)

    def paused(self, seconds: float) -> None:
        """Notes time that belongs to no step: hooks."""
        self._paused_seconds += seconds

    def read(self, metrics: Mapping[str, float]) -> dict[str, float]:
        """Called when a step's metrics have come.

        Args:
          metrics: of the step; its `tokens`, where it has them, are those that are
            not padding.

        Returns:
          `step_seconds`, `input_wait_seconds`, `tokens_per_second` and `mfu`: those
          that are known.
        """
        now = time.monotonic()
        last, self._last = self._last, now
        paused, self._paused_seconds = self._paused_seconds, 0.0
        waited = self._wait_seconds.pop(0) if self._wait_seconds else 0.0
        if last is None:
            return {}
        seconds = max(now - last - paused, 1e-9)
        found = {"step_seconds": seconds, "input_wait_seconds": waited}
        if "tokens" in metrics:
            found["tokens_per_second"] = metrics["tokens"] / seconds
        if self.flops is not None and self.peak_flops_per_second is not None:
            done = self.flops(metrics) / seconds
            found["mfu"] = done / self.peak_flops_per_second
        return found
