"""The page to ask: drawn by the server, and by its script while an answer grows.

Questions, passages and answers are hostile until escaped: the template escapes
everything, the script writes text only as text, and nothing is loaded from elsewhere.
"""

import dataclasses
import urllib.parse
from collections.abc import Sequence

import jinja2
from starlette.requests import Request
from starlette.responses import Response

from radit_jax.serving import reading
from radit_jax.serving.answering import Service
from radit_jax.serving.asked import Asked, RequestError
from radit_jax.serving.reply import Reply

TITLES = {"tuned": "Tuned", "base": "Base"}
_WITH, _WITHOUT, _BOTH = "with", "without", "both"


@dataclasses.dataclass(frozen=True, slots=True)
class About:
    """What the page tells of the server."""

    models: dict[str, str]  # name to what it is
    num_corpus_chunks: int
    num_chunks: int  # behind an answer
    mode: str
    examples: Sequence[str]  # questions to try


class Page:
    """The page and its files."""

    def __init__(self, service: Service, about: About):
        """Reads the templates."""
        self._service, self._about = service, about
        environment = jinja2.Environment(
            loader=jinja2.ChoiceLoader(
                [
                    jinja2.PackageLoader("radit_jax.serving", "."),
                    jinja2.PackageLoader("radit_jax.evaluation", "."),
                ]
            ),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._template = environment.get_template("page.html.jinja")
        self._css = environment.get_template("page.css.jinja").render()
        self._js = environment.get_template("page.js.jinja").render()

    async def show(self, request: Request) -> Response:
        """`GET /`."""
        return self._page()

    async def ask(self, request: Request) -> Response:
        """`POST /`, from a browser without scripts: the page with its answers."""
        form: dict[str, str] = {}
        try:
            form = await self._form(request)
            reading.check_token(request, self._service.token, form.get("token"))
            replies = []
            for asked in self._asked(form):
                reply = await self._service.reply(request, asked)
                if reply is None:
                    return Response(status_code=499)
                replies.append(reply)
        except RequestError as error:
            return self._page(form, error=error)
        return self._page(form, replies)

    async def style(self, request: Request) -> Response:
        """`GET /page.css`."""
        return Response(self._css, media_type="text/css")

    async def script(self, request: Request) -> Response:
        """`GET /page.js`."""
        return Response(self._js, media_type="text/javascript")

    async def _form(self, request: Request) -> dict[str, str]:
        body = await reading.read_body(request, self._service.limits)
        text = body.decode("utf-8", "replace")
        try:
            fields = urllib.parse.parse_qsl(text, max_num_fields=16)
        except ValueError as error:
            raise RequestError(400, f"the form can't be read: {error}.") from error
        return dict(fields)

    def _asked(self, form: dict[str, str]) -> list[Asked]:
        """One for each column of the page."""
        models = [*self._about.models]
        name = form.get("model", models[0])
        passages = form.get("passages", _WITH)
        return [
            reading.ask(
                {"model": one, "retrieval": retrieval},
                form.get("question"),
                models,
                self._service.limits,
            )
            for one in (models if name == _BOTH else [name])
            for retrieval in (True, False)
            if passages in (_BOTH, _WITH if retrieval else _WITHOUT)
        ]

    def _page(
        self,
        form: dict[str, str] | None = None,
        replies: Sequence[Reply] = (),
        error: RequestError | None = None,
    ) -> Response:
        form = form or {}
        html = self._template.render(
            about=self._about,
            titles=TITLES,
            limits=self._service.limits,
            needs_token=self._service.token is not None,
            question=form.get("question", ""),
            model=form.get("model", next(iter(self._about.models))),
            passages=form.get("passages", _WITH),
            replies=[reply.to_record() for reply in replies],
            error=None if error is None else error.message,
        )
        status = 200 if error is None else error.status
        headers = {} if error is None else error.headers
        # A tokenizer may give half a character, which UTF-8 has no bytes for.
        return Response(
            html.encode("utf-8", "replace"), status, headers, "text/html; charset=utf-8"
        )
