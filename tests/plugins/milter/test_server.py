"""Connections of a mail server that is quick, slow, gone, rude or one too many; progress and the drain."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path

import pytest

from filterd import listen
from filterd.api import StreamPlugin
from filterd.errors import Overloaded
from filterd.kit.door import Door
from filterd_plugins.milter import server as module
from filterd_plugins.milter.rules import MilterSettings
from filterd_plugins.milter.server import MAX_WAITING_BYTES, Milter
from tests.filterd.protocols.fakes import FakeClassifier
from tests.plugins.milter.dialog import packet

TIMEOUT_S = 10.0
NEGOTIATE = packet("O #6 #0x1ff #0x1fffff")
OPENING = NEGOTIATE + packet("C client.example.net|4%25 192.0.2.1|")
MAIL = packet("M <ann@example.net>|") + packet("L Subject| hello|") + packet("B You won a prize\\r\\n")
END = packet("E")


class Peer:
    """A mail server's end of one connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self.writer = reader, writer

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def letter(self) -> str:
        """The letter of the next reply; "" at the end of the connection."""
        async with asyncio.timeout(TIMEOUT_S):
            try:
                (length,) = struct.unpack("!I", await self._reader.readexactly(4))
                return (await self._reader.readexactly(length)).decode("latin-1")[0]
            except (asyncio.IncompleteReadError, ConnectionError):
                return ""

    async def letters(self, number: int) -> str:
        return "".join([await self.letter() for _ in range(number)])


class Server:
    """The plugin on a unix socket, as the daemon runs it."""

    def __init__(self, path: Path, **settings: object) -> None:
        self.path = path
        self.classifier = FakeClassifier()
        self.milter = Milter(MilterSettings(**settings), self.classifier)  # type: ignore[arg-type]
        self.door = Door(self.milter.settings.max_connections)
        self.serve = partial(self.milter.protocol, self.door)
        self._peers: list[Peer] = []

    async def start(self) -> "Server":
        opened = listen.open_socket(f"unix:{self.path}")
        self.server = await asyncio.get_running_loop().create_server(self.serve, sock=opened)
        return self

    async def connect(self) -> Peer:
        peer = Peer(*await asyncio.open_unix_connection(str(self.path)))
        self._peers.append(peer)
        return peer

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(TIMEOUT_S):
            while not condition():
                await asyncio.sleep(0.005)

    async def close(self) -> None:
        self.server.close()
        self.classifier.gate.set()
        for peer in self._peers:
            peer.writer.close()
        await self.door.drain(TIMEOUT_S)


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Server]:
    server = await Server(tmp_path / "milter.sock", max_connections=3).start()
    yield server
    await server.close()


def test_it_is_a_plugin() -> None:
    plugin: StreamPlugin = Milter(MilterSettings(), FakeClassifier())
    assert plugin.Settings is MilterSettings


async def test_a_mail(served: Server) -> None:
    peer = await served.connect()
    peer.send(OPENING + MAIL)
    assert await peer.letters(2) == "Oc"
    peer.send(END)
    assert await peer.letters(2) == "ia"
    (message,) = served.classifier.seen
    assert message.raw == b"Subject: hello\r\n\r\nYou won a prize\r\n"


async def test_a_mail_for_which_there_is_no_room_is_overload_and_the_next_is_judged(served: Server) -> None:
    served.door.room.size = 5_000
    large = packet("M <ann@example.net>|") + b"".join(packet("B " + "x" * 1_000) for _ in range(20))
    peer, other = await served.connect(), await served.connect()
    peer.send(OPENING + large)
    assert await peer.letters(2) == "Oc"
    await served.until(lambda: served.door.room.taken < 2_000)
    peer.send(END)
    assert await peer.letters(2) == "ia"  # it passes unjudged, as on_error says
    assert not served.classifier.seen
    other.send(OPENING + MAIL + END)
    assert await other.letters(4) == "Ocia"
    peer.send(MAIL + END)
    assert await peer.letters(3) == "cia"
    assert [message.raw[:8] for message in served.classifier.seen] == [b"Subject:"] * 2
    for one in (peer, other):
        one.writer.close()
    await served.until(lambda: served.door.room.taken == 0)


async def test_a_mail_that_is_judged_keeps_its_room(served: Server) -> None:
    served.door.room.size = 5_000
    served.classifier.gate.clear()
    peer = await served.connect()
    peer.send(OPENING + packet("M <ann@example.net>|") + packet("B " + "x" * 3_000) + END)
    assert await peer.letters(2) == "Oc"
    await served.until(lambda: served.classifier.seen)
    peer.send(struct.pack("!I", 4_001) + b"B" + b"x" * 4_000)
    (connection,) = served.door.guests
    assert isinstance(connection, module.MilterConnection)
    await served.until(lambda: connection._session.waiting > 4_000)
    assert served.door.room.taken >= 3_000
    served.classifier.gate.set()
    assert await peer.letters(2) == "ia"
    assert await peer.letter() == ""
    await served.until(lambda: served.door.room.taken == 0)


async def test_many_mails_side_by_side_and_one_after_the_other(served: Server) -> None:
    async def many() -> str:
        peer = await served.connect()
        peer.send(OPENING)
        said = await peer.letter()
        for _ in range(50):
            peer.send(MAIL)
            said += await peer.letter()
            peer.send(END)
            said += await peer.letters(2)
        return said

    assert list(await asyncio.gather(many(), many(), many())) == ["O" + "cia" * 50] * 3
    assert len(served.classifier.seen) == 150


async def test_progress_is_said_while_it_is_slow(served: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PROGRESS_EVERY_S", 0.02)
    served.classifier.gate.clear()
    peer = await served.connect()
    peer.send(OPENING + MAIL + END)
    assert await peer.letters(5) == "Ocppp"
    served.classifier.gate.set()
    while (said := await peer.letter()) == "p":
        pass
    assert said + await peer.letter() == "ia"


async def test_a_mail_of_a_server_that_has_gone_is_judged_no_longer(served: Server) -> None:
    served.classifier.gate.clear()
    peer = await served.connect()
    peer.send(OPENING + MAIL + END)
    await served.until(lambda: served.classifier.seen)
    peer.writer.close()
    await served.until(lambda: served.classifier.cancelled == 1)
    await served.until(lambda: not len(served.door))


async def test_one_too_many_is_closed(served: Server, caplog: pytest.LogCaptureFixture) -> None:
    peers = [await served.connect() for _ in range(4)]
    for peer in peers:
        peer.send(NEGOTIATE)
    assert [await peer.letter() for peer in peers] == ["O", "O", "O", ""]
    assert [record.fields["reason"] for record in caplog.records] == [  # type: ignore[attr-defined]
        "too many; see plugins.milter.max_connections"
    ]
    peers[0].writer.close()
    await served.until(lambda: len(served.door) == 2)
    again = await served.connect()
    again.send(NEGOTIATE)
    assert await again.letter() == "O"


async def test_what_is_no_milter_protocol_is_closed(served: Server, caplog: pytest.LogCaptureFixture) -> None:
    peer = await served.connect()
    peer.send(b"EHLO client.example.net\r\n")
    assert await peer.letter() == ""
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert "no command of the milter protocol" in record.fields["reason"]  # type: ignore[attr-defined]


async def test_quit_closes(served: Server) -> None:
    peer = await served.connect()
    peer.send(OPENING + packet("Q"))
    assert await peer.letters(2) == "O"


@pytest.mark.parametrize(("on_error", "said"), [("accept", "ia"), ("tempfail", "y")])
@pytest.mark.parametrize("error", [Overloaded("full"), ZeroDivisionError("a bug")])
async def test_errors_do_what_is_configured(
    on_error: str, said: str, error: Exception, tmp_path: Path
) -> None:
    server = await Server(tmp_path / "milter.sock", on_error=on_error).start()
    server.classifier.error = error
    peer = await server.connect()
    peer.send(OPENING + MAIL + END)
    assert await peer.letters(2) == "Oc"
    assert await peer.letters(len(said)) == said
    server.classifier.error = None
    peer.send(MAIL + END)  # the connection goes on
    assert await peer.letters(3) == "cia"
    await server.close()


async def test_a_peer_that_reads_nothing_is_read_no_longer(served: Server) -> None:
    """Version 2 has every header answered: what a peer does not take must not pile up here."""
    peer = await served.connect()
    peer.send(packet("O #2 #0x3f #0x7f") + packet("C a|4%25 192.0.2.1|") + packet("M <ann@example.net>|"))
    header = packet("L A|b|") * 1000
    sent = 0
    with pytest.raises(TimeoutError):
        while True:
            peer.send(header)
            sent += len(header)
            assert sent < 50_000_000, "it takes whatever comes"
            async with asyncio.timeout(0.5):
                await peer.writer.drain()
    peer.writer.transport.abort()


async def test_bytes_that_come_while_it_judges_are_bounded(served: Server) -> None:
    served.classifier.gate.clear()
    peer = await served.connect()
    peer.send(OPENING + MAIL + END)
    assert await peer.letters(2) == "Oc"
    await served.until(lambda: served.classifier.seen)
    chunk = struct.pack("!I", 65_536) + b"B" + b"x" * 65_535
    with pytest.raises(TimeoutError):
        for _ in range(100):
            peer.send(chunk)
            async with asyncio.timeout(0.5):
                await peer.writer.drain()
    (connection,) = served.door.guests
    assert isinstance(connection, module.MilterConnection)
    assert MAX_WAITING_BYTES < connection._session.waiting < 2 * MAX_WAITING_BYTES
    served.classifier.gate.set()
    assert await peer.letters(2) == "ia"
    assert await peer.letter() == ""  # BODY has no place between two mails


async def test_silence_ends(served: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "NEGOTIATE_TIMEOUT_S", 0.5)
    monkeypatch.setattr(module, "IDLE_TIMEOUT_S", 0.5)
    silent, talking = await served.connect(), await served.connect()
    talking.send(OPENING)
    assert await talking.letter() == "O"
    assert await silent.letter() == ""
    assert await talking.letter() == ""


async def test_a_judging_connection_is_not_silent(served: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "NEGOTIATE_TIMEOUT_S", 0.5)
    monkeypatch.setattr(module, "IDLE_TIMEOUT_S", 0.5)
    served.classifier.gate.clear()
    peer = await served.connect()
    peer.send(OPENING + MAIL + END)
    assert await peer.letters(2) == "Oc"
    await asyncio.sleep(1.2)
    served.classifier.gate.set()
    assert await peer.letters(2) == "ia"


async def test_the_drain_ends_what_is_idle_and_waits_for_mails(served: Server) -> None:
    served.classifier.gate.clear()
    idle, busy, coming = [await served.connect() for _ in range(3)]
    idle.send(OPENING)
    busy.send(OPENING + MAIL + END)
    coming.send(OPENING + MAIL)
    assert [await idle.letter(), await busy.letters(2), await coming.letters(2)] == ["O", "Oc", "Oc"]
    closing = asyncio.ensure_future(served.door.drain(TIMEOUT_S))
    assert await idle.letter() == ""
    served.classifier.gate.set()
    assert await busy.letters(3) == "ia"
    coming.send(END)
    assert await coming.letters(3) == "ia"
    await closing
    late = await served.connect()
    late.send(NEGOTIATE)
    assert await late.letter() == ""


async def test_the_drain_ends_in_its_time(served: Server) -> None:
    peer = await served.connect()
    peer.send(OPENING + MAIL)
    assert await peer.letters(2) == "Oc"
    await served.door.drain(0.05)
    assert await peer.letter() == ""


async def test_tcp_does_not_wait_for_more(served: Server) -> None:
    """TCP_NODELAY: a reply would else wait for the mail server's delayed ACK, 40 ms."""
    opened = listen.open_socket("tcp:127.0.0.1:0")
    made: list[module.MilterConnection] = []

    def protocol() -> module.MilterConnection:
        made.append(served.serve())
        return made[-1]

    server = await asyncio.get_running_loop().create_server(protocol, sock=opened)
    reader, writer = await asyncio.open_connection(*opened.getsockname()[:2])
    peer = Peer(reader, writer)
    peer.send(OPENING + MAIL + END)
    assert await peer.letters(4) == "Ocia"
    transport = made[0].transport
    assert transport
    option = transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    assert option != 0
    writer.close()
    server.close()
