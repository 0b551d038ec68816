"""HTTP on a socket: clients that are silent, slow, many, endless, or that speak something else."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from filterd import listen
from filterd.config import Config, Model, Queue
from filterd.kit import door
from filterd.protocols.http import app
from filterd.protocols.http import server as http
from filterd.protocols.http.app import Access
from filterd.protocols.http.server import HttpServer
from filterd.service.service import Service
from tests.filterd.fakes import engine

TIMEOUT_S = 10.0
PING = b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n"
PLACES = 4


class Listener:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.service = Service(
            Config(model=Model(workers=1), queue=Queue(max_bytes=200_000)), engine()[0], None
        )
        access = Access("http", may_learn=True)
        self.server = HttpServer(app.make(self.service, access, 150_000), max_connections=PLACES)

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_unix_connection(str(self.path))

    async def ask(self, sent: bytes, piece: int = 1 << 20) -> bytes:
        """Everything that comes back until the server closes."""
        reader, writer = await self.connect()
        for i in range(0, len(sent), piece):
            writer.write(sent[i : i + piece])
            await asyncio.sleep(0)
        async with asyncio.timeout(TIMEOUT_S):
            answer = await reader.read()
        writer.close()
        return answer


@pytest.fixture
async def listener(tmp_path: Path) -> AsyncIterator[Listener]:
    made = Listener(tmp_path / "http.sock")
    await made.server.start(listen.open_socket(f"unix:{made.path}"))
    yield made
    await made.server.close(5.0)
    await made.service.close(5.0)


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


def error(answer: bytes) -> str:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"content-type: application/json" in head.lower()
    said = json.loads(body)
    assert set(said) == {"error"}
    return str(said["error"])


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(b"nonsense\r\n\r\n", id="another protocol"),
        pytest.param(b"EHLO x\r\n", id="smtp"),
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00", id="tls"),
        pytest.param(b"GET /\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n", id="bytes in the path"),
        pytest.param(b"CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n", id="a proxy's request"),
        pytest.param(
            b"POST /v1/check HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", id="length below 0"
        ),
        pytest.param(
            b"POST /v1/check HTTP/1.1\r\nContent-Length: 9\r\nContent-Length: 1\r\n\r\n", id="two lengths"
        ),
        pytest.param(
            b"POST /v1/check HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n",
            id="smuggled",
        ),
        pytest.param(b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * (http.MAX_FIELDS + 1) + b"\r\n", id="fields"),
    ],
)
@pytest.mark.parametrize("piece", [1 << 20, 7])
async def test_what_cannot_be_parsed_is_answered_in_json(listener: Listener, sent: bytes, piece: int) -> None:
    answer = await listener.ask(sent, piece)
    assert status(answer) == 400
    assert error(answer)


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(b"GET /" + b"x" * 200_000, id="a path"),
        pytest.param(b"GET / HTTP/1.1\r\nA: " + b"x" * 200_000, id="a field"),
        pytest.param(
            b"POST /v1/check HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5;" + b"x" * 200_000,
            id="an extension",
        ),
        pytest.param(
            b"POST /v1/check HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nA: " + b"x" * 200_000,
            id="a trailer",
        ),
    ],
)
async def test_what_has_no_end_is_cut_off(listener: Listener, sent: bytes) -> None:
    answer = await listener.ask(sent, 4096)
    assert status(answer) == 431
    assert "65,536 bytes" in error(answer)


async def test_a_slow_head_is_told_and_silence_is_ended(
    listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "HEAD_TIMEOUT_S", 0.05)
    assert await listener.ask(b"") == b""
    answer = await listener.ask(b"GET /ping HTTP/1.1\r\nHo")
    assert status(answer) == 408 and "did not arrive" in error(answer)


async def test_empty_lines_do_not_keep_a_connection(
    listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "HEAD_TIMEOUT_S", 0.2)
    monkeypatch.setattr(http, "KEEP_ALIVE_S", 0.2)
    for first in (b"", PING):
        reader, writer = await listener.connect()
        writer.write(first)

        async def drip(to: asyncio.StreamWriter = writer) -> None:
            while True:
                to.write(b"\r\n")
                await asyncio.sleep(0.05)

        task = asyncio.create_task(drip())
        async with asyncio.timeout(TIMEOUT_S):
            await reader.read()
        task.cancel()
        writer.close()


async def test_silent_clients_do_not_keep_others_out(
    listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door, "PATIENCE_S", 0.0)
    silent = [await listener.connect() for _ in range(5 * PLACES)]
    reader, writer = await listener.connect()
    writer.write(PING)
    async with asyncio.timeout(TIMEOUT_S):
        assert (await reader.readline()) == b"HTTP/1.1 200 OK\r\n"
    assert listener.server.connections <= PLACES
    for _, one in [*silent, (reader, writer)]:
        one.close()


async def test_a_place_that_waits_for_its_next_request_is_given_up_too(
    listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door, "PATIENCE_S", 0.0)
    kept = []
    for _ in range(3 * PLACES):
        reader, writer = await listener.connect()
        writer.write(PING)
        async with asyncio.timeout(TIMEOUT_S):
            assert (await reader.readline()) == b"HTTP/1.1 200 OK\r\n"
        kept.append(writer)
    for one in kept:
        one.close()


async def test_one_too_many_of_them_that_just_came_is_told(listener: Listener) -> None:
    kept = [await listener.connect() for _ in range(PLACES)]
    while listener.server.connections < PLACES:
        await asyncio.sleep(0.01)
    answer = await listener.ask(b"")
    assert status(answer) == 503 and error(answer) == "too many connections; see http.max_connections"
    for _, one in kept:
        one.close()


async def test_a_body_that_is_not_read_to_its_end_closes(listener: Listener) -> None:
    sent = b"POST /v1/check HTTP/1.1\r\nHost: x\r\nContent-Length: 10000000\r\n\r\n" + b"x" * 300_000
    answer = await listener.ask(sent)
    assert status(answer) == 413 and "http.max_bytes" in error(answer)


async def test_who_begins_his_next_request_early_gets_both_answers(listener: Listener) -> None:
    judged = b"POST /v1/check HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello"
    reader, writer = await listener.connect()
    writer.write(judged + PING[:20])  # is begun before the first is answered
    async with asyncio.timeout(TIMEOUT_S):
        assert await reader.readline() == b"HTTP/1.1 200 OK\r\n"
        await reader.readuntil(b"}")
        writer.write(PING[20:])
        assert (await reader.readuntil(b"\r\n")).endswith(b"HTTP/1.1 200 OK\r\n")
    writer.close()


async def test_bytes_of_all_are_bounded_together(listener: Listener) -> None:
    head = b"POST /v1/check HTTP/1.1\r\nConnection: close\r\nContent-Length: 140000\r\n\r\n"
    first, one = await listener.connect()
    one.write(head + b"x" * 139_000)
    while listener.service.room.taken < 139_000:
        await asyncio.sleep(0.01)
    answer = await listener.ask(head + b"x" * 140_000)
    assert status(answer) == 429 and "queue.max_bytes" in error(answer)
    one.write(b"x" * 1_000)
    async with asyncio.timeout(TIMEOUT_S):
        assert (await first.readline()) == b"HTTP/1.1 200 OK\r\n"
    one.close()
    while listener.service.room.taken:
        await asyncio.sleep(0.01)


async def test_many_requests_ahead_are_answered_in_order_up_to_a_bound(listener: Listener) -> None:
    reader, writer = await listener.connect()
    writer.write(PING * 20)
    for _ in range(20):
        async with asyncio.timeout(TIMEOUT_S):
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 OK") and await reader.readexactly(6) == b"pong\r\n"
    writer.close()
    answer = await listener.ask(PING * (10 * http.MAX_AHEAD))
    assert answer.count(b" 200 OK") <= http.MAX_AHEAD + 1


async def test_who_does_not_read_his_answer_is_cut_off(
    listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "WRITE_TIMEOUT_S", 0.05)
    _, writer = await listener.connect()
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    body = json.dumps({"messages": [{"text": "a"}] * 5000}).encode()
    head = b"POST /v1/check HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    writer.write(head % len(body) + body)
    async with asyncio.timeout(TIMEOUT_S):
        while listener.server.connections == 0:
            await asyncio.sleep(0.01)
        while listener.server.connections:
            await asyncio.sleep(0.01)
    writer.transport.abort()
