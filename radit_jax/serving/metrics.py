"""What the server counts, for Prometheus."""

import time

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from radit_jax.serving.reply import Reply
from radit_jax.serving.ticket import Ticket

CONTENT_TYPE = prometheus_client.CONTENT_TYPE_PLAIN_0_0_4
_SECONDS = (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100)


class Metrics:
    """The counters of one server; another has its own."""

    def __init__(self):
        self._registry = CollectorRegistry()
        own = {"registry": self._registry, "namespace": "radit"}
        self.requests = Counter(
            "requests", "Requests by route and HTTP status.", ("route", "status"), **own
        )
        self.hangups = Counter(
            "hangups", "Clients that left before their answer.", **own
        )
        self.waiting = Gauge("waiting_questions", "Questions in the queue.", **own)
        self.batch_questions = Histogram(
            "batch_questions",
            "Questions that were answered together.",
            buckets=(1, 2, 4, 8, 16, 32, 64),
            **own,
        )
        self.waited_seconds = Histogram(
            "waited_seconds", "From question to its batch.", buckets=_SECONDS, **own
        )
        self.answer_seconds = Histogram(
            "answer_seconds", "From question to its answer.", buckets=_SECONDS, **own
        )
        self.answer_tokens = Counter("answer_tokens", "Tokens of answers.", **own)

    def answered(self, ticket: Ticket, reply: Reply) -> None:
        """Counts an answer that goes to its client."""
        self.answer_seconds.observe(time.monotonic() - ticket.begin)
        self.answer_tokens.inc(reply.answer_tokens)

    def text(self) -> bytes:
        """In Prometheus' text format."""
        return prometheus_client.generate_latest(self._registry)
