"""The asyncio side of spamd's protocol: connections, their limits in time and number, and the drain.

1. One connection, one request. Bytes go to the parser as they come, without a task or a stream in between;
   the one task of a connection is what its request asks for.
2. A client that has half-closed cannot be told from one that has gone by reading: both read as the end. A
   connection that is gone for both directions reports POLLHUP, so that is asked for while its mail is judged:
   at once on a unix socket; on TCP after its reset, since before that nobody can know.
3. Where an answer goes out before the request was read to its end, the rest is read and thrown away for a
   moment: closing on unread bytes makes the kernel reset the connection, and the answer is lost.
"""

import asyncio
import os
import select
import socket
from collections.abc import Collection
from typing import Any

from filterd import listen
from filterd.api import Classifier, Kind, Label, Message
from filterd.errors import DeadlineExceeded, FilterdError, LearningClosed, Overloaded
from filterd.kit.door import Door
from filterd.kit.room import Held, Room
from filterd.log import log
from filterd.protocols.spamd import session, wire
from filterd.protocols.spamd.session import SpamdStep
from filterd.protocols.spamd.wire import ParserState, SpamdCommand, SpamdParser, SpamdRequest

MAX_CONNECTIONS = 512
MAX_HELD_BYTES = 256 << 20  # of all mails together, unless a daemon has one room for all its listeners
HEAD_TIMEOUT_S = 30.0  # until request line and headers are there; spamd's --timeout-tcp
REQUEST_TIMEOUT_S = 300.0  # until the body is there, too; spamd's --timeout-child
WRITE_TIMEOUT_S = 60.0  # for the client to take the whole answer
LINGER_S = 2.0  # for reading on after an early answer (rule 3)
GONE_POLL_S = 0.1  # how often rule 2 is asked; most verdicts are there before the first time
AT_ONCE_BYTES = 64 << 10  # of a mail that the event loop itself hands back with headers: 0.2 ms at most
TOO_MANY = Overloaded("too many connections; raise spamd.max_connections")


class SpamdServer:
    """Answers spamd's clients with a classifier's verdicts.

    allow_tell: whether TELL may teach; where not, it is answered with code 69. max_bytes: see `wire`.
    room: what mails may take of the memory. speakers: system users who may correct in others' names.
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
        room: Room | None = None,
        speakers: Collection[str] = ("root",),
    ) -> None:
        self.speakers = {*speakers, listen.user_of(os.geteuid())}
        self.classifier, self.allow_tell, self.max_bytes = classifier, allow_tell, max_bytes
        self.head_timeout_s, self.request_timeout_s = head_timeout_s, request_timeout_s
        self.write_timeout_s = write_timeout_s
        self.room = room or Room(MAX_HELD_BYTES)
        self.door = Door(max_connections)
        self._servers: list[asyncio.Server] = []

    @property
    def connections(self) -> int:
        """Connections that are open now."""
        return len(self.door)

    async def start(self, sock: socket.socket) -> None:
        """Serve what connects to a listening socket; may be called for several."""
        self._servers.append(await listen.serve(lambda: SpamdConnection(self), sock))

    async def close(self, drain_s: float) -> None:
        """Accept nobody any more, finish what has been asked within `drain_s` seconds, then cut off."""
        for server in self._servers:
            server.close()
        await self.door.drain(drain_s)


class SpamdConnection(asyncio.Protocol):
    """One connection from its first byte to its last."""

    def __init__(self, server: SpamdServer) -> None:
        self.asked = False  # its request has come in
        self._server = server
        self._parser = SpamdParser(server.max_bytes)
        self._held = Held(server.room)
        self._answered = False
        self._ended = False  # the client has closed its half, or all
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._transport: Any = None

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take it, or say that there are too many."""
        self._transport = transport
        if not self._server.door.enter(self):
            self._answered = True
            self._server.door.refuse(self._transport, session.failed(TOO_MANY))
            return
        self._transport.set_write_buffer_limits(0)  # pause_writing comes unless all of an answer is taken
        self._expect(self._server.head_timeout_s)

    def connection_lost(self, exc: Exception | None) -> None:
        """Nobody is there any more."""
        self._server.door.leave(self)
        self._held.release()
        self._expect(None)
        if self._task:
            self._task.cancel()

    def data_received(self, data: bytes) -> None:
        """More of a request; what comes after it, or after an early answer, is thrown away."""
        if self.asked or self._answered:
            return
        in_head = self._parser.state in _HEAD
        try:
            self._parser.feed(data)
            self._held.hold(len(self._parser.request.body) if self._parser.request else self._parser.held)
        except FilterdError as error:
            self._fail(error)
            return
        if self._parser.request:
            self._begin(self._parser.request)
        elif in_head and self._parser.state not in _HEAD:
            self._expect(self._server.request_timeout_s)

    def eof_received(self) -> bool:
        """The client sends no more; True: it still gets its answer."""
        self._ended = True
        if self._answered:
            return False
        if not self.asked:
            try:
                self._parser.end()
            except FilterdError as error:
                self._fail(error)
            else:
                self._begin(self._parser.request)
        elif self._task:
            self._expect_gone()
        return True

    def pause_writing(self) -> None:
        """The client does not take its answer."""
        self._expect(self._server.write_timeout_s)

    def resume_writing(self) -> None:
        """It has."""
        self._after_answer()

    # The work.

    def finish(self) -> None:
        """The daemon ends: only what has been asked for is answered."""
        if not self.asked:
            self.abort()

    def abort(self) -> None:
        """End at once."""
        self._transport.abort()

    def _expect(self, seconds: float | None) -> None:
        """What is waited for has to be there by then; None: nothing is."""
        if self._timer:
            self._timer.cancel()
        loop = asyncio.get_running_loop()
        self._timer = None if seconds is None else loop.call_later(seconds, self._too_late)

    def _too_late(self) -> None:
        if self._answered:
            self.abort()
        else:
            self._fail(DeadlineExceeded("(the request did not come in in its time)"))

    def _begin(self, request: SpamdRequest | None) -> None:
        assert request
        self.asked = True
        self._expect(None)
        self._server.door.asked(self)
        self._task = asyncio.get_running_loop().create_task(self._serve(request))
        if self._ended:
            self._expect_gone()

    async def _serve(self, request: SpamdRequest) -> None:
        try:
            self._send(await self._carry_out(request))
        except FilterdError as error:
            self._fail(error)
        except Exception:
            log.exception("spamd request failed")
            self._fail(FilterdError("internal error; filterd's log says more"))

    async def _carry_out(self, request: SpamdRequest) -> bytes:
        server = self._server
        if request.compressed:
            request = await asyncio.to_thread(wire.inflated, request, server.max_bytes, self._held.take)
        step = session.step(request)
        if request.command is SpamdCommand.TELL and not server.allow_tell:
            raise LearningClosed("learning is off on this listener; see spamd.allow_tell in filterd.yaml")
        user = self._speaker(request) if request.command is SpamdCommand.TELL else request.user
        message = Message(request.body, kind=Kind.MAIL, source="spamd", user=user)
        match step:
            case SpamdStep.CLOSE:
                return b""
            case SpamdStep.PONG:
                return session.PONG
            case SpamdStep.JUDGE:
                return await self._judged(request, message)
            case SpamdStep.LEARN:
                return session.told(
                    did_set=await server.classifier.learn(message, Label(request.message_class))
                )
            case SpamdStep.FORGET:
                return session.told(did_remove=await server.classifier.forget(message))
            case SpamdStep.NOTHING:
                return session.told()

    def _speaker(self, request: SpamdRequest) -> str:
        """Whose correction it is. Of a local peer that speaks for nobody else his own, whatever he claims."""
        peer = listen.peer_of(self._transport.get_extra_info("socket"))
        return request.user if peer is None or peer in self._server.speakers else peer

    async def _judged(self, request: SpamdRequest, message: Message) -> bytes:
        classifier = self._server.classifier
        verdict = await classifier.check(message)
        if request.command in wire.TAGGED and len(request.body) > AT_ONCE_BYTES:
            return await asyncio.to_thread(session.judged, request, verdict, classifier)
        return session.judged(request, verdict, classifier)

    def _fail(self, error: FilterdError) -> None:
        log.debug("spamd request failed", extra={"fields": {"reason": str(error)}})
        self._send(session.failed(error))

    def _send(self, answer: bytes) -> None:
        self._task = None
        self._answered = True
        self._expect(None)
        if self._transport.is_closing():
            return
        self._transport.write(answer)  # pause_writing comes from in here, where not all of it was taken
        if not self._transport.get_write_buffer_size():
            self._after_answer()

    def _after_answer(self) -> None:
        """All of it is taken: close, or wait for a client that still sends (rule 3)."""
        if self._ended or self._transport.is_closing():
            self._transport.close()
            return
        self._transport.write_eof()
        self._expect(LINGER_S)

    def _expect_gone(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(GONE_POLL_S, self._look)

    def _look(self) -> None:
        """End where there is nobody to tell a verdict to (rule 2)."""
        if not self._task or self._transport.is_closing():
            return
        poll = select.poll()
        poll.register(self._transport.get_extra_info("socket").fileno(), 0)  # POLLHUP, POLLERR come unasked
        if poll.poll(0):
            self.abort()
        else:
            self._expect_gone()


_HEAD = (ParserState.LINE, ParserState.HEADERS)
