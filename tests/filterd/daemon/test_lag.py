"""Nothing that a client sends holds the event loop, and where something does, it is measured and said."""

import asyncio
import json
import time
import zlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from filterd import listen
from filterd.config import Config, Model
from filterd.daemon import lag
from filterd.protocols.http import app
from filterd.protocols.http.app import Access
from filterd.protocols.http.server import HttpServer
from filterd.protocols.spamd.server import SpamdServer
from filterd.service.service import Service
from tests.filterd.alarm import loop_alarm
from tests.filterd.fakes import engine

TIMEOUT_S = 120.0
MB = 1 << 20
SHORT_LINES = b"a:\n" * (MB // 3)
FOLDED = b"Subject: x\n" + b" y\n" * (MB // 3)
BLANKS = b"From: a@example.org\n\n" + b" " * (4 * MB)
ONE_LINE = b"Subject: " + b"x" * (4 * MB)
ATTACHMENTS = b"Content-Type: multipart/mixed; boundary=b\n\n" + b"--b\n\nx\n" * (MB // 8)
MAILS = {"short lines": SHORT_LINES, "folded": FOLDED, "blanks": BLANKS, "one line": ONE_LINE}
MAILS["parts"] = ATTACHMENTS


class Seen:
    def __init__(self) -> None:
        self.amounts: list[float] = []

    def observe(self, amount: float) -> None:
        self.amounts.append(amount)


async def test_a_held_loop_is_measured_and_said(caplog: pytest.LogCaptureFixture) -> None:
    seen = Seen()
    watching = asyncio.create_task(lag.watch(seen))
    await asyncio.sleep(0.01)
    until = time.thread_time() + 3 * lag.HELD_S
    while time.thread_time() < until:
        pass
    await asyncio.sleep(2 * lag.TICK_S)
    watching.cancel()
    assert max(seen.amounts) > 2 * lag.HELD_S
    assert "event loop held" in caplog.text


async def test_waiting_is_not_holding(caplog: pytest.LogCaptureFixture) -> None:
    watching = asyncio.create_task(lag.watch(Seen()))
    await asyncio.sleep(0.01)
    time.sleep(3 * lag.HELD_S)
    await asyncio.sleep(2 * lag.TICK_S)
    watching.cancel()
    assert "event loop held" not in caplog.text


@pytest.fixture
async def folder(tmp_path: Path) -> AsyncIterator[Path]:
    """spamd.sock and http.sock of one service."""
    service = Service(Config(state=str(tmp_path), model=Model(workers=1)), engine()[0], None)
    spamd = SpamdServer(service, allow_tell=True, room=service.room)
    http = HttpServer(app.make(service, Access("http", may_learn=True), 64 * MB), max_connections=8)
    await spamd.start(listen.open_socket(f"unix:{tmp_path}/spamd.sock"))
    await http.start(listen.open_socket(f"unix:{tmp_path}/http.sock"))
    yield tmp_path
    await spamd.close(5.0)
    await http.close(5.0)
    await service.close(5.0)


async def ask(path: Path, sent: bytes) -> bytes:
    """Everything that comes back."""

    def talk() -> bytes:  # in a thread: the client's work is not the daemon's
        import socket

        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(TIMEOUT_S)
            client.connect(str(path))
            client.sendall(sent)
            answer = b""
            while part := client.recv(MB):
                answer += part
            return answer

    return await asyncio.to_thread(talk)


@pytest.mark.parametrize("name", MAILS)
@pytest.mark.parametrize("command", [b"PROCESS", b"HEADERS", b"CHECK"])
async def test_no_mail_holds_the_loop_by_spamd(
    folder: Path, name: str, command: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = b"%s SPAMC/1.5\r\nContent-length: %d\r\n\r\n" % (command, len(MAILS[name])) + MAILS[name]
    with loop_alarm(monkeypatch):
        assert b" EX_OK\r\n" in (await ask(folder / "spamd.sock", sent))[:40]


async def test_no_compressed_mail_holds_the_loop(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    body = zlib.compress(bytes(30 * MB), 9)
    sent = b"PROCESS SPAMC/1.5\r\nCompress: zlib\r\nContent-length: %d\r\n\r\n" % len(body) + body
    with loop_alarm(monkeypatch):
        assert b" EX_OK\r\n" in (await ask(folder / "spamd.sock", sent))[:40]


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        pytest.param("message/rfc822", SHORT_LINES, id="short lines"),
        pytest.param("message/rfc822", b"Subject: x\n\n" + b"x " * (20 * MB), id="40 MB"),
        pytest.param(
            "application/json",
            json.dumps({"messages": [{"text": f"see you at {i}"} for i in range(10_000)]}).encode(),
            id="10,000 SMS",
        ),
        pytest.param("application/json", json.dumps({"mail": "a: b\n" * MB}).encode(), id="6 MB of JSON"),
        pytest.param("application/json", b'{"text": "' + rb"\ud83d" * (MB // 2) + b'"}', id="500,000 halves"),
        pytest.param("application/json", b"[" * (20 * MB), id="deep"),
    ],
)
async def test_no_request_holds_the_loop_by_http(
    folder: Path, kind: str, body: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = f"POST /v1/check HTTP/1.1\r\nConnection: close\r\nContent-Type: {kind}\r\n"
    sent = head.encode() + b"Content-Length: %d\r\n\r\n" % len(body) + body
    with loop_alarm(monkeypatch):
        answer = await ask(folder / "http.sock", sent)
    assert answer.startswith((b"HTTP/1.1 200 ", b"HTTP/1.1 400 "))
