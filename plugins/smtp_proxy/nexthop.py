"""The client of the next hop: one connection, one command at a time, and what went wrong as a reply.

Rules:
1. Every failure is a NextHopError whose text is a 4xx reply: the mail stays with the client, who retries.
2. A connection on which anything failed is cut off, never closed politely: `close` would still send what is
   in the buffer, and with it perhaps the end of a message that nobody waits for any more.
3. A message counts as taken by the reply after its last dot and by nothing else.
"""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Mapping

from filterd.errors import ConfigError, FilterdError
from filterd.kit.address import Tcp, Unix
from filterd_plugins.smtp_proxy.settings import Language, ProxySettings, readable
from filterd_plugins.smtp_proxy.wire import BadReply, Reply, ReplyParser, SmtpCommand, stuff

READ_BYTES = 64 << 10


class NextHopError(FilterdError):
    """The next hop is not there, too slow, or says what nobody understands; `reply` is for the client."""

    exit_status = 75  # EX_TEMPFAIL
    spamd_code = 75

    def __init__(self, reply: str) -> None:
        super().__init__(f"next hop: {reply[10:]}")
        self.reply = Reply.of(reply)
        self.smtp_reply = reply


class Route:
    """How to get to the next hop: made once from the settings. Raises ConfigError for unreadable files."""

    def __init__(self, settings: ProxySettings) -> None:
        self.address = settings.next_address()
        self.language: Language = settings.onward
        self.connect_timeout_s = settings.connect_timeout_s
        self.reply_timeout_s = settings.next_hop_timeout_s
        self.tls = settings.next_hop_tls
        self.context = _context(settings)

    @property
    def host(self) -> str:
        """Whose certificate it has to be; no unix socket has one."""
        return self.address.host if isinstance(self.address, Tcp) else ""

    async def connect(self) -> "NextHop":
        """A connection that has been greeted with 220. Raises NextHopError."""
        try:
            async with asyncio.timeout(self.connect_timeout_s):
                reader, writer = await self._open()
        except TimeoutError as error:
            raise NextHopError("451 4.4.1 Next hop does not answer") from error
        except OSError as error:
            raise NextHopError("451 4.4.1 Next hop is not reachable") from error
        hop = NextHop(self, reader, writer)
        try:
            greeting = await hop.reply()
            if greeting.code != 220:
                raise NextHopError(f"451 4.3.2 Next hop is not taking mail ({greeting.code})")
        except BaseException:
            hop.abort()
            raise
        return hop

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        match self.address:
            case Unix(path):
                return await asyncio.open_unix_connection(str(path))
            case Tcp(host, port):
                return await asyncio.open_connection(host, port)


def _context(settings: ProxySettings) -> ssl.SSLContext | None:
    if settings.next_hop_tls == "none":
        return None
    try:
        context = ssl.create_default_context(
            cafile=readable("next_hop_ca", settings.next_hop_ca) if settings.next_hop_ca else None
        )
    except ssl.SSLError as error:
        raise ConfigError(f"next_hop_ca: {settings.next_hop_ca}: not PEM certificates") from error
    if settings.next_hop_tls == "may":  # RFC 7435: some protection where there can be no more
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


class NextHop:
    """An open connection; `Route.connect` makes it."""

    def __init__(self, route: Route, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._route, self._reader, self._writer = route, reader, writer
        self._replies = ReplyParser()

    async def hello(self, name: bytes) -> Mapping[str, bytes]:
        """EHLO or LHLO, with STARTTLS in between where that is wanted; what the next hop can do.

        Raises NextHopError.
        """
        extensions = await self._hello(name)
        if self._route.context and not self._secured:
            if "STARTTLS" in extensions:
                await self._start_tls(self._route.context)
                extensions = await self._hello(name)
            elif self._route.tls == "verify":
                raise NextHopError("451 4.7.5 Next hop offers no TLS")
        return extensions

    @property
    def _secured(self) -> bool:
        return self._writer.get_extra_info("sslcontext") is not None

    async def _hello(self, name: bytes) -> dict[str, bytes]:
        verb = "LHLO" if self._route.language == "lmtp" else "EHLO"
        reply = await self.command(SmtpCommand(verb, name))
        if reply.code != 250:
            self.abort()
            raise NextHopError(f"451 4.3.5 Next hop refuses {verb} ({reply.code})")
        words = [line.partition(b" ") for line in reply.lines[1:]]
        return {key.decode("ascii", "replace").upper(): value.strip() for key, _, value in words}

    async def _start_tls(self, context: ssl.SSLContext) -> None:
        reply = await self.command(SmtpCommand("STARTTLS"))
        if reply.code != 220:
            raise NextHopError(f"451 4.7.5 Next hop refuses STARTTLS ({reply.code})")
        if self._replies.pending:  # said before there was encryption, by whomever (RFC 3207 6)
            self.abort()
            raise NextHopError("451 4.7.5 Next hop spoke between STARTTLS and its handshake")
        try:
            async with asyncio.timeout(self._route.connect_timeout_s):
                await self._writer.start_tls(context, server_hostname=self._route.host)
        except (OSError, TimeoutError) as error:  # ssl.SSLError is an OSError
            self.abort()
            raise NextHopError("451 4.7.5 No TLS with the next hop") from error

    async def command(self, command: SmtpCommand) -> Reply:
        """Say something and wait for its reply. Raises NextHopError."""
        async with self._guarded():
            self._writer.write(command.encode() + b"\r\n")
            await self._writer.drain()
        return await self.reply()

    async def message(self, content: bytes, replies: int) -> list[Reply]:
        """DATA and a whole message; as many replies as there are recipients for LMTP, else one.

        A next hop that does not want it at DATA says so once. One that fails after the last dot fails for the
        recipients that it has not answered for; what the others were told stands. Raises NextHopError where
        it fails before.
        """
        opening = await self.command(SmtpCommand("DATA"))
        if opening.code != 354:
            refused = opening if not opening.positive else Reply.of("451 4.3.5 Next hop takes no message")
            return [refused] * replies
        async with self._guarded():
            self._writer.write(stuff(content))
            await self._writer.drain()
        return await self._verdicts(replies)

    async def _verdicts(self, replies: int) -> list[Reply]:
        if self._route.language == "smtp":
            return [await self.reply()] * replies
        found: list[Reply] = []
        try:
            for _ in range(replies):
                found.append(await self.reply())
        except NextHopError as error:
            found += [error.reply] * (replies - len(found))
        return found

    async def reply(self) -> Reply:
        """The next reply. Raises NextHopError."""
        async with self._guarded():
            while (reply := self._replies.next()) is None:
                data = await self._reader.read(READ_BYTES)
                if not data:
                    raise ConnectionResetError
                self._replies.feed(data)
        return reply

    @contextlib.asynccontextmanager
    async def _guarded(self) -> AsyncIterator[None]:
        """In time, and every failure a NextHopError; whatever fails ends the connection (rule 2)."""
        try:
            async with asyncio.timeout(self._route.reply_timeout_s):
                yield
        except TimeoutError as error:
            self.abort()
            raise NextHopError("451 4.4.2 Next hop took too long") from error
        except BadReply as error:
            self.abort()
            raise NextHopError(f"451 4.5.0 Next hop sent {error}") from error
        except OSError as error:
            self.abort()
            raise NextHopError("451 4.4.2 Next hop closed the connection") from error
        except BaseException:
            self.abort()
            raise

    def close(self) -> None:
        """Take leave between two mails, without waiting for an answer."""
        if not self._writer.is_closing():
            self._writer.write(b"QUIT\r\n")
            self._writer.close()

    def abort(self) -> None:
        """Cut the connection off, with everything that is not sent yet."""
        self._writer.transport.abort()
