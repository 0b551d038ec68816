"""The plugin on real sockets: time limits, many clients, the drain, and a client that leaves."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from filterd_plugins.sms import server
from filterd_plugins.sms.server import Sms
from tests.filterd.protocols.fakes import FakeClassifier
from tests.plugins.sms.conversation import settings

ASK = b"GET /kannel?secret=s%23cret&text=your+prize&id=7 HTTP/1.1\r\nHost: a\r\n\r\n"
ASK_LAST = ASK[:-2] + b"Connection: close\r\n\r\n"
Connect = Callable[[], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]


class Running:
    """The plugin as the daemon runs it."""

    def __init__(self, folder: Path, **given: Any) -> None:
        self.classifier = FakeClassifier()
        self.sms = Sms(settings(folder, **given), self.classifier)

    async def __aenter__(self) -> "Running":
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self.sms.protocol, "127.0.0.1", 0)
        self._port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await self.sms.close(0.1)
        await self._server.wait_closed()

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self._port)


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Running]:
    async with Running(tmp_path) as one:
        yield one


async def head(reader: asyncio.StreamReader) -> bytes:
    return await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)


async def rest(reader: asyncio.StreamReader) -> bytes:
    return await asyncio.wait_for(reader.read(), 10)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


async def test_requests_on_one_connection_and_what_reaches_the_judge(running: Running) -> None:
    reader, writer = await running.connect()
    for ask in (ASK, ASK + ASK_LAST):
        writer.write(ask)
    answers = [await head(reader) for _ in range(3)]
    assert [b"filterd_label=spam" in answer for answer in answers] == [True] * 3
    assert await rest(reader) == b""
    writer.close()
    seen = running.classifier.seen
    assert [(m.raw, m.id, m.source, m.kind) for m in seen] == [(b"your prize", "7", "kannel", "sms")] * 3
    await until(lambda: not running.sms.connections)


async def test_a_client_that_sends_its_end_first_gets_its_answer(running: Running) -> None:
    reader, writer = await running.connect()
    running.classifier.gate.clear()
    writer.write(ASK)
    await until(lambda: running.classifier.seen)
    writer.write_eof()
    await asyncio.sleep(0.02)
    running.classifier.gate.set()
    assert (await rest(reader)).startswith(b"HTTP/1.1 302")
    writer.close()


async def test_a_client_that_resets_costs_no_more(running: Running) -> None:
    _, writer = await running.connect()
    running.classifier.gate.clear()
    writer.write(ASK)
    await until(lambda: running.classifier.seen)
    at_once = struct.pack("ii", 1, 0)  # closing resets; an orderly end may be a client that waits
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, at_once)
    writer.transport.abort()
    await until(lambda: running.classifier.cancelled == 1)
    await until(lambda: not running.sms.connections)


async def test_a_client_that_sends_on_and_on_is_read_no_further(running: Running) -> None:
    reader, writer = await running.connect()
    running.classifier.gate.clear()
    writer.write(ASK)
    await until(lambda: running.classifier.seen)
    for _ in range(40):
        writer.write(ASK * 1000)  # 3 MB, of which kernel and READ_AHEAD_BYTES hold a part
    (connection,) = running.sms.connections
    await until(lambda: not connection._transport.is_reading())  # type: ignore[union-attr]
    running.classifier.gate.set()
    for _ in range(50):
        assert (await head(reader)).startswith(b"HTTP/1.1 302")
    writer.transport.abort()


async def test_what_takes_too_long_to_judge_arrives(tmp_path: Path) -> None:
    async with Running(tmp_path, deadline_s=0.05) as running:
        running.classifier.gate.clear()
        reader, writer = await running.connect()
        writer.write(ASK)
        answer = await head(reader)
        assert b"X-Filterd-Label: unavailable\r\n" in answer
        assert b"Location: http://127.0.0.1:9000/app?text=your+prize&id=7\r\n" in answer
        writer.close()


@pytest.mark.parametrize("error", [ValueError("a\nb"), MemoryError(), RecursionError()])
async def test_no_error_loses_a_message(
    running: Running, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    running.classifier.error = error
    reader, writer = await running.connect()
    writer.write(ASK)
    assert (await head(reader)).startswith(b"HTTP/1.1 302")
    writer.close()
    assert "your prize" not in caplog.text


async def test_a_slow_request_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "REQUEST_TIMEOUT_S", 0.05)
    async with Running(tmp_path) as running:
        reader, writer = await running.connect()
        writer.write(ASK[:20])
        assert await rest(reader) == b""
        writer.close()
        await until(lambda: not running.sms.connections)


async def test_an_idle_connection_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "WRITE_TIMEOUT_S", 0.05)
    async with Running(tmp_path) as running:
        reader, writer = await running.connect()
        writer.write(ASK)
        await head(reader)
        assert await rest(reader) == b""
        writer.close()


async def test_one_connection_too_many_is_told_so(tmp_path: Path) -> None:
    async with Running(tmp_path, max_connections=2) as running:
        held = [await running.connect() for _ in range(2)]
        await until(lambda: len(running.sms.connections) == 2)
        reader, writer = await running.connect()
        assert (await rest(reader)).startswith(b"HTTP/1.1 503 Service Unavailable")
        writer.close()
        for _, one in held:
            one.close()
        await until(lambda: not running.sms.connections)
        reader, writer = await running.connect()
        writer.write(ASK_LAST)
        assert (await rest(reader)).startswith(b"HTTP/1.1 302")
        writer.close()


async def test_a_stop_answers_what_was_asked(tmp_path: Path) -> None:
    async with Running(tmp_path) as running:
        running.classifier.gate.clear()
        idle, idle_writer = await running.connect()
        reader, writer = await running.connect()
        writer.write(ASK)
        await until(lambda: running.classifier.seen)
        closing = asyncio.ensure_future(running.sms.close(10))
        assert await rest(idle) == b""
        idle_writer.close()
        running.classifier.gate.set()
        assert (await rest(reader)).startswith(b"HTTP/1.1 302")
        await closing
        writer.close()


async def test_a_stop_waits_no_longer_than_it_may(tmp_path: Path) -> None:
    async with Running(tmp_path) as running:
        running.classifier.gate.clear()
        reader, writer = await running.connect()
        writer.write(ASK)
        await until(lambda: running.classifier.seen)
        await running.sms.close(0.05)
        assert await rest(reader) == b""
        writer.close()


async def test_many_at_once(running: Running) -> None:
    async def one() -> bytes:
        reader, writer = await running.connect()
        writer.write(ASK_LAST)
        answer = await rest(reader)
        writer.close()
        return answer

    answers = await asyncio.gather(*(one() for _ in range(100)))
    assert all(answer.startswith(b"HTTP/1.1 302") for answer in answers)
