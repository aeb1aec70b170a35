"""Ticket: one question on its way, and what its client is told."""

import asyncio
import dataclasses
import time
from collections.abc import AsyncIterator
from typing import Any

from radit_jax.serving.asked import Asked, RequestError
from radit_jax.serving.reply import Reply


@dataclasses.dataclass(frozen=True, slots=True)
class Event:
    """Something a client is told of: see `System.answer`; the last is "answer"."""

    name: str
    data: dict[str, Any]


class Ticket:
    """A question between its client, in the event loop, and the worker's thread."""

    def __init__(self, asked: Asked):
        """Made by the client's coroutine, in whose event loop it is told."""
        self.asked = asked
        self.is_gone = False  # nobody waits for it any more
        self.begin = time.monotonic()
        self._loop = asyncio.get_running_loop()
        self._events: asyncio.Queue[Event | RequestError | Reply] = asyncio.Queue()

    def tell(self, event: Event | RequestError | Reply) -> None:
        """From any thread; a reply or an error is the last."""
        if self.is_gone:
            return
        if isinstance(event, Reply | RequestError):
            self.is_gone = True
        # The loop is closed when the server was made to stop before its worker.
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._events.put_nowait, event)

    async def events(self) -> AsyncIterator[Event | Reply]:
        """All that is told, up to the reply.

        Raises:
          RequestError: that was told.
        """
        while True:
            event = await self._events.get()
            if isinstance(event, RequestError):
                raise event
            yield event
            if isinstance(event, Reply):
                return

    async def reply(self) -> Reply:
        """The last that is told.

        Raises:
          RequestError: that was told.
        """
        async for event in self.events():
            if isinstance(event, Reply):
                return event
        raise AssertionError("a ticket's events end with its reply")
