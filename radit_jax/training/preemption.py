"""SIGTERM: a VM that is taken away gives its run time to save (GCP: 30 seconds)."""

import contextlib
import signal
import threading
from collections.abc import Iterator

import jax
from absl import logging
from jax.experimental import multihost_utils

EXIT_STATUS = 75  # EX_TEMPFAIL of sysexits.h: try again later


class PreemptedError(Exception):
    """The run was asked to end; all that it did is saved."""


class Watch:
    """Tells after which step to save and end: `with Watch.over_sigterm() as watch:`."""

    def __init__(self) -> None:
        """Of a run that nobody asks to end."""
        self._is_asked = False

    @classmethod
    @contextlib.contextmanager
    def over_sigterm(cls) -> Iterator["Watch"]:
        """Takes SIGTERM as the question while the block runs.

        Signals go to the main thread alone; in another, and in a job of several
        processes, whose runtime has a handler of its own, none is installed.
        """
        watch = cls()
        is_main = threading.current_thread() is threading.main_thread()
        if jax.process_count() > 1 or not is_main:
            yield watch
            return
        before = signal.signal(signal.SIGTERM, watch._ask)
        try:
            yield watch
        finally:
            signal.signal(signal.SIGTERM, before)

    def _ask(self, number: int, frame: object) -> None:
        del number, frame
        self._is_asked = True
        logging.warning("SIGTERM: finishing this step, then saving.")

    def is_due(self, step: int) -> bool:
        """Whether to save and end after this step; to be asked at every one.

        In a job of several processes the question may reach one of them only; the
        runtime spreads it and names a step that none of them has passed.
        """
        if jax.process_count() > 1:
            return multihost_utils.reached_preemption_sync_point(step)
        return self._is_asked
