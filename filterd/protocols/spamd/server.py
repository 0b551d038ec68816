"""The asyncio side of spamd's protocol: connections, their limits in time and number, and the drain.

1. One connection, one request; the parser and the layouts of answers are `wire` and `session`.
2. A client that has half-closed cannot be told from one that has gone by reading: both read as the end. A
   connection that is gone for both directions reports POLLHUP, so that is asked for while its mail is judged:
   at once on a unix socket; on TCP after its reset, since before that nobody can know.
3. Where an answer goes out before the request was read to its end, the rest is read and thrown away for a
   moment: closing on unread bytes makes the kernel reset the connection, and the answer is lost.
"""

import asyncio
import contextlib
import select
import socket
from collections.abc import Coroutine
from typing import Any

from filterd.api import Classifier, Kind, Label, Message, Verdict
from filterd.errors import DeadlineExceeded, FilterdError, LearningClosed, Overloaded
from filterd.log import log
from filterd.protocols.spamd import session, wire
from filterd.protocols.spamd.session import Step
from filterd.protocols.spamd.wire import Command, Parser, Request, State

READ_BYTES = 64 << 10  # of one read; asyncio's own buffer holds twice as much
MAX_CONNECTIONS = 512  # each may hold a whole mail in memory
HEAD_TIMEOUT_S = 30.0  # until request line and headers are there; spamd's --timeout-tcp
REQUEST_TIMEOUT_S = 300.0  # until the body is there, too; spamd's --timeout-child
WRITE_TIMEOUT_S = 60.0  # for the client to take the whole answer
LINGER_S = 2.0  # for reading on after an early answer (rule 3)
GONE_POLL_S = 0.1  # how often rule 2 is asked; most verdicts are there before the first time


class SpamdServer:
    """Answers spamd's clients with a classifier's verdicts.

    allow_tell: whether TELL may teach; where not, it is answered with code 69. max_bytes: see `wire`.
    """

    def __init__(
        self,
        classifier: Classifier,
        *,
        allow_tell: bool,
        max_bytes: int = wire.MAX_BODY_BYTES,
        max_connections: int = MAX_CONNECTIONS,
        head_timeout_s: float = HEAD_TIMEOUT_S,
        request_timeout_s: float = REQUEST_TIMEOUT_S,
        write_timeout_s: float = WRITE_TIMEOUT_S,
    ) -> None:
        self._classifier, self._allow_tell = classifier, allow_tell
        self._max_bytes, self._max_connections = max_bytes, max_connections
        self._head_timeout_s, self._request_timeout_s = head_timeout_s, request_timeout_s
        self._write_timeout_s = write_timeout_s
        self._servers: list[asyncio.Server] = []
        self._connections: dict[asyncio.Task[None], bool] = {}  # whether its request has come in

    @property
    def connections(self) -> int:
        """Connections that are open now."""
        return len(self._connections)

    async def start(self, sock: socket.socket) -> None:
        """Serve what connects to a listening socket; may be called for several."""
        self._servers.append(await asyncio.start_server(self.handle, sock=sock))

    async def close(self, drain_s: float) -> None:
        """Accept nobody any more, finish what has been asked within `drain_s` seconds, then cut off."""
        for server in self._servers:
            server.close()
        for task, asked in list(self._connections.items()):
            if not asked:
                task.cancel()
        if self._connections:
            _, late = await asyncio.wait(list(self._connections), timeout=drain_s)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late)

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection from its first byte to its last; raises nothing but its own cancellation."""
        task = asyncio.current_task()
        assert task is not None
        refused = len(self._connections) >= self._max_connections
        self._connections[task] = False
        try:
            if refused:
                answer = session.failed(Overloaded("too many connections; raise spamd.max_connections"))
            else:
                answer = await self._answer(reader, writer, task)
            await self._send(reader, writer, answer)
        except (ConnectionError, TimeoutError):
            writer.transport.abort()  # gone, or not taking its answer
        except asyncio.CancelledError:
            writer.transport.abort()
            raise
        finally:
            del self._connections[task]
            writer.close()

    async def _answer(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, task: "asyncio.Task[None]"
    ) -> bytes:
        try:
            request = await self._read(reader)
            self._connections[task] = True
            return await self._carry_out(request, writer)
        except FilterdError as error:
            log.debug("spamd request failed", extra={"fields": {"reason": str(error)}})
            return session.failed(error)
        except ConnectionError:
            raise
        except Exception:
            log.exception("spamd request failed")
            return session.failed(FilterdError("internal error; filterd's log says more"))

    async def _read(self, reader: asyncio.StreamReader) -> Request:
        """The whole request. Raises DeadlineExceeded and what `Parser` raises."""
        parser = Parser(self._max_bytes)
        try:
            async with asyncio.timeout(self._request_timeout_s):
                async with asyncio.timeout(self._head_timeout_s):
                    while parser.state in {State.LINE, State.HEADERS}:
                        await _feed(parser, reader)
                while parser.request is None:
                    await _feed(parser, reader)
        except TimeoutError as error:
            raise DeadlineExceeded("(the request did not come in in its time)") from error
        if parser.request.compressed:
            return await asyncio.to_thread(wire.inflated, parser.request, self._max_bytes)
        return parser.request

    async def _carry_out(self, request: Request, writer: asyncio.StreamWriter) -> bytes:
        step = session.step(request)
        if request.command is Command.TELL and not self._allow_tell:
            raise LearningClosed("learning is off on this listener; see spamd.allow_tell in filterd.yaml")
        message = Message(request.body, Kind.MAIL, source="spamd")
        match step:
            case Step.CLOSE:
                return b""
            case Step.PONG:
                return session.PONG
            case Step.JUDGE:
                verdict = await _unless_gone(self._classifier.check(message), writer)
                return session.judged(request, verdict, self._classifier)
            case Step.LEARN:
                return session.told(
                    did_set=await self._classifier.learn(message, Label(request.message_class))
                )
            case Step.FORGET:
                return session.told(did_remove=await self._classifier.forget(message))
            case Step.NOTHING:
                return session.told()

    async def _send(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answer: bytes) -> None:
        writer.transport.set_write_buffer_limits(0)  # so that drain() waits for all of it
        async with asyncio.timeout(self._write_timeout_s):
            writer.write(answer)
            await writer.drain()
        if reader.at_eof():
            return
        writer.write_eof()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LINGER_S):
                while await reader.read(READ_BYTES):
                    pass


async def _feed(parser: Parser, reader: asyncio.StreamReader) -> None:
    data = await reader.read(READ_BYTES)
    if data:
        parser.feed(data)
    else:
        parser.end()


async def _unless_gone(judging: Coroutine[Any, Any, Verdict], writer: asyncio.StreamWriter) -> Verdict:
    """The verdict; cancelled, with a ConnectionResetError, once there is nobody to tell it to (rule 2)."""
    task = asyncio.ensure_future(judging)
    try:
        while not (await asyncio.wait({task}, timeout=GONE_POLL_S))[0]:
            if _is_gone(writer):
                raise ConnectionResetError("the client left")
        return task.result()
    finally:
        task.cancel()


def _is_gone(writer: asyncio.StreamWriter) -> bool:
    if writer.is_closing():
        return True
    poll = select.poll()
    poll.register(writer.get_extra_info("socket").fileno(), 0)  # POLLHUP and POLLERR come unasked
    return bool(poll.poll(0))
