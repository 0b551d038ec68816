"""Fetching, against a server of our own on loopback that resumes, breaks off and lies as told."""

import hashlib
import io
import socket
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from filterd.errors import BadInput, NotFound, Unwritable
from filterd_trainer.data import fetch
from filterd_trainer.data.grouping import quiet

COLLECTION = b"".join(
    b"%s\tmessage number %d of our own\n" % ((b"ham", b"spam")[i % 2], i) for i in range(9000)
)


def zipped(content: bytes = COLLECTION, name: str = fetch.NAME) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(name, content)
        archive.writestr("readme", b"terms\n")
    return buffer.getvalue()


class Handler(BaseHTTPRequestHandler):
    server: "Server"

    def do_GET(self) -> None:
        server, wanted = self.server, self.headers.get("Range")
        server.asked.append(wanted)
        start = int(wanted[6:-1]) if wanted and server.resumes else 0
        if server.status != 200 or start > len(server.content):
            self.send_error(server.status if server.status != 200 else 416)
            return
        body = server.content[start:]
        self.send_response(206 if start else 200)
        if start:
            total = len(server.content)
            self.send_header("Content-Range", f"bytes {start + server.lie}-{total - 1}/{total}")
        if server.tells_length:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        cut = server.cuts.pop(0) if server.cuts else len(body)
        self.wfile.write(body[:cut])

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the base class's name)
        """Quiet."""


class Server(ThreadingHTTPServer):
    content = zipped()
    status = 200
    resumes = True
    tells_length = True
    lie = 0

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[str | None] = []
        self.cuts: list[int] = []
        self.url = f"http://127.0.0.1:{self.server_port}/sms.zip"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(fetch, "SHA256", hashlib.sha256(COLLECTION).hexdigest())
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def test_a_download_ends_with_the_checked_file(server: Server, tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    file = fetch.fetch(tmp_path / "data", lambda *t: told.append(t), url=server.url)
    assert file.read_bytes() == COLLECTION
    assert sorted(p.name for p in file.parent.iterdir()) == [fetch.NAME, fetch.NOTICE]
    assert told[-1] == ("download", len(server.content), len(server.content))
    fetch.fetch(tmp_path / "data", quiet, url=server.url)
    assert server.asked == [None], "what is there is not fetched again"


def test_a_cut_connection_is_resumed(server: Server, tmp_path: Path) -> None:
    server.cuts = [100_000, 50_000]
    assert fetch.fetch(tmp_path, quiet, url=server.url).read_bytes() == COLLECTION
    assert server.asked == [None, "bytes=100000-", "bytes=150000-"]


def test_a_later_run_resumes_too(server: Server, tmp_path: Path) -> None:
    server.cuts = [1000] * fetch.TRIES
    with pytest.raises(
        fetch.ServerUnreachable, match="3,000 bytes are kept, run the same command again"
    ) as caught:
        fetch.fetch(tmp_path, quiet, url=server.url)
    assert "\n" not in str(caught.value)
    assert fetch.fetch(tmp_path, quiet, url=server.url).read_bytes() == COLLECTION
    assert server.asked[-1] == "bytes=3000-"


@pytest.mark.parametrize(
    ("resumes", "lie"), [pytest.param(False, 0, id="200"), pytest.param(True, 5, id="range")]
)
def test_a_server_that_does_not_resume_is_begun_again(
    server: Server, tmp_path: Path, resumes: bool, lie: int
) -> None:
    server.resumes, server.lie, server.cuts = resumes, lie, [1000]
    assert fetch.fetch(tmp_path, quiet, url=server.url).read_bytes() == COLLECTION


def test_a_part_that_is_too_long_is_thrown_away(server: Server, tmp_path: Path) -> None:
    (tmp_path / f"{fetch.NAME}.zip.part").write_bytes(b"x" * (len(server.content) + 9))
    assert fetch.fetch(tmp_path, quiet, url=server.url).read_bytes() == COLLECTION


def test_a_server_without_a_length_will_do(server: Server, tmp_path: Path) -> None:
    server.tells_length = False
    assert fetch.fetch(tmp_path, quiet, url=server.url).read_bytes() == COLLECTION


def test_wrong_content_is_refused_and_not_kept(server: Server, tmp_path: Path) -> None:
    server.content = zipped(COLLECTION + b"ham\tone more\n")
    with pytest.raises(BadInput, match="sha256"):
        fetch.fetch(tmp_path, quiet, url=server.url)
    assert list(tmp_path.iterdir()) == []


def test_too_large_an_answer_is_cut_off(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "MAX_ARCHIVE", 100_000)
    with pytest.raises(BadInput, match="larger than"):
        fetch.fetch(tmp_path, quiet, url=server.url)
    assert list(tmp_path.iterdir()) == []


def test_the_servers_refusal_is_said(server: Server, tmp_path: Path) -> None:
    server.status = 404
    with pytest.raises(fetch.ServerUnreachable, match=r"404 .*--from PATH"):
        fetch.fetch(tmp_path, quiet, url=server.url)


def test_offline_is_one_line(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: refused
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/"
        with pytest.raises(fetch.ServerUnreachable, match=r"cannot reach 127.0.0.1 .*--from PATH") as caught:
            fetch.fetch(tmp_path, quiet, url=url)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://127.0.0.1/x", "sms.zip", "http://"])
def test_other_addresses_are_refused(tmp_path: Path, url: str) -> None:
    with pytest.raises(BadInput, match="--url"):
        fetch.fetch(tmp_path, quiet, url=url)


@pytest.mark.parametrize("name", ["SMSSpamCollection", "SMSSpamCollection.tsv", "sms+spam+collection.zip"])
@pytest.mark.parametrize("given", ["file", "folder", "outer folder"])
def test_from_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, given: str) -> None:
    monkeypatch.setattr(fetch, "SHA256", hashlib.sha256(COLLECTION).hexdigest())
    inner = tmp_path / "outer" / "inner"
    inner.mkdir(parents=True)
    (inner / name).write_bytes(zipped() if name.endswith("zip") else COLLECTION)
    source = {"file": inner / name, "folder": inner, "outer folder": tmp_path / "outer"}[given]
    assert fetch.fetch(tmp_path / "out", quiet, source).read_bytes() == COLLECTION
    assert (inner / name).exists()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        pytest.param(b"", "sha256", id="empty"),
        pytest.param(b"<html>", "sha256", id="another-file"),
        pytest.param(zipped()[:-40], "damaged zip", id="cut-zip"),
        pytest.param(zipped().replace(b"number 7 of", b"number 8 of"), "damaged zip", id="wrong-crc"),
        pytest.param(zipped(name="other.txt"), "without SMSSpamCollection", id="zip-of-something-else"),
    ],
)
def test_a_bad_file_is_refused(tmp_path: Path, content: bytes, says: str) -> None:
    file = tmp_path / "given"
    file.write_bytes(content)
    with pytest.raises(BadInput, match=says) as caught:
        fetch.fetch(tmp_path / "out", quiet, file)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out" / fetch.NAME).exists()


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no such file"):
        fetch.fetch(tmp_path / "out", quiet, tmp_path / "absent")
    with pytest.raises(NotFound, match="holds neither"):
        fetch.fetch(tmp_path / "out", quiet, tmp_path)


def test_an_output_that_cannot_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "SHA256", hashlib.sha256(COLLECTION).hexdigest())
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / fetch.NAME).write_bytes(COLLECTION)
    with pytest.raises(Unwritable, match="--out"):
        fetch.fetch(tmp_path / "file", quiet, tmp_path / fetch.NAME)
