"""Both sides of the proxy for tests: a client and a next hop that say what a script says, and a next hop of
its own mind. Neither uses a line of the proxy's code."""

import asyncio
import re
import ssl
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import msgspec

from filterd.api import Classifier
from filterd.kit.door import Door
from filterd_plugins.smtp_proxy.server import LmtpProxy, SmtpProxy

TIMEOUT_S = 20.0


class Proxy:
    """The plugin behind a unix socket, as the daemon would start it."""

    def __init__(self, folder: Path, classifier: Classifier, **settings: object) -> None:
        self.path = folder / "proxy.sock"
        given = {"next_hop": f"unix:{folder}/hop.sock", "hostname": "filter.example.org", **settings}
        kind = LmtpProxy if given.get("protocol") == "lmtp" else SmtpProxy
        self.plugin = kind(msgspec.convert(given, kind.Settings), classifier)
        self.door = Door(self.plugin.settings.max_connections)
        self.serve = partial(self.plugin.protocol, self.door)
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_unix_server(self.serve, str(self.path))

    async def close(self, drain_s: float = TIMEOUT_S) -> None:
        if self._server:
            self._server.close()
        await self.door.drain(drain_s)

    async def connect(self) -> "Talk":
        return Talk(*await asyncio.open_unix_connection(str(self.path)))


@dataclass
class Talk:
    """One end of a connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def line(self) -> str:
        async with asyncio.timeout(TIMEOUT_S):
            return (await self.reader.readline()).decode("utf-8", "surrogateescape").removesuffix("\r\n")

    def say(self, text: str | bytes) -> None:
        """A line of text, or bytes as they are."""
        self.writer.write(
            text if isinstance(text, bytes) else (text + "\r\n").encode("utf-8", "surrogateescape")
        )

    async def reply(self) -> str:
        """A whole reply, lines separated by a stroke."""
        lines = [await self.line()]
        while lines[-1][3:4] == "-":
            lines.append(await self.line())
        return " | ".join(lines)

    async def ask(self, text: str | bytes) -> str:
        self.say(text)
        return await self.reply()

    async def rest(self) -> bytes:
        async with asyncio.timeout(TIMEOUT_S):
            return await self.reader.read()

    def close(self) -> None:
        self.writer.close()


EXTENSIONS: Sequence[str] = (
    *("SIZE 10485760", "8BITMIME", "SMTPUTF8", "DSN", "ENHANCEDSTATUSCODES", "PIPELINING"),
    *("XFORWARD NAME ADDR PROTO HELO", "XCLIENT NAME ADDR", "STARTTLS", "CHUNKING", "VRFY"),
)


@dataclass
class Taken:
    """A mail that a sink has taken: what came before DATA, and its bytes with their dots."""

    commands: list[str]
    data: bytes


@dataclass
class Sink:
    """A next hop that takes everything, but for what `says` answers otherwise.

    says: by the beginning of a command (or "." for the end of a message) the reply, None to hang, or "cut".
    Of several replies to "." (LMTP) each is a line.
    """

    lmtp: bool = False
    says: dict[str, str | None] = field(default_factory=dict)
    extensions: Sequence[str] = EXTENSIONS
    taken: list[Taken] = field(default_factory=list)
    heard: list[str] = field(default_factory=list)
    opened: int = 0
    delay_s: float = 0.0
    tls: ssl.SSLContext | None = None  # for STARTTLS
    injected: str = ""  # said in the clear behind the answer to STARTTLS
    encrypted: list[str] = field(default_factory=list)  # commands heard under TLS
    _server: asyncio.Server | None = None
    _writers: list[asyncio.StreamWriter] = field(default_factory=list)

    async def start(self, path: Path) -> None:
        path.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(self._serve, str(path), limit=1 << 20)

    async def start_tcp(self) -> str:
        """Listen on a port of its own; returns the address as the settings write it."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return f"tcp:localhost:{self._server.sockets[0].getsockname()[1]}"

    def stop(self) -> None:
        """Nobody listens any more, and every connection is cut."""
        if self._server:
            self._server.close()
        for writer in self._writers:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.opened += 1
        self._writers.append(writer)
        try:
            await self._talk(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        said: list[str] = []
        await self._answer(writer, "greeting", "220 hop.example.org")
        while line := await reader.readline():
            text = line.decode("utf-8", "surrogateescape").removesuffix("\r\n")
            self.heard.append(text)
            if writer.get_extra_info("sslcontext"):
                self.encrypted.append(text)
            said.append(text)
            verb = text.split(" ")[0].upper()
            if verb in {"EHLO", "LHLO"}:
                await self._answer(writer, text, "\r\n".join(["250-hop.example.org", *self._offered()]))
            elif verb == "DATA":
                await self._data(reader, writer, said)
                said = []
            elif verb == "STARTTLS" and self.tls:
                await self._answer(writer, text, "220 go on" + self.injected)
                await writer.start_tls(self.tls)
            elif verb == "QUIT":
                await self._answer(writer, text, "221 bye")
                return
            else:
                await self._answer(writer, text, "220 again" if verb == "XCLIENT" else f"250 2.0.0 {verb} ok")

    def _offered(self) -> list[str]:
        return [
            f"250{'-' if i + 1 < len(self.extensions) else ' '}{x}" for i, x in enumerate(self.extensions)
        ]

    async def _data(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, said: list[str]
    ) -> None:
        if not await self._answer(writer, "DATA", "354 go on"):
            return
        data = b""
        while not data.endswith(b"\r\n.\r\n") and data != b".\r\n":
            data += await reader.readuntil(b"\n")
        if self.delay_s:
            await asyncio.sleep(self.delay_s)
        number = sum(line.upper().startswith("RCPT") for line in said) if self.lmtp else 1
        usual = "\r\n".join(["250 2.0.0 taken"] * number)
        if await self._answer(writer, ".", usual):
            self.taken.append(Taken(said, data))

    async def _answer(self, writer: asyncio.StreamWriter, command: str, usual: str) -> bool:
        """Say it; whether it was positive. A None in `says` hangs for as long as the test runs."""
        found = next((key for key in self.says if command.upper().startswith(key.upper())), None)
        reply = usual if found is None else self.says[found]
        if reply is None:
            await asyncio.sleep(3600)
        if reply == "cut":
            writer.transport.abort()
            raise ConnectionResetError
        writer.write(f"{reply}\r\n".encode())
        await writer.drain()
        return bool(reply) and str(reply)[0] in "23"


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(TIMEOUT_S):
        while not condition():
            await asyncio.sleep(0.005)


class Dialog:
    """A golden dialog: a file whose lines happen in their order.

    # why it is there
    ! key: value          a setting of the plugin
    c> line    c< line    the client sends, the client gets
    h> line    h< line    the next hop gets, the next hop sends
    c<~ or h>~ regex      instead of the exact line
    c>| bytes             with Python's escapes and no line end of its own
    h+   h-   c-          the next hop is called; it hangs up, the client hangs up
    """

    def __init__(self, text: str) -> None:
        lines = [line for line in text.splitlines() if line and not line.startswith("#")]
        pairs = (line[2:].split(": ", 1) for line in lines if line.startswith("! "))
        self.settings: Mapping[str, object] = {key: msgspec.yaml.decode(value) for key, value in pairs}
        self.lines = [line for line in lines if not line.startswith("! ")]

    async def run(self, proxy: Proxy, calls: "asyncio.Queue[Talk]") -> None:
        client = await proxy.connect()
        ends: list[Talk] = [client]
        try:
            await self._play(client, ends, calls)
        finally:
            for one in ends:
                one.close()

    async def _play(self, client: Talk, ends: list[Talk], calls: "asyncio.Queue[Talk]") -> None:
        hop: Talk | None = None
        for number, line in enumerate(self.lines):
            what, text = line[:2], line[3:]
            end = hop if what[0] == "h" else client
            if what == "h+":
                async with asyncio.timeout(TIMEOUT_S):
                    hop = await calls.get()
                ends.append(hop)
            elif line[1] == "-":
                assert end
                end.close()
            elif what in {"c>", "h<"}:
                assert end
                raw = line[2:3] == "|"
                end.say(text[1:].encode("ascii").decode("unicode_escape").encode("latin-1") if raw else text)
            else:
                assert end
                _compare(number, line, await end.line())


def _compare(number: int, line: str, said: str) -> None:
    if line[2:3] == "~":
        assert re.fullmatch(line[4:], said), f"line {number}: {line!r}, but was {said!r}"
    else:
        assert said == line[3:], f"line {number}: {line!r}, but was {said!r}"
