"""uvicorn on sockets that are open already, inside the daemon's own event loop and under its signals."""

import contextlib
import socket
from collections.abc import Iterator

import uvicorn
from starlette.applications import Starlette
from starlette.types import Receive, Scope, Send

from filterd.protocols.http.app import too_many

KEEP_ALIVE_S = 30  # an idle keep-alive connection is a client's convenience, not its right
MAX_HEADER_BYTES = 64 << 10  # h11's own default; more than any client of ours sends


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: the daemon drains and stops it."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class HttpServer:
    """Serves one application on one listening socket until `close`."""

    def __init__(self, app: Starlette, *, max_connections: int, drain_s: float) -> None:
        self._app, self._max_connections = app, max_connections
        self._server = _Server(
            uvicorn.Config(
                self._answer,
                interface="asgi3",
                log_config=None,
                access_log=False,
                server_header=False,
                date_header=False,
                lifespan="off",
                ws="none",
                timeout_keep_alive=KEEP_ALIVE_S,
                timeout_graceful_shutdown=int(drain_s) or 1,
                h11_max_incomplete_event_size=MAX_HEADER_BYTES,
            )
        )

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """uvicorn's own `limit_concurrency` would refuse in plain text, where all other errors are JSON."""
        full = len(self._server.server_state.connections) > self._max_connections
        await (too_many if full else self._app)(scope, receive, send)

    async def serve(self, listening: socket.socket) -> None:
        """Answer requests; returns after `close` and the drain."""
        await self._server.serve(sockets=[listening])

    def close(self) -> None:
        """Take no new requests; those under way are answered."""
        self._server.should_exit = True
