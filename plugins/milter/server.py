"""The asyncio side of the milter: connections, their times, progress.

1. Bytes go to a `MilterSession` as they come, without a task or a stream in between; the one task of a
   connection is the judging of a mail.
2. Reading goes on while a mail is judged, since only reading shows that the mail server has gone; then the
   judging is cancelled. What comes meanwhile is kept up to a bound.
3. Whatever ends a connection early makes the mail server do what its `milter_default_action` says, which is
   right for a peer that does not speak the protocol, for too many connections, and for a daemon that ends.
"""

import asyncio
import logging
import socket
from collections.abc import Callable
from typing import Any, ClassVar, Final

from filterd.api import Action as Do
from filterd.api import Classifier, Message, Verdict
from filterd.errors import FilterdError, Overloaded
from filterd.kit.door import Door
from filterd.kit.room import Held
from filterd_plugins.milter import rules
from filterd_plugins.milter.session import MilterSession, MilterState
from filterd_plugins.milter.wire import PROGRESS, MilterError

PROGRESS_EVERY_S: Final = 10.0  # mail servers wait 5 minutes by default, but may be told to wait for 30 s
NEGOTIATE_TIMEOUT_S: Final = 60.0  # until the first packet is there; mail servers send it at once
IDLE_TIMEOUT_S: Final = 7210.0  # between two pieces of data; libmilter's own, longer than any SMTP time-out
# Postfix writes macros, which nobody answers, and then a command. Its TCP holds the command back until the
# macros are acknowledged, and ours would wait up to 40 ms with that.
QUICKACK: Final = getattr(socket, "TCP_QUICKACK", None)  # Linux
MAX_WAITING_BYTES: Final = 1 << 20  # kept while a mail is judged; a mail server sends nothing then

log = logging.getLogger("filterd.milter")  # a child of the daemon's logger, with its form and level


class Milter:
    """The plugin: see `filterd.api.StreamPlugin`."""

    Settings: ClassVar[type[rules.MilterSettings]] = rules.MilterSettings

    def __init__(self, settings: rules.MilterSettings, classifier: Classifier) -> None:
        self.settings, self.classifier = settings, classifier

    def protocol(self, door: Door) -> "MilterConnection":
        """The handler of one new connection."""
        return MilterConnection(self, door)


class MilterConnection(asyncio.Protocol):
    """One connection of a mail server: its session, its transport, and at most one mail that is judged."""

    def __init__(self, milter: Milter, door: Door) -> None:
        self._milter, self._door = milter, door
        self._held = Held(door.room)
        self._session = MilterSession(milter.settings, milter.classifier)
        self.transport: asyncio.Transport | None = None
        self._judging: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._progress: asyncio.TimerHandle | None = None
        self._heard_at = 0.0  # when data came last, on the loop's clock
        self._takes_answers = True  # whether the peer reads what it is told
        self._tcp: Any = None  # the socket, where it is one of TCP

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take it, or close it where there are too many."""
        assert isinstance(transport, asyncio.Transport)
        if not self._door.enter(self):
            if not self._door.closing:
                _closed("too many; see plugins.milter.max_connections")
            transport.abort()
            return
        self._door.asked(self)  # between two mails a mail server may be silent for long
        self.transport = transport
        sock = transport.get_extra_info("socket")
        if sock.family != socket.AF_UNIX:  # asyncio sets it only where a socket knows its protocol's number
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._tcp = sock
        self._heard_at = _now()
        self._watch(NEGOTIATE_TIMEOUT_S)

    def connection_lost(self, exc: Exception | None) -> None:
        """Nobody is there any more to be told about a mail."""
        self.transport = None
        if self._judging:
            self._judging.cancel()
        if self._timer:
            self._timer.cancel()
        self._held.release()
        self._door.leave(self)

    def data_received(self, data: bytes) -> None:
        """Pass it on, and say what there is to say."""
        self._heard_at = _now()
        if self._tcp and QUICKACK is not None:  # the kernel forgets it, so each time
            self._tcp.setsockopt(socket.IPPROTO_TCP, QUICKACK, 1)
        self._go_on(lambda: self._session.receive(data))

    def pause_writing(self) -> None:
        """The peer does not read its answers: take no more of its commands."""
        self._takes_answers = False
        self._regulate()

    def resume_writing(self) -> None:
        """It does again."""
        self._takes_answers = True
        self._regulate()

    # What the door calls.

    def finish(self) -> None:
        """Close it unless a mail is under way."""
        if self._session.state in {MilterState.START, MilterState.READY, MilterState.IDLE} and self.transport:
            self.transport.close()

    def abort(self) -> None:
        """Close it now."""
        if self.transport:
            self.transport.abort()

    # The work.

    def _go_on(self, step: Callable[[], bytes]) -> None:
        """Run a step of the session, send what it says, and begin judging where it has a mail."""
        if not self.transport:
            return
        try:
            self.transport.write(step())
        except MilterError as error:
            _closed(str(error))
            self.transport.abort()
            return
        self._hold()
        if self._session.mail is not None and self._judging is None:
            self._judging = asyncio.ensure_future(self._judge(self._session.mail))
        elif self._session.state is MilterState.CLOSED:
            self.transport.close()
        elif self._door.closing:
            self.finish()
        self._regulate()

    def _hold(self) -> None:
        """Take room for what is kept; a mail for which there is none is given up, as any overload is."""
        try:
            self._held.hold(self._session.held)
        except Overloaded:
            if self._session.give_up():
                self._held.release()

    def _regulate(self) -> None:
        """Read only while there is room for what comes."""
        if not self.transport or self.transport.is_closing():
            return
        if self._takes_answers and self._session.waiting <= MAX_WAITING_BYTES:
            self.transport.resume_reading()
        else:
            self.transport.pause_reading()

    async def _judge(self, mail: Message) -> None:
        self._expect_progress()
        try:
            outcome = await self._outcome(mail)
        finally:
            if self._progress:
                self._progress.cancel()
            self._judging = None
        if self.transport:
            self.transport.write(self._conclude(mail, outcome))
        self._go_on(lambda: self._session.receive(b""))

    async def _outcome(self, mail: Message) -> Verdict | FilterdError:
        if self._session.crowded:
            return Overloaded("too many bytes of mail are in memory; see queue.max_bytes")
        try:
            return await self._milter.classifier.check(mail)
        except FilterdError as error:
            return error
        except Exception:
            log.exception("mail not judged")
            return FilterdError("internal error")

    def _conclude(self, mail: Message, outcome: Verdict | FilterdError) -> bytes:
        decision = self._session.decide(outcome)
        verdict = decision.verdict
        if decision.do is not Do.TAG or not verdict.available:
            fields = {"id": mail.id, "do": decision.do, "label": verdict.label, "points": verdict.points}
            if not verdict.available:
                fields["reason"] = str(outcome) if isinstance(outcome, FilterdError) else "see queue.on_error"
            log.info("mail", extra={"fields": fields})
        return self._session.conclude(decision)

    def _expect_progress(self) -> None:
        self._progress = asyncio.get_running_loop().call_later(PROGRESS_EVERY_S, self._say_progress)

    def _say_progress(self) -> None:
        """Keep the mail server from giving up; it understands this at the end of a mail only."""
        if self.transport:
            self.transport.write(PROGRESS)
            self._expect_progress()

    def _watch(self, after_s: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(after_s, self._look)

    def _look(self) -> None:
        """Close a connection on which nothing has come for too long."""
        negotiated = self._session.state is not MilterState.START
        limit = IDLE_TIMEOUT_S if negotiated else NEGOTIATE_TIMEOUT_S
        left = self._heard_at + limit - _now()
        if negotiated and (left > 0 or self._judging):
            self._watch(max(left, NEGOTIATE_TIMEOUT_S))
        elif self.transport:
            _closed("nothing came for too long")
            self.transport.abort()


def _now() -> float:
    return asyncio.get_running_loop().time()


def _closed(reason: str) -> None:
    log.warning("milter connection closed", extra={"fields": {"reason": reason}})
