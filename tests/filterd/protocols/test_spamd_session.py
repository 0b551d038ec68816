"""Answers byte by byte, and a server with clients that are slow, large, impatient or too many.

A dialog in `dialogs/` is a file. Its lines:

    # why it is there
    ! allow_tell off
    > the client's line, sent with CR LF          {length}: bytes after the blank line
    eof                                           the client closes its half
    < the server's line, with CR LF               {length} likewise; {version}: filterd's
    <~ a line that ends in LF    <| one that does not end
    ---                                           the next connection
"""

import asyncio
import contextlib
import socket
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from filterd import __version__, headers, listen
from filterd.api import Label
from filterd.errors import DeadlineExceeded, FilterdError, LearningClosed, Overloaded, StoreError
from filterd.kit.fold import fold
from filterd.protocols.spamd import server as spamd
from filterd.protocols.spamd import session
from filterd.protocols.spamd.server import SpamdServer
from filterd.protocols.spamd.wire import SpamdCommand, SpamdRequest
from tests.filterd.mails import FORGED_LINE, forged
from tests.filterd.protocols.fakes import HAM, SPAM, FakeClassifier, Tagging, verdict

DIALOGS = sorted((Path(__file__).parent / "dialogs").glob("*.txt"))
LINE_ENDS = {" ": "\r\n", "": "\r\n", "~": "\n", "|": ""}
TIMEOUT_S = 10.0
CHECK = b"CHECK SPAMC/1.5\r\nContent-length: %d\r\n\r\n"


def exchanges(content: str) -> Iterator[tuple[bytes, bool, bytes]]:
    """What the client sends, whether it then half-closes, and what it is answered."""
    for part in content.split("---\n"):
        lines = [line for line in part.splitlines() if not line.startswith(("#", "!"))]
        yield said(lines, ">"), "eof" in lines, said(lines, "<")


def said(lines: list[str], who: str) -> bytes:
    text = "".join(line[3 - (line[1:2] in " ") :] + LINE_ENDS[line[1:2]] for line in lines if line[0] == who)
    text = text.replace("{version}", __version__)
    return text.replace("{length}", str(len(text.partition("\r\n\r\n")[2]))).encode()


class Peer:
    """A server on a unix socket and connections to it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.classifier = FakeClassifier()
        self.server = self.make()

    def make(self, *, allow_tell: bool = True, **limits: float) -> SpamdServer:
        self.server = SpamdServer(self.classifier, allow_tell=allow_tell, **limits)  # type: ignore[arg-type]
        return self.server

    async def start(self) -> None:
        await self.server.start(listen.open_socket(f"unix:{self.path}"))

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_unix_connection(str(self.path))

    async def ask(self, sent: bytes, *, eof: bool = False, piece: int = 1 << 20) -> bytes:
        reader, writer = await self.connect()
        for i in range(0, len(sent), piece):
            writer.write(sent[i : i + piece])
            await asyncio.sleep(0)
        if eof:
            writer.write_eof()
        async with asyncio.timeout(TIMEOUT_S):
            answer = await reader.read()
        writer.close()
        return answer

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(TIMEOUT_S):
            while not condition():
                await asyncio.sleep(0.005)

    async def opened(self, number: int) -> None:
        """Wait until the server has so many connections."""
        await self.until(lambda: self.server.connections == number)

    async def judging(self) -> None:
        """Wait until the classifier has a message."""
        await self.until(lambda: bool(self.classifier.seen))

    async def settled(self) -> None:
        """Wait until the server has no connection left."""
        await self.opened(0)


@pytest.fixture
async def peer(tmp_path: Path) -> AsyncIterator[Peer]:
    made = Peer(tmp_path / "spamd.sock")
    yield made
    made.classifier.gate.set()
    await made.server.close(TIMEOUT_S)


@pytest.mark.parametrize("file", DIALOGS, ids=lambda file: file.stem)
@pytest.mark.parametrize("piece", [1 << 20, 1], ids=["whole", "bytes"])
async def test_dialog(file: Path, piece: int, peer: Peer) -> None:
    content = file.read_text()
    peer.make(allow_tell="! allow_tell off" not in content)
    await peer.start()
    for sent, eof, expected in exchanges(content):
        assert await peer.ask(sent, eof=eof, piece=piece) == expected


@pytest.mark.parametrize("raw", forged().values(), ids=forged())
@pytest.mark.parametrize("piece", [1 << 20, 1], ids=["whole", "bytes"])
async def test_a_forged_header_is_gone_and_nothing_else(raw: bytes, piece: int, peer: Peer) -> None:
    peer.classifier = Tagging()
    peer.make()
    await peer.start()
    ours = b"".join(fold(*field).encode() for field in headers.fields(verdict(Label.HAM, -3.25)))
    mbox = raw.find(b"\n") + 1 if raw.startswith(b">From ") else 0
    without = raw.replace(FORGED_LINE, b"")
    expected = without[:mbox] + ours + without[mbox:]
    for command, content in (("PROCESS", expected), ("HEADERS", expected[: expected.index(b"\n\n") + 2])):
        sent = f"{command} SPAMC/1.5\r\nContent-length: {len(raw)}\r\n\r\n".encode() + raw
        answer = await peer.ask(sent, piece=piece)
        assert answer.partition(b"\r\n\r\n")[2] == content


def test_every_command_has_a_dialog() -> None:
    sent = "".join(file.read_text() for file in DIALOGS)
    assert all(f"> {command} SPAMC/" in sent for command in SpamdCommand)


@pytest.mark.parametrize(
    ("raw", "head"),
    [
        pytest.param(b"A: b\r\n\r\nbody\r\n\r\nmore", b"A: b\r\n\r\n", id="crlf"),
        pytest.param(b"A: b\n\nbody\n\nmore", b"A: b\n\n", id="lf"),
        pytest.param(b"A: b\nC: d\n", b"A: b\nC: d\n", id="no-body"),
    ],
)
def test_headers_end_with_the_blank_line(raw: bytes, head: bytes) -> None:
    answer = session.judged(
        SpamdRequest(SpamdCommand.HEADERS, 1.1, body=raw), verdict(Label.HAM, 0.0), FakeClassifier()
    )
    end = b"\r\n" if b"\r\n" in raw else b"\n"
    assert answer == b"SPAMD/1.0 0 EX_OK\r\nX-Spam-Score: 0.0" + end + head


def test_report_is_one_ascii_line_per_fact() -> None:
    odd = verdict(Label.UNSURE, 4.0, model="m\r\nX: y", tests=("Ä\n",), classes={"ham": 0.6, "phish": 0.4})
    text = session.report(odd)
    assert "m?X: y" in text
    assert "may be spam" in text
    assert "class ham            0.6000\n  class phish          0.4000\n" in text
    assert text.isascii()
    assert "unjudged" in session.report(verdict(Label.HAM, 0.0, available=False))


def test_an_error_is_one_line() -> None:
    line = session.failed(FilterdError("a\r\nSPAMD/1.1 0 EX_OK ä" + "x" * 1000))
    assert line.startswith(b"SPAMD/1.0 70 Error: a SPAMD/1.1 0 EX_OK ")
    assert line.count(b"\n") == 1
    assert len(line) < 500


@pytest.mark.parametrize(
    ("error", "line"),
    [
        pytest.param(Overloaded("busy"), b"SPAMD/1.0 75 Temporary failure: busy\r\n", id="overload"),
        pytest.param(DeadlineExceeded("late"), b"SPAMD/1.0 79 Timeout: late\r\n", id="deadline"),
        pytest.param(
            KeyError("secret"), b"SPAMD/1.0 70 Error: internal error; filterd's log says more\r\n", id="bug"
        ),
    ],
)
async def test_failed_judging(error: Exception, line: bytes, peer: Peer) -> None:
    peer.classifier.error = error
    await peer.start()
    assert await peer.ask(CHECK % len(HAM) + HAM) == line


@pytest.mark.parametrize(("error", "code"), [(LearningClosed("no"), 69), (StoreError("full"), 74)])
async def test_failed_learning(error: Exception, code: int, peer: Peer) -> None:
    peer.classifier.error = error
    await peer.start()
    sent = b"TELL SPAMC/1.5\r\nMessage-class: spam\r\nSet: local\r\n\r\n" + SPAM
    assert (await peer.ask(sent, eof=True)).startswith(b"SPAMD/1.0 %d " % code)


async def test_what_the_classifier_is_given(peer: Peer) -> None:
    await peer.start()
    packed = zlib.compress(SPAM)
    sent = b"PROCESS SPAMC/1.5\r\nCompress: zlib\r\nContent-length: %d\r\n\r\n" % len(packed) + packed
    assert (await peer.ask(sent)).endswith(b"\r\n\r\nX-Spam-Score: 15.0\r\n" + SPAM)
    (message,) = peer.classifier.seen
    assert (message.raw, message.kind, message.source, message.sender) == (SPAM, "mail", "spamd", "")


async def test_a_bomb_is_answered(peer: Peer) -> None:
    peer.make(max_bytes=100_000)
    await peer.start()
    bomb = zlib.compress(bytes(50_000_000), 9)
    sent = b"%s SPAMC/1.5\r\nCompress: zlib\r\nContent-length: %d\r\n\r\n"
    assert b" EX_OK" in await peer.ask(sent % (b"CHECK", len(bomb)) + bomb)
    assert len(peer.classifier.seen[0].raw) == 100_000
    assert (await peer.ask(sent % (b"PROCESS", len(bomb)) + bomb)).startswith(b"SPAMD/1.0 65 ")


@pytest.mark.parametrize(
    "sent", [b"", b"CHECK SPAMC/1.5\r\nUs", CHECK % 100 + b"From"], ids=["silent", "head", "body"]
)
async def test_a_slow_client_is_told(sent: bytes, peer: Peer) -> None:
    peer.make(head_timeout_s=0.05, request_timeout_s=0.1)
    await peer.start()
    assert (await peer.ask(sent)).startswith(b"SPAMD/1.0 79 Timeout: ")


async def test_a_client_that_does_not_read_is_cut_off(peer: Peer) -> None:
    peer.make(write_timeout_s=0.05)
    await peer.start()
    large = HAM + b"x" * 4_000_000
    _, writer = await peer.connect()
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    writer.write(b"PROCESS SPAMC/1.5\r\nContent-length: %d\r\n\r\n" % len(large) + large)
    await peer.judging()
    await peer.settled()
    writer.transport.abort()


async def test_an_early_answer_reaches_a_client_that_still_sends(peer: Peer) -> None:
    peer.make(max_bytes=1000)
    await peer.start()
    large = b"x" * 3_000_000
    sent = b"PROCESS SPAMC/1.5\r\nContent-length: %d\r\n\r\n" % len(large) + large
    assert (await peer.ask(sent, eof=True)).startswith(b"SPAMD/1.0 65 ")


async def test_too_many_connections_are_told(peer: Peer) -> None:
    peer.make(max_connections=1)
    await peer.start()
    _, first = await peer.connect()
    await peer.opened(1)
    assert (await peer.ask(b"PING SPAMC/1.2\r\n")).startswith(b"SPAMD/1.0 75 Temporary failure: too many")
    first.close()
    await peer.settled()
    assert await peer.ask(b"PING SPAMC/1.2\r\n") == session.PONG


@pytest.mark.parametrize("eof", [True, False], ids=["half-closed", "open"])
async def test_judging_stops_when_the_client_leaves(eof: bool, peer: Peer) -> None:
    peer.classifier.gate.clear()
    await peer.start()
    _, writer = await peer.connect()
    writer.write(CHECK % len(HAM) + HAM)
    if eof:
        writer.write_eof()
    await peer.judging()
    writer.close()
    await peer.until(lambda: peer.classifier.cancelled == 1)
    await peer.settled()


async def test_judging_goes_on_for_a_half_closed_client(peer: Peer) -> None:
    peer.classifier.gate.clear()
    await peer.start()
    asking = asyncio.create_task(peer.ask(CHECK % len(HAM) + HAM, eof=True))
    await peer.judging()
    await asyncio.sleep(3 * spamd.GONE_POLL_S)
    assert peer.classifier.cancelled == 0
    peer.classifier.gate.set()
    assert b" EX_OK" in await asking


async def test_a_reset_on_tcp_stops_judging(peer: Peer) -> None:
    peer.classifier.gate.clear()
    sock = listen.open_socket("tcp:127.0.0.1:0")
    await peer.server.start(sock)
    client = socket.create_connection(sock.getsockname())
    client.sendall(CHECK % len(HAM) + HAM)
    client.shutdown(socket.SHUT_WR)
    await peer.judging()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    client.close()
    await peer.until(lambda: peer.classifier.cancelled == 1)
    await peer.settled()


async def test_drain_finishes_what_was_asked(peer: Peer) -> None:
    peer.classifier.gate.clear()
    await peer.start()
    asking = asyncio.create_task(peer.ask(CHECK % len(SPAM) + SPAM))
    await peer.judging()
    reader, idle = await peer.connect()
    await peer.opened(2)
    closing = asyncio.create_task(peer.server.close(TIMEOUT_S))
    with contextlib.suppress(ConnectionError):
        assert await reader.read() == b""
    idle.close()
    assert not closing.done()
    peer.classifier.gate.set()
    assert b"Spam: True" in await asking
    await closing
    with pytest.raises(ConnectionError):
        await peer.connect()


async def test_drain_has_an_end(peer: Peer) -> None:
    peer.classifier.gate.clear()
    await peer.start()
    asking = asyncio.create_task(peer.ask(CHECK % len(SPAM) + SPAM))
    await peer.judging()
    await peer.server.close(0.05)
    await peer.until(lambda: peer.classifier.cancelled == 1)
    with contextlib.suppress(ConnectionError):
        assert await asking == b""
