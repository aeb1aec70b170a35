"""OpenAI's shapes: `/v1/completions` and `/v1/chat/completions` around the same asking.

A request may set what does not change the answer, or what this server does anyway;
whatever else would be ignored is refused by name. The passages come in `metadata`.
"""

import dataclasses
import json
import secrets
import time
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from radit_jax.config import PredictConfig
from radit_jax.serving.asked import Asked, RequestError
from radit_jax.serving.reading import Limits, ask, refuse_unknown, take
from radit_jax.serving.reply import Reply

# Fields that change nothing here: of bookkeeping, or of drawing when there is none.
_HARMLESS = ("user", "metadata", "store", "seed", "stream_options")
_ASKING = ("model", "retrieval", "stream")
_NEUTRAL = {
    "n": (1,),
    "best_of": (1,),
    "echo": (False,),
    "logprobs": (False, 0),
    "suffix": ("",),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "logit_bias": ({},),
    "tools": ([],),
    "response_format": ({"type": "text"},),
}
_LENGTHS = ("max_tokens", "max_completion_tokens")


@dataclasses.dataclass(frozen=True, slots=True)
class Shape:
    """What the two endpoints call things."""

    kind: str  # of a whole reply
    chunk_kind: str  # of a part of a stream
    prefix: str  # of a reply's id
    is_chat: bool


COMPLETION = Shape("text_completion", "text_completion", "cmpl", False)
CHAT = Shape("chat.completion", "chat.completion.chunk", "chatcmpl", True)


def read(
    fields: Mapping[str, Any],
    shape: Shape,
    models: Collection[str],
    settings: PredictConfig,
    limits: Limits,
) -> Asked:
    """What a request in one of the shapes asks.

    Args:
      fields: of the request.
      shape: of its endpoint.
      models: of the server; the first is the default.
      settings: how they answer.
      limits: of a question.

    Raises:
      RequestError: 404 or 422.
    """
    own = "messages" if shape.is_chat else "prompt"
    fixed = {**_NEUTRAL, **_fixed(settings)}
    known = (own, *_ASKING, *_HARMLESS, *fixed, *_LENGTHS)
    refuse_unknown(fields, known)
    for name, allowed in fixed.items():
        if fields.get(name) is not None and fields[name] not in allowed:
            raise RequestError(
                422,
                f"{name} is {fields[name]!r}, but this server answers with "
                f"{allowed[0]!r}; leave it out.",
            )
    for name in _LENGTHS:
        if take(fields, name, int, settings.max_answer_tokens) < (
            settings.max_answer_tokens
        ):
            raise RequestError(
                422,
                f"{name} is {fields[name]}, but this server's answers have up to "
                f"{settings.max_answer_tokens} tokens; allow as many, or leave it out.",
            )
    question = fields.get("prompt")
    if shape.is_chat:
        question = _last_message(take(fields, "messages", list, []))
    return ask(fields, question, models, limits)


def _fixed(settings: PredictConfig) -> dict[str, tuple[Any, ...]]:
    stop = settings.stop
    stops = (list(stop), stop[0]) if len(stop) == 1 else (list(stop),)
    return {
        "temperature": (settings.temperature,),
        "top_p": (settings.top_p,),
        "stop": stops,
    }


def _last_message(messages: list) -> Any:
    """The user's question, the only message that the templates have a place for."""
    roles = [one.get("role") if isinstance(one, dict) else None for one in messages]
    if roles != ["user"]:
        raise RequestError(
            422,
            f"the messages are of {roles}; this server answers single questions: send "
            "one message, with role 'user'.",
        )
    content = messages[0].get("content")
    # Newer clients send a text as a list of parts.
    if isinstance(content, list) and len(content) == 1 and isinstance(content[0], dict):
        content = content[0].get("text") if content[0].get("type") == "text" else None
    return content


def whole(reply: Reply, shape: Shape) -> dict[str, Any]:
    """A reply at once."""
    choice: dict[str, Any] = {"index": 0, "finish_reason": _reason(reply)}
    if shape.is_chat:
        choice["message"] = {"role": "assistant", "content": reply.answer}
    else:
        choice["text"] = reply.answer
    return {
        "id": new_id(shape),
        "object": shape.kind,
        "created": int(time.time()),
        "model": reply.model,
        "choices": [choice],
        "usage": _usage(reply),
        "metadata": metadata(reply),
    }


class Stream:
    """A reply in parts, as server-sent events' data.

    Text comes while it grows where the mode mixes token by token; where whole answers
    are mixed (Eq. 2) there is none before all passages have theirs, and it comes whole.
    """

    def __init__(self, asked: Asked, shape: Shape, wants_usage: bool):
        """Args: wants_usage: a last part tells the tokens."""
        self._asked, self._shape, self._wants_usage = asked, shape, wants_usage
        self._id, self._created = new_id(shape), int(time.time())
        self._sent = ""

    def passages(self, data: dict[str, Any]) -> str:
        """The first part: no text yet, but the passages."""
        part = self._part("", role="assistant")
        return json.dumps(part | {"metadata": data})

    def growing(self, text: str) -> str | None:
        """More of the answer; None: there is none."""
        if not text.startswith(self._sent) or text == self._sent:
            return None
        more = text[len(self._sent) :]
        self._sent = text
        return json.dumps(self._part(more))

    def last(self, reply: Reply) -> Iterator[str]:
        """What is left of the answer, why it ends, and its passages' own answers."""
        more = self.growing(reply.answer)
        if more is not None:
            yield more
        end = self._part("", reason=_reason(reply))
        yield json.dumps(end | {"metadata": metadata(reply)})
        if self._wants_usage:
            yield json.dumps(self._part("") | {"choices": [], "usage": _usage(reply)})
        yield "[DONE]"

    def _part(
        self, text: str, role: str | None = None, reason: str | None = None
    ) -> dict[str, Any]:
        choice: dict[str, Any] = {"index": 0, "finish_reason": reason}
        if self._shape.is_chat:
            delta = {"content": text} if text or role else {}
            choice["delta"] = ({"role": role} if role else {}) | delta
        else:
            choice["text"] = text
        return {
            "id": self._id,
            "object": self._shape.chunk_kind,
            "created": self._created,
            "model": self._asked.model,
            "choices": [choice],
        }


def wants_usage(fields: Mapping[str, Any]) -> bool:
    """Whether a stream shall end with its tokens.

    Raises:
      RequestError: 422 of another type.
    """
    options = take(fields, "stream_options", dict, {})
    return take(options, "include_usage", bool, False)


def models(names: Collection[str], created: int) -> dict[str, Any]:
    """`GET /v1/models`."""
    listed = [
        {"id": name, "object": "model", "created": created, "owned_by": "radit_jax"}
        for name in names
    ]
    return {"object": "list", "data": listed}


def metadata(reply: Reply) -> dict[str, Any]:
    """What OpenAI's shapes have no field for."""
    record = reply.to_record()
    kept = ("mode", "retrieval", "probability", "passages", "passage_answers")
    return {name: record[name] for name in (*kept, "num_truncated")}


def new_id(shape: Shape) -> str:
    """A reply's."""
    return f"{shape.prefix}-{secrets.token_hex(12)}"


def _reason(reply: Reply) -> str:
    return "length" if reply.is_cut else "stop"


def _usage(reply: Reply) -> dict[str, int]:
    return {
        "prompt_tokens": reply.prompt_tokens,
        "completion_tokens": reply.answer_tokens,
        "total_tokens": reply.prompt_tokens + reply.answer_tokens,
    }
