"""Worker: the thread that owns the models, and the queue of those who wait for it."""

import collections
import math
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

from absl import logging

from radit_jax.serving.asked import Asked, RequestError
from radit_jax.serving.metrics import Metrics
from radit_jax.serving.system import System
from radit_jax.serving.ticket import Event, Ticket

_STOPPING = "the server is stopping; ask again in a moment, or another server."
_RETRY_SECONDS = 5  # after a stop: about what a server takes to come back


class AllGoneError(Exception):
    """Nobody waits for any question of the batch any more."""


class Worker:
    """Takes what waits as one batch, answers it, and takes the next.

    While a batch is answered the next one gathers, so that nobody waits for a batch to
    fill: alone, a question is answered alone.
    """

    def __init__(
        self,
        systems: Mapping[str, System],
        max_batch: int,
        max_waiting: int,
        metrics: Metrics,
    ):
        """Starts no thread yet.

        Args:
          systems: by name; the first is the default.
          max_batch: questions that are answered together.
          max_waiting: questions that may wait besides; more are refused with 429.
          metrics: counts what happens.
        """
        self.systems = dict(systems)
        self._max_batch, self._max_waiting = max_batch, max_waiting
        self._metrics = metrics
        self._waiting: collections.deque[Ticket] = collections.deque()
        self._running: Sequence[Ticket] = ()
        self._changed = threading.Condition()
        self._is_stopping = False
        self._seconds_each = 1.0  # a question's share of its batch; a running mean
        self._thread = threading.Thread(target=self._run, name="worker", daemon=True)

    def start(self) -> None:
        """Begins to answer."""
        self._thread.start()

    def submit(self, asked: Asked) -> Ticket:
        """Puts a question into the queue; to be called in an event loop.

        Raises:
          RequestError: 422 too long, 429 the queue is full, 503 the server stops.
        """
        self.systems[asked.model].check(asked)
        with self._changed:
            if self._is_stopping:
                raise RequestError(503, _STOPPING, _RETRY_SECONDS)
            if len(self._waiting) >= self._max_waiting:
                raise self._full()
            ticket = Ticket(asked)
            self._waiting.append(ticket)
            self._metrics.waiting.set(len(self._waiting))
            self._changed.notify()
        return ticket

    def leave(self, ticket: Ticket) -> None:
        """The client has gone: its place is free, its answer is not computed on."""
        if ticket.is_gone:
            return
        ticket.is_gone = True
        self._metrics.hangups.inc()
        with self._changed:
            if ticket in self._waiting:
                self._waiting.remove(ticket)
                self._metrics.waiting.set(len(self._waiting))

    def stop(self, grace_seconds: float) -> None:
        """Answers the batch that runs, tells all others 503, and ends the thread.

        Args:
          grace_seconds: after which those in the batch are told 503, too.
        """
        with self._changed:
            self._is_stopping = True
            waiting = [*self._waiting]
            self._waiting.clear()
            self._changed.notify()
        for ticket in waiting:
            ticket.tell(RequestError(503, _STOPPING, _RETRY_SECONDS))
        if self._thread.is_alive():
            self._thread.join(grace_seconds)
        for ticket in self._running:
            ticket.tell(RequestError(503, _STOPPING, _RETRY_SECONDS))

    @property
    def is_alive(self) -> bool:
        """Whether questions are answered."""
        return self._thread.is_alive() and not self._is_stopping

    def _full(self) -> RequestError:
        seconds = math.ceil(self._seconds_each * self._max_waiting)
        return RequestError(
            429,
            f"{self._max_waiting} questions wait already; ask again in about "
            f"{seconds} s.",
            max(1, seconds),
        )

    def _run(self) -> None:
        while batch := self._take():
            begin = time.monotonic()
            self._metrics.batch_questions.observe(len(batch))
            for ticket in batch:
                self._metrics.waited_seconds.observe(begin - ticket.begin)
            self._answer(batch)
            spent = (time.monotonic() - begin) / len(batch)
            self._seconds_each += 0.2 * (spent - self._seconds_each)

    def _take(self) -> list[Ticket]:
        """The questions that waited longest, of one model; []: the server stops."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._is_stopping)
            if not self._waiting:
                return []
            model = self._waiting[0].asked.model
            batch = [one for one in self._waiting if one.asked.model == model]
            batch = batch[: self._max_batch]
            for ticket in batch:
                self._waiting.remove(ticket)
            self._metrics.waiting.set(len(self._waiting))
            self._running = batch
        return batch

    def _answer(self, batch: list[Ticket]) -> None:
        def tell(i: int, name: str, data: dict[str, Any]) -> None:
            if all(ticket.is_gone for ticket in batch):
                raise AllGoneError
            batch[i].tell(Event(name, data))

        asked = [ticket.asked for ticket in batch]
        try:
            replies = self.systems[asked[0].model].answer(asked, tell)
        except AllGoneError:
            return
        except Exception:  # whatever it is, the others must be answered
            logging.exception("a batch of %d questions failed.", len(batch))
            self._answer_apart(batch)
            return
        for ticket, reply in zip(batch, replies, strict=True):
            ticket.tell(reply)

    def _answer_apart(self, batch: list[Ticket]) -> None:
        """After a failure: only the question that it comes from is not answered."""
        if len(batch) == 1:
            error = "the server failed to answer this question; its log says why."
            batch[0].tell(RequestError(500, error))
            return
        for ticket in batch:
            if not ticket.is_gone:
                self._answer([ticket])
