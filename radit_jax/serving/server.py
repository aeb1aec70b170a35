"""The server: a port of its own, uvicorn on it, and a stop that loses nobody."""

import asyncio
import contextlib
import errno
import signal
import socket
from types import FrameType

import uvicorn
from starlette.applications import Starlette

from radit_jax.serving.app import LOOPBACK
from radit_jax.serving.worker import Worker

_CLOSE_SECONDS = 5  # for replies that are on their way when the worker has stopped
_LEAST_TOKEN_CHARACTERS = 16


class ServingError(ValueError):
    """A server that can't be started: the facts and the remedy."""


def check_host(host: str, token: str | None) -> None:
    """Refuses to listen to other machines without a token.

    Raises:
      ServingError: no token, or one that is easy to guess.
    """
    make = "python -c 'import secrets; print(secrets.token_urlsafe())'"
    if token is None and host not in LOOPBACK:
        raise ServingError(
            f"--host={host} lets other machines ask, and there is no token. Set the "
            f"environment variable RADIT_TOKEN (`{make}` makes one), or leave --host "
            "out to serve this machine alone."
        )
    if token is not None and len(token) < _LEAST_TOKEN_CHARACTERS:
        raise ServingError(
            f"the token has {len(token)} characters; give at least "
            f"{_LEAST_TOKEN_CHARACTERS} (`{make}` makes one)."
        )


def bind(host: str, port: int) -> socket.socket:
    """Takes the port before any model is loaded.

    Args:
      host: name or address of this machine.
      port: 0: any free one.

    Raises:
      ServingError: it is in use, or not ours to take.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with contextlib.ExitStack() as stack:
            bound = stack.enter_context(socket.socket(family, kind, protocol))
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind(address)
            stack.pop_all()
            return bound
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise ServingError(
                f"port {port} of {host} is in use; stop the program that has it, or "
                "give another --port (0: any free one)."
            ) from error
        raise ServingError(
            f"port {port} of {host} can't be taken: {error.strerror or error}. Give "
            "another --host or --port."
        ) from error


def url(bound: socket.socket) -> str:
    """Where a browser finds it."""
    host, port = bound.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/"


class Server(uvicorn.Server):
    """Uvicorn, with a worker that stops before the connections are closed."""

    def __init__(self, app: Starlette, worker: Worker, grace_seconds: float):
        """Args: grace_seconds: for the batch that runs when the server is stopped."""
        super().__init__(
            uvicorn.Config(
                app,
                log_config=None,
                access_log=False,
                server_header=False,
                lifespan="off",
                timeout_keep_alive=30,
                timeout_graceful_shutdown=_CLOSE_SECONDS,
                h11_max_incomplete_event_size=65_536,
            )
        )
        self._worker, self._grace_seconds = worker, grace_seconds

    def serve_on(self, bound: socket.socket) -> None:
        """Serves until a signal; returns when everybody was answered or told."""
        self._worker.start()
        self.run(sockets=[bound])

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begins to stop; a second Ctrl-C no longer waits for anybody."""
        self.force_exit = self.should_exit and sig == signal.SIGINT
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stops the worker, so that all requests end; then closes."""
        await asyncio.to_thread(self._worker.stop, self._grace_seconds)
        await super().shutdown(sockets)
