"""Progress of long work: done, rate and time left, a line every few seconds."""

import time

from absl import logging

_SECONDS_BETWEEN_LINES = 10.0


class Progress:
    """Counts units of work and logs how fast they go and how long they still take.

    `progress = Progress(5000, "passages", "embed_corpus"); progress.update(64)`
    """

    def __init__(self, total: int, unit: str, label: str, done: int = 0):
        """Starts the clock.

        Args:
          total: units of work in all.
          unit: their name, in the plural.
          label: what is being done.
          done: units that an earlier run did; they do not count in the rate.
        """
        self.total, self.unit, self.label = total, unit, label
        self.done = self._first = done
        self._begin = self._last_line = time.monotonic()

    @property
    def rate(self) -> float:
        """Units a second since the start."""
        seconds = max(time.monotonic() - self._begin, 1e-9)
        return (self.done - self._first) / seconds

    def update(self, num: int = 1) -> None:
        """Adds `num` finished units; logs a line when one is due."""
        self.done += num
        now = time.monotonic()
        if self.done < self.total and now - self._last_line < _SECONDS_BETWEEN_LINES:
            return
        self._last_line = now
        rate = self.rate
        left = (self.total - self.done) / rate if rate else float("inf")
        logging.info(
            "%s: %d of %d %s, %.3g %s/s, %s",
            self.label,
            self.done,
            self.total,
            self.unit,
            rate,
            self.unit,
            f"{duration(left)} left"
            if self.done < self.total
            else f"done in {duration(now - self._begin)}",
        )


def size(num_bytes: float) -> str:
    """Bytes as people read them: `512 B`, `1.5 MiB`, `3.2 GiB`."""
    units = ["B", "KiB", "MiB", "GiB", "TiB"]
    while num_bytes >= 1024 and len(units) > 1:
        num_bytes /= 1024
        units.pop(0)
    return f"{num_bytes:.0f} B" if units[0] == "B" else f"{num_bytes:.1f} {units[0]}"


def duration(seconds: float) -> str:
    """Seconds as people read them: `42 s`, `3 min 20 s`, `2 h 5 min`."""
    if seconds == float("inf"):
        return "unknown time"
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60} min"
