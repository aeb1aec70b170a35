"""Progress of long work: done, rate, time left and memory, in one line.

On a terminal the line is rewritten in place. Elsewhere it is logged: once as soon as a
rate is known, then every half minute, and at the end. Either way only where the log's
level is INFO, as in the launchers' main process.
"""

import shutil
import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from absl import logging

from radit_jax import memory

_SECONDS_BETWEEN_LINES = 30.0
_SECONDS_BETWEEN_REWRITES = 0.5
_SECONDS_OF_A_RATE = 1.0  # that are measured before it counts as known
Item = TypeVar("Item")
_ERASE = "\r\033[K"  # to the line's start, and all after it away


class Progress:
    """Counts units of work and tells how fast they go and how long they still take.

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
        self._warm: tuple[float, int] | None = None  # when the first batch was done
        self._is_rate_told = False

    @property
    def rate(self) -> float:
        """Units a second, without the first batch where there are more: it compiles."""
        now = time.monotonic()
        begin, first = self._warm if self._is_warm(now) else (self._begin, self._first)
        return (self.done - first) / max(now - begin, 1e-9)

    def _is_warm(self, now: float) -> bool:
        """Whether more than the first batch is done: its units may come one by one."""
        return self._warm is not None and now - self._warm[0] >= _SECONDS_OF_A_RATE

    def update(self, num: int = 1) -> None:
        """Adds `num` finished units; shows the line when it is due."""
        self.done += num
        now = time.monotonic()
        if self._warm is None and num:
            self._warm = now, self.done
        if self.done >= self.total:
            clear_line()
            logging.info("%s", self._line(now))
        elif _is_terminal():
            if now - self._last_line >= _SECONDS_BETWEEN_REWRITES:
                self._last_line = now
                _rewrite(self._line(now))
        elif now - self._last_line >= _SECONDS_BETWEEN_LINES or (
            self._is_warm(now) and not self._is_rate_told
        ):
            self._last_line, self._is_rate_told = now, self._is_warm(now)
            logging.info("%s", self._line(now))

    def _line(self, now: float) -> str:
        rate, end = self.rate, f"done in {duration(now - self._begin)}"
        if self.done < self.total:
            left = (self.total - self.done) / rate if rate else float("inf")
            end = f"{duration(left)} left"
        return (
            f"{self.label}: {self.done} of {self.total} {self.unit}, {rate:.3g} "
            f"{self.unit}/s, {end}, memory {_memory()}"
        )


def counted(items: Iterable[Item], total: int, unit: str, label: str) -> Iterator[Item]:
    """The items as they come, with the progress of whoever reads them."""
    progress = Progress(total, unit, label)
    for item in items:
        yield item
        progress.update()
    if progress.done < total:  # there were fewer
        progress.total = progress.done
        progress.update(0)


def _memory() -> str:
    used, limit = memory.device_bytes()
    device = f", device {size(used)} of {size(limit)}" if limit else ""
    return size(memory.host_bytes()) + device


def _is_terminal() -> bool:
    return sys.stderr.isatty() and logging.get_verbosity() >= logging.INFO


def _rewrite(line: str) -> None:
    columns = shutil.get_terminal_size().columns
    sys.stderr.write(_ERASE + line[: columns - 1])
    sys.stderr.flush()


def clear_line() -> None:
    """Takes a line that stands on the terminal away, before something else is said."""
    if _is_terminal():
        sys.stderr.write(_ERASE)
        sys.stderr.flush()


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
