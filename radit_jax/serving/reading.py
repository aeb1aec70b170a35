"""Reads requests: bodies that are not too long, fields that are what they should be."""

import asyncio
import dataclasses
import hmac
import json
from collections.abc import Collection, Mapping
from typing import Any

from starlette.requests import Request

from radit_jax.serving.asked import Asked, RequestError

_BODY_SECONDS = 10.0  # in which a body must have come


@dataclasses.dataclass(frozen=True, slots=True)
class Limits:
    """What a request may bring."""

    body_bytes: int = 65_536
    question_characters: int = 2_000


async def read_body(request: Request, limits: Limits) -> bytes:
    """The body, read no further than it may be long.

    Raises:
      RequestError: 413 too long, 408 too slow.
    """
    body = bytearray()
    try:
        async with asyncio.timeout(_BODY_SECONDS):
            async for part in request.stream():
                body += part
                if len(body) > limits.body_bytes:
                    raise RequestError(
                        413,
                        f"the body has more than {limits.body_bytes} bytes; shorten "
                        "it, or start the server with --max_body_bytes.",
                    )
    except TimeoutError as error:
        raise RequestError(
            408, f"the body did not come within {_BODY_SECONDS:g} s; send it at once."
        ) from error
    return bytes(body)


async def read_object(request: Request, limits: Limits) -> dict[str, Any]:
    """The body as a JSON object.

    Raises:
      RequestError: 415 another type, 400 malformed, 422 no object.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise RequestError(
            415,
            f"the body's type is {kind or 'not given'}; send JSON, with the header "
            "Content-Type: application/json.",
        )
    body = await read_body(request, limits)
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise RequestError(400, f"the body is no JSON: {error}.") from error
    if not isinstance(value, dict):
        raise RequestError(422, f"the body is {_kind(value)}; send an object, {{...}}.")
    return value


def refuse_unknown(fields: Mapping[str, Any], known: Collection[str]) -> None:
    """A mistyped field would be ignored.

    Raises:
      RequestError: 422, with the fields there are.
    """
    unknown = sorted(fields.keys() - set(known))
    if unknown:
        raise RequestError(
            422, f"unknown field(s) {unknown}; there are {sorted(known)}."
        )


def take(fields: Mapping[str, Any], name: str, kind: type, default: Any = None) -> Any:
    """A field; `default` where it is left out or null.

    Raises:
      RequestError: 422 of another type.
    """
    value = fields.get(name)
    if value is None:
        return default
    is_kind = isinstance(value, kind) and (kind is bool or not isinstance(value, bool))
    if not is_kind:
        raise RequestError(422, f"{name} is {_kind(value)}; give {_NAMES[kind]}.")
    return value


def ask(
    fields: Mapping[str, Any],
    question: Any,
    models: Collection[str],
    limits: Limits,
) -> Asked:
    """What is asked.

    Args:
      fields: `model`, `retrieval` and `stream`, each optional.
      question: as it came.
      models: their names; the first is the default.
      limits: of the question.

    Raises:
      RequestError: 404 no such model; 422 no question, or no text, or too long.
    """
    model = take(fields, "model", str, next(iter(models)))
    if model not in models:
        raise RequestError(
            404, f"there is no model {model!r} here; there is {list(models)}."
        )
    return Asked(
        question=_question(question, limits),
        model=model,
        retrieval=take(fields, "retrieval", bool, True),
        stream=take(fields, "stream", bool, False),
    )


def check_token(request: Request, token: str | None, given: str | None = None) -> None:
    """Refuses a request without the server's token; takes as long for any wrong one.

    Args:
      request: with the header Authorization.
      token: the server's; None: it needs none.
      given: instead of the header's.

    Raises:
      RequestError: 401.
    """
    if token is None:
        return
    kind, _, header = request.headers.get("authorization", "").partition(" ")
    if given is None:
        given = header.strip() if kind.lower() == "bearer" else ""
    if not hmac.compare_digest(given.encode("utf-8", "replace"), token.encode()):
        raise RequestError(
            401,
            "the token is missing or wrong; send the header Authorization: Bearer "
            "TOKEN with the one that the server was started with.",
        )


def _question(question: Any, limits: Limits) -> str:
    if question is None:
        raise RequestError(422, "there is no question; give one as a text.")
    if not isinstance(question, str):
        raise RequestError(422, f"the question is {_kind(question)}; give a text.")
    question = question.strip()
    if not question:
        raise RequestError(422, "the question is empty; give a text.")
    if len(question) > limits.question_characters:
        raise RequestError(
            422,
            f"the question has {len(question)} characters, more than the "
            f"{limits.question_characters} that are allowed; shorten it, or start the "
            "server with --max_question_characters.",
        )
    try:
        question.encode()
    except UnicodeEncodeError as error:
        raise RequestError(
            422,
            f"the question holds half a character, {error.object[error.start]!a}; send "
            "whole ones.",
        ) from error
    return question


_NAMES: dict[type, str] = {
    str: "a text",
    bool: "true or false",
    int: "a whole number",
    list: "a list",
    dict: "an object",
}


def _kind(value: Any) -> str:
    """Of a JSON value, in JSON's words."""
    if value is None:
        return "null"
    if isinstance(value, float):
        return "a number"
    return "true or false" if isinstance(value, bool) else _NAMES[type(value)]
