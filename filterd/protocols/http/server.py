"""HTTP on a listening socket: uvicorn's httptools connection in the daemon's event loop, with our bounds.

1. A request's head has to come in its time, and a client has to take its answer in its time. The app bounds
   the time of the body.
2. llhttp, the parser, bounds nothing. So bytes that bring nothing further (heads, chunk extensions, trailers)
   are counted here, and header fields, and requests that were sent ahead.
3. A connection that the app has answered before its body was read is closed; what is left of the body is not.
4. Whatever is refused here is refused in JSON, like all else.
5. A client that closes its half has gone, and costs nothing further. A plugin's is answered: better to judge
   for nobody than to lose a message.

It was measured against h11: 0.25 ms less of the event loop a request (docs/decisions.md).
"""

import asyncio
import http
import json
import socket
from typing import Any, cast

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from filterd import listen
from filterd.kit.door import LINGER_S, Door

HEAD_TIMEOUT_S = 10.0  # from its connection, or its first byte on an old one, to a request's whole head
KEEP_ALIVE_S = 30.0  # an idle keep-alive connection is a client's convenience, not its right
WRITE_TIMEOUT_S = 60.0  # for a client to take what it asked for
MAX_HEAD_BYTES = 64 << 10  # Rspamd's clients put recipients there; more than any client of ours sends
MAX_FIELDS = 1000  # `Rcpt:` is a field for each recipient
MAX_AHEAD = 64  # requests that one client may send before it has its answers


class HttpConnection(HttpToolsProtocol):
    """One connection. `on_…` are the parser's callbacks; what they raise is answered with 400."""

    def __init__(self, server: "HttpServer", config: uvicorn.Config, state: ServerState) -> None:
        super().__init__(config, state, {})
        self._server, self._door = server, server.door
        self._timer: asyncio.TimerHandle | None = None  # of the head, then of the next request
        self._write_timer: asyncio.TimerHandle | None = None
        self._unused = 0  # bytes since the last that brought a request further (rule 2)
        self._fields = 0
        self._in_head = False  # a request has begun whose head is not there
        self._deaf = False  # it is refused or over: what comes is not looked at
        self._ended = False  # the client sends no more, and waits

    # What asyncio calls.

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take it, or say that there are too many."""
        super().connection_made(transport)
        if self._door.enter(self):
            self._expect(HEAD_TIMEOUT_S)
            return
        self._deaf = True
        self.connections.discard(self)
        self._door.refuse(transport, _refusal(503, self._server.too_many))

    def connection_lost(self, exc: Exception | None) -> None:
        """Nobody is there any more."""
        self._door.leave(self)
        for timer in (self._timer, self._write_timer):
            if timer:
                timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """More of a request."""
        if self._deaf:
            return
        self._unused += len(data)
        super().data_received(data)
        if self._unused > MAX_HEAD_BYTES and not self._deaf:
            self._refuse(431, f"the head of the request is larger than {MAX_HEAD_BYTES:,} bytes")

    def eof_received(self) -> bool:  # type: ignore[override]
        """The client sends no more; True: it still gets what it asked for (rule 5)."""
        self._ended = self._server.half_closed and bool(self.pipeline or self._asking)
        return self._ended

    def pause_writing(self) -> None:
        """The client does not read its answer."""
        super().pause_writing()
        self._write_timer = self.loop.call_later(WRITE_TIMEOUT_S, self.abort)

    def resume_writing(self) -> None:
        """It does again."""
        super().resume_writing()
        if self._write_timer:
            self._write_timer.cancel()

    # What the parser calls.

    def on_message_begin(self) -> None:
        """A request begins."""
        if len(self.pipeline) >= MAX_AHEAD:
            raise ValueError("too many requests ahead")
        super().on_message_begin()
        self._in_head, self._fields = True, 0
        self._expect(HEAD_TIMEOUT_S)

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header field, or one of a trailer."""
        self._fields += 1
        if self._fields > MAX_FIELDS:
            raise ValueError("too many header fields")
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The head is there: the app begins, and waits for the body."""
        super().on_headers_complete()
        self._unused, self._in_head = 0, False
        self._expect(None)

    def on_body(self, body: bytes) -> None:
        """More of the body."""
        super().on_body(body)
        self._unused = 0

    def on_message_complete(self) -> None:
        """The request is there."""
        super().on_message_complete()
        self._unused = 0
        self._door.asked(self)

    # What uvicorn calls.

    def on_response_complete(self) -> None:
        """The app has answered."""
        goes_on = bool(self.pipeline)  # with a request that was sent ahead
        super().on_response_complete()
        self._unset_keepalive_if_required()  # its timer starts anew with every byte, ours does not
        if self.transport.is_closing() or goes_on:
            return
        if self._ended:
            self.transport.close()
        elif self.cycle.more_body:
            self._linger()
        else:
            self._door.waits(self)
            if not self._in_head:
                self._expect(KEEP_ALIVE_S)

    def send_400_response(self, msg: str) -> None:
        """The parser has given up."""
        self._refuse(400, "that is no HTTP/1.1 request")

    def _unsupported_upgrade_warning(self) -> None:
        """Somebody offers HTTP/2 or a WebSocket, as curl does; he gets his answer, and nobody has to know."""

    # The work.

    @property
    def _asking(self) -> bool:
        """Whether a whole request waits for its answer."""
        return self.cycle is not None and not (self.cycle.response_complete or self.cycle.more_body)

    def finish(self) -> None:
        """The daemon ends: what has been asked for is answered."""
        self.shutdown()

    def abort(self) -> None:
        """End at once."""
        self.transport.abort()

    def _expect(self, seconds: float | None) -> None:
        """What is waited for has to be there by then; None: nothing is."""
        if self._timer:
            self._timer.cancel()
        self._timer = None if seconds is None else self.loop.call_later(seconds, self._too_late)

    def _too_late(self) -> None:
        if self._unused:
            self._refuse(408, f"the head of the request did not arrive within {HEAD_TIMEOUT_S:g} s")
        else:
            self.transport.close()

    def _refuse(self, status: int, why: str) -> None:
        if not self.transport.is_closing():
            self.transport.write(_refusal(status, why))
            self._linger()

    def _linger(self) -> None:
        """Close, but not on what still comes: that would take the answer back."""
        self._deaf = True
        self._expect(None)
        if self.transport.is_closing():
            return
        self.transport.write_eof()
        self.transport.resume_reading()
        self._timer = self.loop.call_later(LINGER_S, self.abort)


class HttpServer:
    """Serves one application on one listening socket.

    section: of the configuration, for what a client is told that is one too many. half_closed: see rule 5.
    """

    def __init__(
        self, app: ASGIApp, *, max_connections: int, section: str = "http", half_closed: bool = False
    ) -> None:
        self.door = Door(max_connections)
        self.too_many = f"too many connections; see {section}.max_connections"
        self.half_closed = half_closed
        self._state = ServerState()
        self._config = uvicorn.Config(
            cast(Any, app),
            interface="asgi3",
            http=HttpConnection,
            log_config=None,
            access_log=False,
            lifespan="off",
            ws="none",
            proxy_headers=False,
        )
        self._server: asyncio.Server | None = None

    @property
    def connections(self) -> int:
        """Connections that are open now."""
        return len(self.door)

    async def start(self, listening: socket.socket) -> None:
        """Answer requests until `close`."""
        self._config.load()
        self._server = await listen.serve(self._connection, listening)

    def _connection(self) -> HttpConnection:
        return HttpConnection(self, self._config, self._state)

    async def close(self, drain_s: float) -> None:
        """Take no new requests, answer those under way within `drain_s` seconds, then cut off."""
        if self._server:
            self._server.close()
        await self.door.drain(drain_s)
        for task in self._state.tasks:
            task.cancel()


def _refusal(status: int, why: str) -> bytes:
    body = json.dumps({"error": why}).encode()
    head = (
        f"HTTP/1.1 {status} {http.HTTPStatus(status).phrase}\r\n"
        "content-type: application/json\r\n"
        f"content-length: {len(body)}\r\n"
        "connection: close\r\n\r\n"
    )
    return head.encode("ascii") + body
