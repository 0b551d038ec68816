"""The plugin on real sockets: time limits, many clients, the drain, and a client that leaves."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from filterd.protocols.http import server as http
from filterd_plugins.sms import server
from tests.plugins.sms.conversation import Running, settings

ASK = b"GET /kannel?secret=s%23cret&text=your+prize&id=7 HTTP/1.1\r\nHost: a\r\n\r\n"
ASK_LAST = ASK[:-2] + b"Connection: close\r\n\r\n"
FORM = b"POST /twilio HTTP/1.1\r\nHost: a\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"
TOO_MUCH = server.MAX_BODY_BYTES + 1
Connect = Callable[[], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Running]:
    async with Running(settings(tmp_path), tmp_path / "sms.sock") as one:
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
    await until(lambda: not running.server.connections)


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
    await until(lambda: not running.server.connections)


async def test_what_takes_too_long_to_judge_arrives(tmp_path: Path) -> None:
    async with Running(settings(tmp_path, deadline_s=0.05), tmp_path / "sms.sock") as running:
        running.classifier.gate.clear()
        reader, writer = await running.connect()
        writer.write(ASK)
        answer = await head(reader)
        assert b"x-filterd-label: unavailable\r\n" in answer
        assert b"location: http://127.0.0.1:9000/app?text=your+prize&id=7\r\n" in answer
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
    monkeypatch.setattr(http, "HEAD_TIMEOUT_S", 0.05)
    async with Running(settings(tmp_path), tmp_path / "sms.sock") as running:
        reader, writer = await running.connect()
        writer.write(ASK[:20])
        assert (await rest(reader)).startswith(b"HTTP/1.1 408")
        writer.close()
        await until(lambda: not running.server.connections)


async def test_an_idle_connection_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "KEEP_ALIVE_S", 0.05)
    async with Running(settings(tmp_path), tmp_path / "sms.sock") as running:
        reader, writer = await running.connect()
        writer.write(ASK)
        await head(reader)
        assert await rest(reader) == b""
        writer.close()


async def test_one_connection_too_many_is_told_so(tmp_path: Path) -> None:
    async with Running(settings(tmp_path, max_connections=2), tmp_path / "sms.sock") as running:
        held = [await running.connect() for _ in range(2)]
        await until(lambda: running.server.connections == 2)
        reader, writer = await running.connect()
        assert (await rest(reader)).startswith(b"HTTP/1.1 503 Service Unavailable")
        writer.close()
        for _, one in held:
            one.close()
        await until(lambda: not running.server.connections)
        reader, writer = await running.connect()
        writer.write(ASK_LAST)
        assert (await rest(reader)).startswith(b"HTTP/1.1 302")
        writer.close()


async def test_a_stop_answers_what_was_asked(tmp_path: Path) -> None:
    async with Running(settings(tmp_path), tmp_path / "sms.sock") as running:
        running.classifier.gate.clear()
        idle, idle_writer = await running.connect()
        reader, writer = await running.connect()
        writer.write(ASK)
        await until(lambda: running.classifier.seen)
        closing = asyncio.ensure_future(running.server.close(10))
        assert await rest(idle) == b""
        idle_writer.close()
        running.classifier.gate.set()
        assert (await rest(reader)).startswith(b"HTTP/1.1 302")
        await closing
        writer.close()


async def test_a_stop_waits_no_longer_than_it_may(tmp_path: Path) -> None:
    async with Running(settings(tmp_path), tmp_path / "sms.sock") as running:
        running.classifier.gate.clear()
        reader, writer = await running.connect()
        writer.write(ASK)
        await until(lambda: running.classifier.seen)
        await running.server.close(0.05)
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


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        pytest.param(b"hello\r\n\r\n", 400, id="no HTTP"),
        pytest.param(b"GET /" + b"x" * (http.MAX_HEAD_BYTES + 1), 431, id="endless line"),
        pytest.param(FORM + b"Content-Length: -1\r\n\r\n", 400, id="negative length"),
        pytest.param(FORM + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n", 400, id="two lengths"),
        pytest.param(FORM + CHUNKED + b"zz\r\n", 400, id="no chunk"),
        pytest.param(FORM + b"Content-Length: 99999999\r\n\r\n" + b"x" * TOO_MUCH, 413, id="large body"),
        pytest.param(FORM + CHUNKED + (b"1000\r\n" + b"x" * 4096 + b"\r\n") * 20, 413, id="chunks"),
        pytest.param(b"GET /kannel?text=\xff HTTP/1.1\r\nHost: a\r\n\r\n", 400, id="no ASCII"),
    ],
)
async def test_bounds(raw: bytes, status: int, running: Running) -> None:
    reader, writer = await running.connect()
    writer.write(raw)
    assert (await head(reader)).startswith(b"HTTP/1.1 %d " % status)
    writer.close()


async def test_a_body_that_does_not_come_is_not_waited_for(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "BODY_TIMEOUT_S", 0.05)
    reader, writer = await running.connect()
    writer.write(FORM + b"Content-Length: 100\r\n\r\n" + b"x" * 10)
    assert (await rest(reader)).startswith(b"HTTP/1.1 400")
    writer.close()


async def test_the_largest_body_is_taken(running: Running) -> None:
    reader, writer = await running.connect()
    whole = b"x" * server.MAX_BODY_BYTES
    writer.write(FORM + b"Content-Length: %d\r\n\r\n" % len(whole) + whole)
    assert (await head(reader)).startswith(b"HTTP/1.1 415")  # read to its end, and then no form
    writer.close()


async def test_a_head_has_no_body(running: Running) -> None:
    reader, writer = await running.connect()
    writer.write(b"HEAD /kannel HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    assert (await rest(reader)).endswith(b"\r\n\r\n")
    writer.close()


async def test_an_end_in_the_middle_is_an_end(running: Running) -> None:
    for cut in range(0, len(ASK), 7):
        reader, writer = await running.connect()
        writer.write(ASK[:cut])
        writer.write_eof()
        assert not await rest(reader)
        writer.close()
    assert running.classifier.seen == []
