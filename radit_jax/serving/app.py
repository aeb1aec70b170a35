"""The web application: routes, what stands before them, and how errors look."""

import urllib.parse
from collections.abc import Callable

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from radit_jax.serving import metrics, reading
from radit_jax.serving.answering import Service
from radit_jax.serving.asked import RequestError
from radit_jax.serving.page import Page

_POLICY = (
    "default-src 'none'",
    "style-src 'self'",
    "style-src-attr 'unsafe-inline'",  # the length of a bar
    "script-src 'self'",
    "connect-src 'self'",
    "img-src data:",
    "form-action 'self'",
    "base-uri 'none'",
    "frame-ancestors 'none'",
)
_HEADERS = {
    "content-security-policy": "; ".join(_POLICY),
    "x-content-type-options": "nosniff",
    # With "no-referrer" the page's own form would come from origin "null".
    "referrer-policy": "same-origin",
    "cache-control": "no-store",
}
LOOPBACK = ("127.0.0.1", "localhost", "::1")


def make_app(service: Service, page: Page) -> Starlette:
    """The application; its worker is started and stopped by whoever serves it.

    Args:
      service: the API.
      page: the page to ask.
    """

    async def healthz(request: Request) -> Response:
        is_alive = service.worker.is_alive
        state = "ready" if is_alive else "stopping"
        models = [*service.worker.systems]
        return JSONResponse(
            {"status": state, "models": models}, 200 if is_alive else 503
        )

    async def show_metrics(request: Request) -> Response:
        reading.check_token(request, service.token)
        text = service.metrics.text()
        return Response(text, headers={"content-type": metrics.CONTENT_TYPE})

    routes = [
        Route("/", page.show),
        Route("/", page.ask, methods=["POST"]),
        Route("/page.css", page.style),
        Route("/page.js", page.script),
        Route("/ask", service.ask, methods=["POST"]),
        Route("/v1/completions", service.completions, methods=["POST"]),
        Route("/v1/chat/completions", service.chat_completions, methods=["POST"]),
        Route("/v1/models", service.models),
        Route("/healthz", healthz),
        Route("/metrics", show_metrics),
    ]
    return Starlette(
        routes=routes,
        middleware=[Middleware(Gate, service, {route.path for route in routes})],
        exception_handlers={RequestError: _tell, HTTPException: _tell_plain},
    )


class Gate:
    """Before the routes: who may ask, what goes with every reply, and the counters.

    A page of another site can make a browser send requests to a local server. It can't
    read the replies, but it could keep the models busy, or read them all after it has
    had its own name resolve to 127.0.0.1.
    """

    def __init__(self, app: Callable, service: Service, paths: set[str]):
        """Args: paths: that are counted by their name."""
        self._app, self._service, self._paths = app, service, paths

    async def __call__(self, scope, receive, send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = scope["path"] if scope["path"] in self._paths else "other"

        async def send_more(message) -> None:
            if message["type"] == "http.response.start":
                more = [(k.encode(), v.encode()) for k, v in _HEADERS.items()]
                message = {**message, "headers": [*message["headers"], *more]}
                status = message["status"]
                self._service.metrics.requests.labels(path, str(status)).inc()
            await send(message)

        refused = self._refused(Request(scope))
        app = self._app if refused is None else _error(refused)
        await app(scope, receive, send_more)

    def _refused(self, request: Request) -> RequestError | None:
        host = request.headers.get("host", "")
        # With a token, the server may have any name.
        if self._service.token is None and _name(host) not in LOOPBACK:
            return RequestError(
                403,
                f"this server answers to {LOOPBACK[0]}, not to {host!r}; start it with "
                "--host and --token to be reached by another name.",
            )
        origin = request.headers.get("origin")
        if origin is not None and urllib.parse.urlsplit(origin).netloc != host:
            return RequestError(
                403, f"a page of {origin} may not ask here; ask from the server's own."
            )
        return None


def _name(host: str) -> str | None:
    """Of "[::1]:8000": "::1"."""
    try:
        return urllib.parse.urlsplit(f"//{host}").hostname
    except ValueError:
        return None


def _error(error: RequestError) -> JSONResponse:
    return JSONResponse(error.to_record(), error.status, headers=error.headers)


async def _tell(request: Request, error: RequestError) -> Response:
    return _error(error)


async def _tell_plain(request: Request, error: HTTPException) -> Response:
    """What Starlette refuses: no such path, or method."""
    path = request.url.path
    told = f"{request.method} {path}: {error.detail}; see GET / for what there is."
    response = _error(RequestError(error.status_code, told))
    response.headers.update(error.headers or {})
    return response
