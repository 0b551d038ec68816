"""Asking a daemon: against answers of every kind, and against the real HTTP server."""

import asyncio
import contextlib
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from filterd import listen
from filterd.api import Kind, Label, Message
from filterd.commands import client
from filterd.commands.client import Daemon
from filterd.config import Config
from filterd.corrections.learner import Learner
from filterd.errors import BadInput, FilterdError, LearningClosed, ModelUnavailable, Overloaded, StoreError
from filterd.headers import HeaderStyle
from filterd.protocols.http import app
from filterd.protocols.http.app import Access
from filterd.protocols.http.server import HttpServer
from filterd.service.service import Service
from tests.filterd.fakes import engine

HAM = b"From: ann@example.org\nSubject: lunch\n\nshall we meet at noon?\n"
SPAM = b"From: win@example.net\nSubject: hello\n\nyou are our prize winner\n"
VERDICT = (
    b'{"label":"spam","probability":0.99,"points":9.5,"kind":"sms","model":"m-1","ms":1.5,"id":"",'
    b'"tests":["GPT2"],"classes":{"ham":0.01,"spam":0.99},"available":true,"subject":"s"}'
)
HELLO = Message(b"hello", kind=Kind.SMS)
MAX_BYTES = 300_000
CONNECTIONS = 8
TIMEOUT_S = 30.0


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short one: a unix socket's path has 103 bytes at most."""
    made = Path(tempfile.mkdtemp(dir="/tmp", prefix="filterd-"))
    yield made
    shutil.rmtree(made)


class Answering:
    """A socket that reads a request's head and answers with given bytes; keeps what it was asked."""

    def __init__(self, path: Path, answer: bytes) -> None:
        self.asked = b""
        self._answer = answer
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(str(path))
        self._listening.listen()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        connection, _ = self._listening.accept()
        with connection:
            while b"\r\n\r\n" not in self.asked and (part := connection.recv(65536)):
                self.asked += part
            connection.sendall(self._answer)

    def close(self) -> None:
        self._thread.join(5.0)
        self._listening.close()


def answer(body: bytes, status: str = "200 OK") -> bytes:
    return b"HTTP/1.1 %s\r\ncontent-length: %d\r\n\r\n%s" % (status.encode(), len(body), body)


def ask(folder: Path, said: bytes, message: Message = HELLO) -> tuple[object, bytes]:
    """The verdict or the error that such an answer gives, and the request."""
    path = folder / "http.sock"
    peer = Answering(path, said)
    try:
        found: object = Daemon(str(path)).check([message])[0]
    except FilterdError as error:
        found = error
    finally:
        peer.close()
        path.unlink()
    return found, peer.asked


def test_the_request(folder: Path) -> None:
    found, asked = ask(folder, answer(VERDICT), Message(b"hello", kind=Kind.SMS, id="a b&c\r\nX: y"))
    assert getattr(found, "label", None) is Label.SPAM
    head, _, body = asked.partition(b"\r\n\r\n")
    assert head.split(b"\r\n") == [
        b"POST /v1/check?kind=sms&id=a+b%26c%0D%0AX%3A+y HTTP/1.1",
        *(b"Host: filterd", b"Content-Length: 5", b"Connection: close"),
    ]
    assert body == b"hello"


@pytest.mark.parametrize(
    ("line", "style"),
    [
        pytest.param(b"", HeaderStyle(), id="an older daemon"),
        pytest.param(b"filterd-headers: X-Spam-\r\n", HeaderStyle(), id="the default"),
        pytest.param(b"Filterd-Headers:X-Our-\r\n", HeaderStyle("X-Our-"), id="another"),
        pytest.param(
            b"filterd-headers: X-Our-; keep-forged\r\n", HeaderStyle("X-Our-", keep_forged=True), id="keeping"
        ),
    ],
)
def test_how_headers_are_called(folder: Path, line: bytes, style: HeaderStyle) -> None:
    path = folder / "http.sock"
    peer = Answering(path, answer(VERDICT).replace(b"\r\n", b"\r\n" + line, 1))
    daemon = Daemon(str(path))
    daemon.check([HELLO])
    peer.close()
    path.unlink()
    assert daemon.style == style


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (
    len(VERDICT),
    VERDICT,
)


@pytest.mark.parametrize("said", [answer(VERDICT), CHUNKED], ids=["whole", "chunked"])
def test_the_verdict(folder: Path, said: bytes) -> None:
    found, _ = ask(folder, said)
    assert (
        repr(found)
        == "Verdict(label=<Label.SPAM: 'spam'>, probability=0.99, points=9.5, kind=<Kind.SMS: 'sms'>,"
        " model='m-1', tests=('GPT2',), classes={'ham': 0.01, 'spam': 0.99}, available=True, subject='s',"
        " seconds=0.0015, action=None, answer=None)"
    )


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        ("400 Bad Request", BadInput),
        ("403 Forbidden", LearningClosed),
        ("413 Content Too Large", BadInput),
        ("429 Too Many Requests", Overloaded),
        ("500 Internal Server Error", FilterdError),
        ("503 Service Unavailable", ModelUnavailable),
        ("507 Insufficient Storage", StoreError),
    ],
)
def test_what_the_daemon_says_is_wrong(folder: Path, status: str, kind: type[FilterdError]) -> None:
    error, _ = ask(folder, answer(b'{"error": "this is why"}', status))
    assert type(error) is kind
    assert str(error) == "this is why"


@pytest.mark.parametrize(
    "said",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"SPAMD/1.1 0 EX_OK\r\n\r\n", id="another protocol"),
        pytest.param(b"HTTP/1.1 200 OK\r\n\r\n<html>", id="a web page"),
        pytest.param(b"HTTP/1.1 503 No\r\n\r\nService Unavailable", id="an error that is no JSON"),
        pytest.param(answer(b"[]"), id="a list"),
        pytest.param(answer(b"null", "404 Not Found"), id="null"),
        pytest.param(answer(b'{"label": "spam"}'), id="half a verdict"),
        pytest.param(answer(VERDICT.replace(b"spam", b"phishing")), id="another label"),
        pytest.param(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n{}", id="bad chunk"),
        pytest.param(answer(b'{"a":' * 100_000), id="deep"),
        *(pytest.param(answer(VERDICT)[:cut], id=f"cut at {cut}") for cut in (5, 20, 60, 200)),
    ],
)
def test_what_is_no_answer_of_ours(folder: Path, said: bytes) -> None:
    error, _ = ask(folder, said)
    assert type(error) is ModelUnavailable
    assert "http.sock: that is not filterd's answer" in str(error)


def test_an_answer_without_end(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "MAX_ANSWER_BYTES", 1000)
    error, _ = ask(folder, b"x" * 5000)
    assert "too long" in str(error)


def test_a_daemon_that_does_not_answer(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "ANSWER_TIMEOUT_S", 0.05)
    with socket.socket(socket.AF_UNIX) as mute:
        mute.bind(str(folder / "http.sock"))
        mute.listen()
        with pytest.raises(ModelUnavailable, match="timed out"):
            Daemon(str(folder / "http.sock")).status()


# Whether there is a daemon.


def test_no_socket_dead_socket_living_socket(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(folder / "http.sock")
    monkeypatch.setenv("FILTERD_SOCKET", path)
    assert client.socket_path() is None
    living = socket.socket(socket.AF_UNIX)
    living.bind(path)
    living.listen()
    assert client.socket_path() == path
    living.close()
    assert client.socket_path() is None, "a daemon that died has left its socket"
    with pytest.raises(ModelUnavailable, match="is filterd serve running"):
        Daemon(path).check([Message(HAM)])


def test_asking_can_be_turned_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FILTERD_SOCKET", "")
    assert client.socket_path() is None


def test_what_is_in_the_way_is_not_passed_over(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FILTERD_SOCKET", "/tmp/" + "x" * 200)
    assert client.socket_path() == "/tmp/" + "x" * 200
    with pytest.raises(ModelUnavailable, match="too long"):
        Daemon("/tmp/" + "x" * 200).status()


# The real server.


@pytest.fixture
async def daemon(folder: Path) -> AsyncIterator[Daemon]:
    learner = Learner.open(Config(state=str(folder)))
    service = Service(Config(state=str(folder)), engine()[0], learner)
    served = app.make(service, Access("http", may_learn=True), MAX_BYTES)
    server = HttpServer(served, max_connections=CONNECTIONS)
    await server.start(listen.open_socket(f"unix:{folder}/http.sock"))
    yield Daemon(str(folder / "http.sock"))
    await server.close(5.0)
    await service.close(5.0)
    learner.store.close()


async def test_one_connection_too_many(daemon: Daemon, folder: Path) -> None:
    def work() -> None:
        idle = [socket.socket(socket.AF_UNIX) for _ in range(CONNECTIONS)]
        for one in idle:
            one.connect(str(folder / "http.sock"))
            one.sendall(b"GET /ping HTTP/1.1\r\nHost: filterd\r\n\r\n")
            assert one.recv(4096).startswith(b"HTTP/1.1 200 OK\r\n")
        with pytest.raises(ModelUnavailable, match="too many connections"):
            daemon.status()
        idle.pop().close()
        until = time.monotonic() + TIMEOUT_S
        while time.monotonic() < until:
            with contextlib.suppress(ModelUnavailable):
                daemon.status()
                break
        assert daemon.status()["model"]
        for one in idle:
            one.close()

    await asyncio.to_thread(work)


async def test_check_learn_forget_status(daemon: Daemon) -> None:
    def work() -> None:
        found = daemon.check(
            [
                Message(SPAM, kind=Kind.MAIL, id="1"),
                Message(HAM),
                Message(b"hello", kind=Kind.SMS),
            ]
        )
        assert [one.label for one in found] == [Label.SPAM, Label.HAM, Label.HAM]
        assert [one.kind for one in found] == [Kind.MAIL, Kind.MAIL, Kind.SMS]
        assert found[0].subject == "hello"
        assert daemon.learn(Message(HAM), Label.SPAM)
        assert not daemon.learn(Message(HAM), Label.SPAM)
        assert daemon.check([Message(HAM)])[0].label is Label.SPAM
        assert daemon.forget(Message(HAM))
        assert daemon.check([Message(HAM)])[0].label is Label.HAM
        assert daemon.status()["judged"] == {"ham": 3, "unsure": 0, "spam": 2}

    await asyncio.to_thread(work)


async def test_many_share_a_request(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    real = Daemon._ask

    def ask(self: Daemon, method: str, target: str, *rest: object) -> dict[str, object]:
        asked.append(target)
        return real(self, method, target, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(Daemon, "_ask", ask)
    odd = Message(b"Subject: \xff\xfe\0\n\n\xf0\x9f our prize winner", kind=Kind.MAIL, id="\u00e9")
    some = [
        odd,
        Message(HAM),
        Message(b"hello", kind=Kind.SMS, sender="+49155"),
        Message(SPAM, kind=Kind.MAIL),
    ] * 3
    found = await asyncio.to_thread(daemon.check, some)
    assert [one.label for one in found] == [Label.SPAM, Label.HAM, Label.HAM, Label.SPAM] * 3
    assert found[2].kind is Kind.SMS
    assert asked == ["/v1/check"]
    with pytest.raises(BadInput, match="empty"):
        await asyncio.to_thread(daemon.check, [Message(HAM), Message(b" ")])


def test_how_messages_share_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "MAX_BATCH", 3)
    monkeypatch.setattr(client, "MAX_BATCH_BYTES", 10)
    sizes = [[len(one.raw) for one in batch] for batch in client.batches(
        [Message(b"x" * size) for size in (1, 2, 3, 4, 7, 20, 1, 9)]
    )]  # fmt: skip
    assert sizes == [[1, 2, 3], [4], [7], [20], [1, 9]]
    assert list(client.batches([])) == []


async def test_errors_of_the_real_server(daemon: Daemon) -> None:
    with pytest.raises(BadInput, match="empty"):
        await asyncio.to_thread(daemon.check, [Message(b" ")])
    for size in (MAX_BYTES + 1, 20 * MAX_BYTES):
        with pytest.raises(BadInput, match="larger than 300,000 bytes"):
            await asyncio.to_thread(daemon.check, [Message(b"x" * size, kind=Kind.MAIL)])
