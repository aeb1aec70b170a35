"""The JSON API: `POST /ask`, and OpenAI's two endpoints around the same worker."""

import asyncio
import dataclasses
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from radit_jax.serving import openai, reading
from radit_jax.serving.asked import Asked, RequestError
from radit_jax.serving.metrics import Metrics
from radit_jax.serving.openai import Shape
from radit_jax.serving.reading import Limits
from radit_jax.serving.reply import Reply
from radit_jax.serving.ticket import Event, Ticket
from radit_jax.serving.worker import Worker

# To a client that has gone, for the log and the counters alone (as nginx has it).
_HUNG_UP = Response(status_code=499)
_ASK_FIELDS = ("question", "model", "retrieval", "stream")


@dataclasses.dataclass(frozen=True, slots=True)
class Service:
    """What all endpoints share."""

    worker: Worker
    metrics: Metrics
    limits: Limits
    token: str | None  # that requests must bring; None: none
    started: int  # seconds since 1970

    async def ask(self, request: Request) -> Response:
        """`POST /ask`: question, and optionally model, retrieval and stream."""
        reading.check_token(request, self.token)
        fields = await reading.read_object(request, self.limits)
        reading.refuse_unknown(fields, _ASK_FIELDS)
        asked = reading.ask(
            fields, fields.get("question"), self.worker.systems, self.limits
        )
        if asked.stream:
            return self._stream(asked, _named_events)
        reply = await self.reply(request, asked)
        return _HUNG_UP if reply is None else JSONResponse(reply.to_record())

    async def completions(self, request: Request) -> Response:
        """`POST /v1/completions`."""
        return await self._openai(request, openai.COMPLETION)

    async def chat_completions(self, request: Request) -> Response:
        """`POST /v1/chat/completions`."""
        return await self._openai(request, openai.CHAT)

    async def models(self, request: Request) -> Response:
        """`GET /v1/models`."""
        reading.check_token(request, self.token)
        return JSONResponse(openai.models(self.worker.systems, self.started))

    async def _openai(self, request: Request, shape: Shape) -> Response:
        reading.check_token(request, self.token)
        fields = await reading.read_object(request, self.limits)
        systems = self.worker.systems
        settings = next(iter(systems.values())).config.predict
        asked = openai.read(fields, shape, systems, settings, self.limits)
        wants_usage = openai.wants_usage(fields)
        if asked.stream:
            parts = openai.Stream(asked, shape, wants_usage)
            return self._stream(asked, lambda event: _parts(parts, event))
        reply = await self.reply(request, asked)
        if reply is None:
            return _HUNG_UP
        return JSONResponse(openai.whole(reply, shape))

    async def reply(self, request: Request, asked: Asked) -> Reply | None:
        """The answer; None: the client has hung up meanwhile.

        Raises:
          RequestError: see `Worker.submit`; 500 or 503 later on.
        """
        ticket = self.worker.submit(asked)
        waiting = asyncio.ensure_future(ticket.reply())
        gone = asyncio.ensure_future(_hang_up(request))
        try:
            await asyncio.wait({waiting, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not waiting.done():
                return None
            reply = waiting.result()
            self.metrics.answered(ticket, reply)
            return reply
        finally:
            waiting.cancel()
            gone.cancel()
            self.worker.leave(ticket)

    def _stream(
        self, asked: Asked, lines: Callable[[Event | Reply], list[str]]
    ) -> Response:
        return EventStream(self, self.worker.submit(asked), lines)


class EventStream(StreamingResponse):
    """Server-sent events of a ticket; a client that hangs up frees its place.

    It begins with status 200. What goes wrong later comes as an event `error`.
    """

    def __init__(
        self,
        service: Service,
        ticket: Ticket,
        lines: Callable[[Event | Reply], list[str]],
    ):
        """Args: lines: of each event, the events that are sent."""
        super().__init__(self._parts(), media_type="text/event-stream")
        self._service, self._ticket, self._lines = service, ticket, lines

    async def __call__(self, scope, receive, send) -> None:
        """Sends all; ended by the reply, an error or the client."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._service.worker.leave(self._ticket)

    async def _parts(self) -> AsyncIterator[str]:
        try:
            async for event in self._ticket.events():
                if isinstance(event, Reply):
                    self._service.metrics.answered(self._ticket, event)
                for line in self._lines(event):
                    yield line
        except RequestError as error:
            yield _sse(json.dumps(error.to_record()), "error")


def _named_events(event: Event | Reply) -> list[str]:
    """Of `POST /ask`: passages, growing, answer."""
    if isinstance(event, Reply):
        return [_sse(json.dumps(event.to_record()), "answer")]
    return [_sse(json.dumps(_plain(event.data)), event.name)]


def _parts(stream: openai.Stream, event: Event | Reply) -> list[str]:
    """OpenAI's: only the answer itself grows."""
    if isinstance(event, Reply):
        return [_sse(part) for part in stream.last(event)]
    if event.name == "passages":
        return [_sse(stream.passages(_plain(event.data)))]
    part = stream.growing(event.data["text"]) if event.data["passage"] < 0 else None
    return [] if part is None else [_sse(part)]


def _plain(data: dict[str, Any]) -> dict[str, Any]:
    if "passages" not in data:
        return data
    return {"passages": [dataclasses.asdict(one) for one in data["passages"]]}


def _sse(data: str, name: str = "") -> str:
    # JSON has no line break of its own, so the data is one line.
    return (f"event: {name}\n" if name else "") + f"data: {data}\n\n"


async def _hang_up(request: Request) -> None:
    """Returns when the client has gone."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
