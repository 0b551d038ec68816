"""One client of the proxy, from greeting to goodbye: aiosmtpd's connection with our own command loop.

aiosmtpd keeps the connection, its clock and STARTTLS. Its command loop is not used: it takes a bare LF for
the end of a line, and gives LMTP one reply for all recipients.

Rules:
1. A client that goes away takes its connection to the next hop with it, cut off.
2. The clock runs while we wait for the client, not while the client waits for us.
3. The next hop is called at EHLO, so that what it can do is what the client is offered.
"""

import asyncio
import contextlib
import logging
import ssl
from collections.abc import Iterator
from dataclasses import dataclass

from aiosmtpd.smtp import SMTP, TLSSetupException

from filterd.errors import Overloaded
from filterd.kit.address import Network, is_in, parse_ip
from filterd.kit.door import Door
from filterd.kit.room import Held
from filterd_plugins.smtp_proxy.delivery import BARE, Delivery
from filterd_plugins.smtp_proxy.nexthop import NextHop, NextHopError, Route
from filterd_plugins.smtp_proxy.session import OK, Limits, SmtpSession, SmtpState, SmtpStep
from filterd_plugins.smtp_proxy.settings import ProxySettings
from filterd_plugins.smtp_proxy.wire import (
    BareNewline,
    DataParser,
    LineParser,
    Reply,
    SmtpCommand,
    WireError,
    parse_command,
)

READ_BYTES = 64 << 10
LINGER_S = 2.0  # for reading on after a last reply: closing on unread bytes makes the kernel lose it
MAX_MESSAGE_S = 1800.0  # for a whole message to come in; 64 MiB take that long at 300 kbit/s

GO_ON = Reply.of("354 End data with <CR><LF>.<CR><LF>")
BYE = Reply.of("221 2.0.0 Bye")
STOPPING = Reply.of("421 4.3.2 Stopping, try again later")
TOO_MANY = Reply.of("421 4.3.2 Too many connections, try again later")
TOO_SLOW = Reply.of("421 4.4.2 Nothing came for too long")
TOO_WRONG = Reply.of("421 4.7.0 Too many errors")
INJECTED = Reply.of("554 5.5.1 Nothing may follow STARTTLS before its answer")
BETWEEN_MAILS = {SmtpState.START, SmtpState.READY}

log = logging.getLogger("filterd.smtp_proxy")


@dataclass(slots=True)
class ListenerContext:
    """What all connections of one listener have in common."""

    settings: ProxySettings
    route: Route
    delivery: Delivery
    tls: ssl.SSLContext | None
    trusted: tuple[Network, ...]


class SmtpConnection(SMTP):
    """One client, from greeting to goodbye."""

    line_length_limit = READ_BYTES  # the reader's; we read pieces, not lines

    def __init__(self, shared: ListenerContext, door: Door) -> None:
        settings = shared.settings
        super().__init__(
            _NO_HOOKS,
            hostname=settings.name,
            tls_context=shared.tls,
            timeout=settings.client_timeout_s,
            loop=asyncio.get_running_loop(),
        )
        self._shared, self._settings, self._door = shared, settings, door
        self._held = Held(door.room)
        self._lines = LineParser()
        self._hop: NextHop | None = None
        self._talk: SmtpSession | None = None
        self._leaving = False

    # aiosmtpd's places.

    async def _handle_client(self) -> None:
        if not self._door.enter(self):
            assert isinstance(self.transport, asyncio.Transport)
            self._leaving = True
            self._door.refuse(self.transport, TOO_MANY.encode())
            return
        self._door.asked(self)  # who is silent has the clock against him, not the others
        self._talk = self._begin()
        try:
            await self._say(Reply.of(f"220 {self._settings.name} {self._settings.protocol.upper()} filterd"))
            await self._serve(self._talk)
        except (ConnectionError, TLSSetupException):
            pass  # gone, or it cannot do TLS
        finally:
            self._door.leave(self)
            self._held.release()
            self._drop_hop()
            self._writer.close()

    def eof_received(self) -> bool | None:
        """A client that sends no more has gone; one that was refused has read why."""
        return super().eof_received() if self._talk else False

    def _timeout_cb(self) -> None:
        self._hang_up(TOO_SLOW)

    def _hang_up(self, reply: Reply) -> None:
        if not self._leaving and not self._writer.is_closing():
            self._writer.write(reply.encode())
        self._writer.close()

    def _begin(self) -> SmtpSession:
        settings = self._settings
        one = settings.protocol == "smtp" and settings.onward == "lmtp"
        return SmtpSession(
            settings.protocol,
            settings.name,
            # One reply cannot say what N recipients' replies say, so a mail is sent for each.
            Limits(settings.max_bytes, 1 if one else settings.max_recipients),
            trusted=self._is_trusted(),
            tls=self._shared.tls is not None,
            tls_required=settings.tls_required,
        )

    def _is_trusted(self) -> bool:
        peer = self._writer.get_extra_info("peername")
        if not isinstance(peer, tuple):
            return True  # a unix socket: its file's mode has let the client in
        return is_in(parse_ip(str(peer[0])), self._shared.trusted)

    def finish(self) -> None:
        """Leave at once where no mail is under way."""
        if self._talk and self._talk.state in BETWEEN_MAILS and self._timeout_handle_runs():
            self._hang_up(STOPPING)

    def abort(self) -> None:
        """End at once."""
        if self._handler_coroutine:
            self._handler_coroutine.cancel()

    def _timeout_handle_runs(self) -> bool:
        """Whether it is the client that we wait for."""
        return self._timeout_handle is not None and not self._timeout_handle.cancelled()

    # Reading and writing.

    async def _read(self) -> bytes:
        self._reset_timeout()
        data = await self._reader.read(READ_BYTES)
        if not data:
            raise ConnectionResetError
        return data

    async def _line(self) -> bytes:
        while (line := self._lines.next()) is None:
            self._lines.feed(await self._read())
        return line

    async def _say(self, *replies: Reply) -> None:
        self._reset_timeout()
        self._writer.write(b"".join(reply.encode() for reply in replies))
        await self._writer.drain()

    @contextlib.contextmanager
    def _client_waits(self) -> Iterator[None]:
        """Rule 3."""
        if self._timeout_handle:
            self._timeout_handle.cancel()
        yield
        self._reset_timeout()

    async def _leave(self, reply: Reply) -> None:
        """Say something last, and read on for a moment so that it arrives."""
        self._leaving = True
        await self._say(reply)
        with contextlib.suppress(TimeoutError, OSError, NotImplementedError):
            if self._writer.can_write_eof():
                self._writer.write_eof()
            async with asyncio.timeout(LINGER_S):
                while await self._reader.read(READ_BYTES):
                    pass

    # The command loop.

    async def _serve(self, talk: SmtpSession) -> None:
        while True:
            try:
                command = parse_command(await self._line())
                step = talk.step(command)
                last = await self._carry_out(talk, step, command)
            except BareNewline as error:
                last = Reply.of(error.reply)  # nobody knows where the next command begins
            except WireError as error:
                last = await self._complain(talk, Reply.of(error.reply))
            except NextHopError as error:
                last = self._without_hop(talk, error)
            if last is None and self._door.closing and talk.state in BETWEEN_MAILS:
                last = STOPPING
            if last:
                self._drop_hop()
                await self._leave(last)
                return

    async def _complain(self, talk: SmtpSession, reply: Reply) -> Reply | None:
        if talk.wrong():
            return TOO_WRONG
        await self._say(reply)
        return None

    def _without_hop(self, talk: SmtpSession, error: NextHopError) -> Reply:
        """The client is told to come again: without a next hop there is nothing that it could do here."""
        log.warning("next hop failed", extra={"fields": {"reason": str(error)}})
        self._drop_hop()
        return Reply(421, error.reply.lines)

    async def _carry_out(self, talk: SmtpSession, step: SmtpStep, command: SmtpCommand) -> Reply | None:
        """Do what a command asks for. A reply is the connection's last; None: it goes on."""
        match step:
            case SmtpStep.ANSWER:
                await self._say(talk.answer(command))
            case SmtpStep.HELLO:
                await self._hello(talk, command)
            case SmtpStep.MAIL | SmtpStep.RELAY:
                return await self._relay(talk, command, again=step is SmtpStep.MAIL)
            case SmtpStep.RESET:
                await self._reset(talk)
                await self._say(OK)
            case SmtpStep.DATA:
                return await self._data(talk)
            case SmtpStep.STARTTLS:
                return await self._starttls(talk, command)
            case SmtpStep.QUIT:
                return BYE
        return None

    async def _hello(self, talk: SmtpSession, command: SmtpCommand) -> None:
        with self._client_waits():
            if self._hop is None:
                self._hop = await self._shared.route.connect()
            extensions = await self._hop.hello(command.argument)
        reply = talk.hello(command, extensions)
        talk.answered(command, reply)
        await self._say(reply)

    async def _relay(self, talk: SmtpSession, command: SmtpCommand, *, again: bool) -> Reply | None:
        with self._client_waits():
            reply = await self._ask(talk, talk.onward(command), again=again)
        if reply.code == 421:  # the next hop hangs up, and so do we
            self._drop_hop()
            return reply
        talk.answered(command, reply)
        await self._say(reply)
        return None

    async def _ask(self, talk: SmtpSession, command: SmtpCommand, *, again: bool) -> Reply:
        """The next hop's reply. again: it may have hung up since the last mail, then it is called anew."""
        again = again and not talk.impersonated
        try:
            reply = await self._next_hop.command(command)
            if reply.code != 421 or not again:
                return reply
        except NextHopError:
            if not again:
                raise
        self._drop_hop()
        self._hop = await self._shared.route.connect()
        await self._hop.hello(talk.client_name)
        for forward in talk.forwarded:
            await self._hop.command(forward)
        return await self._hop.command(command)

    @property
    def _next_hop(self) -> NextHop:
        if self._hop is None:
            raise NextHopError("451 4.4.2 Next hop closed the connection")
        return self._hop

    def _drop_hop(self) -> None:
        """Cut the next hop off; between two mails it is told goodbye."""
        if self._hop and self._talk and self._talk.state in BETWEEN_MAILS:
            self._hop.close()
        elif self._hop:
            self._hop.abort()
        self._hop = None

    async def _reset(self, talk: SmtpSession) -> None:
        """No mail is under way any more, here and at the next hop."""
        if self._hop and talk.state is not SmtpState.START:
            with self._client_waits():
                await self._hop.command(SmtpCommand("RSET"))
        talk.reset()

    async def _starttls(self, talk: SmtpSession, command: SmtpCommand) -> Reply | None:
        if self._lines.pending:  # what came in the clear would be taken for said under TLS (RFC 3207 6)
            return INJECTED
        await self.smtp_STARTTLS("")  # says 220, and comes back with the handshake done
        talk.answered(command, Reply.of("220 2.0.0 Ready"))
        return None

    async def _data(self, talk: SmtpSession) -> Reply | None:
        await self._say(GO_ON)
        data = DataParser(talk.size)
        try:
            async with asyncio.timeout(MAX_MESSAGE_S):
                rest = await self._message(data)
        except TimeoutError:
            return TOO_SLOW
        if data.loose_end:  # what follows may be meant as commands; it is not read at all
            await self._say(*[BARE] * (talk.replies - 1))
            return BARE
        self._lines.feed(rest)
        replies = await self._settle(talk, data)
        self._held.release()
        await self._say(*replies)
        return None

    async def _message(self, data: DataParser) -> bytes:
        rest = data.feed(self._lines.rest())
        while rest is None and not data.loose_end:
            rest = data.feed(await self._read())
            try:
                self._held.hold(data.held)
            except Overloaded:
                data.give_up()
                self._held.release()
        return rest or b""

    async def _settle(self, talk: SmtpSession, data: DataParser) -> list[Reply]:
        try:
            with self._client_waits():
                return await self._shared.delivery.settle(talk, self._next_hop, data)
        except NextHopError as error:
            log.warning("next hop failed", extra={"fields": {"reason": str(error)}})
            self._drop_hop()
            return [error.reply] * talk.replies
        finally:
            talk.reset()


class _NoHooks:
    """aiosmtpd asks its handler for hooks; there are none, the loop is ours."""


_NO_HOOKS = _NoHooks()
