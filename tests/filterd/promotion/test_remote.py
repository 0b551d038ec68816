"""A bundle from a server that may be anybody: what is taken, and what is refused with one line."""

import errno
import hashlib
import http.server
import shutil
import socketserver
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.request import Request

import msgspec
import pytest

from filterd.errors import BadInput, BundleError
from filterd.promotion import remote
from filterd.scoring import bundle
from tests.filterd.scoring.test_bundle import write

Answer = Callable[[http.server.BaseHTTPRequestHandler], bool]  # whether it has answered itself


class Server:
    """A web server on a folder. answer: asked first."""

    def __init__(self, folder: Path) -> None:
        self.answer: Answer = lambda request: False
        self.asked: list[str] = []
        outer = self

        class Handler(http.server.SimpleHTTPRequestHandler):
            def __init__(self, *given: object) -> None:
                super().__init__(*given, directory=str(folder))  # type: ignore[arg-type]

            def do_GET(self) -> None:
                outer.asked.append(self.path)
                if not outer.answer(self):
                    super().do_GET()

            def log_message(self, *_: object) -> None:
                pass

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.address = f"http://127.0.0.1:{self._server.server_address[1]}/new"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    made = Server(tmp_path / "served")
    write(tmp_path / "served" / "new", name="new")
    yield made
    made.close()


@pytest.fixture
def target(tmp_path: Path) -> Path:
    made = tmp_path / "target"
    made.mkdir()
    return made


def hash_of(tmp_path: Path) -> str:
    return bundle.sha256(tmp_path / "served" / "new" / bundle.MANIFEST)


def test_a_bundle_comes_as_it_was(tmp_path: Path, server: Server, target: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    remote.fetch(f"{server.address}/", hash_of(tmp_path).upper(), target, lambda *now: seen.append(now))
    assert bundle.read(target).id == bundle.read(tmp_path / "served" / "new").id
    assert {name for name, done, total in seen if done == total} >= set(bundle.REQUIRED)


@pytest.mark.parametrize(
    ("address", "sha256", "said"),
    [
        ("ftp://host/new", "", "https://host/path"),
        ("file:///etc", "", "https://host/path"),
        ("https:///new", "", "https://host/path"),
        ("https://a:b@host/new", "", "without user"),
        ("https://host/new?sig=1", "", "without user and query"),
        ("https://[x/", "", "https://host/path"),
        ("https://host:port/new", "", "https://host/path"),
        ("https://host/new", "abc", "no SHA-256"),
        ("http://host/new", "", "--sha256"),
    ],
)
def test_what_is_no_address_is_refused_unasked(target: Path, address: str, sha256: str, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        remote.fetch(address, sha256, target)
    assert not list(target.iterdir())


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ssl.SSLError(1, "[SSL: BAD_RECORD] bad record"), "bad record"),
        (OSError(errno.EHOSTUNREACH, "No route to host"), "No route to host"),
    ],
)
def test_a_network_that_fails_while_it_is_read_is_no_full_disk(
    tmp_path: Path, server: Server, target: Path, monkeypatch: pytest.MonkeyPatch, error: OSError, said: str
) -> None:
    def failing(*_: object) -> bytes:
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(http.client.HTTPResponse, "read1", failing)
        with pytest.raises(BundleError, match=said):
            remote.fetch(server.address, hash_of(tmp_path), target)
    full = OSError(errno.ENOSPC, "No space left on device")

    def report(*_: object) -> None:
        raise full

    with pytest.raises(OSError, match="No space left") as raised:
        remote.fetch(server.address, hash_of(tmp_path), target, report)
    assert raised.value is full


def test_a_server_that_sends_us_to_no_address_is_said(tmp_path: Path, server: Server, target: Path) -> None:
    def answer(request: http.server.BaseHTTPRequestHandler) -> bool:
        request.send_response(302)
        request.send_header("Location", "http://[x/")
        request.end_headers()
        return True

    server.answer = answer
    with pytest.raises(BundleError, match=r"manifest\.json"):
        remote.fetch(server.address, hash_of(tmp_path), target)


def test_another_manifest_than_the_one_meant_is_refused(server: Server, target: Path) -> None:
    with pytest.raises(BundleError, match="is not the one"):
        remote.fetch(server.address, "0" * 64, target)
    assert server.asked == ["/new/manifest.json"] and not list(target.iterdir())


def test_the_hash_may_lie_beside_the_manifest(tmp_path: Path, server: Server) -> None:
    side = tmp_path / "served" / "new" / remote.SIDE
    source = remote._Source(server.address)
    with pytest.raises(BundleError, match="404"):
        remote._beside(source)
    side.write_text(f"{hash_of(tmp_path)}  manifest.json\n")
    assert remote._beside(source) == hash_of(tmp_path)
    side.write_bytes(b"\xff<html>")
    with pytest.raises(BundleError, match="holds no SHA-256"):
        remote._beside(source)
    side.write_bytes(b"0" * 10_000)
    with pytest.raises(BundleError, match="larger than"):
        remote._beside(source)


@pytest.mark.parametrize("change", [b"", b"longer than it was", b"X"])
def test_a_file_that_is_another_is_refused(
    tmp_path: Path, server: Server, target: Path, change: bytes
) -> None:
    file = tmp_path / "served" / "new" / bundle.CARD
    file.write_bytes(file.read_bytes()[:-1] + change)
    with pytest.raises(BundleError, match=bundle.CARD):
        remote.fetch(server.address, hash_of(tmp_path), target)


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"../../etc/passwd": (5, "0" * 64)}, "leads out"),
        ({".ssh": (5, "0" * 64)}, "leads out"),
        ({"manifest.json": (5, "0" * 64)}, "leads out"),
        ({f"f{i}": (1, "0" * 64) for i in range(40)}, "no more than"),
        ({"huge": (1 << 50, "0" * 64)}, "no more than"),
        ({"less": (-5, "0" * 64)}, "no more than"),
    ],
)
def test_a_manifest_that_wants_too_much_is_refused(
    tmp_path: Path, server: Server, target: Path, files: dict[str, tuple[int, str]], said: str
) -> None:
    manifest = tmp_path / "served" / "new" / bundle.MANIFEST
    content = msgspec.json.decode(manifest.read_bytes())
    content["files"] = {name: {"bytes": size, "sha256": h} for name, (size, h) in files.items()} | content[
        "files"
    ]
    manifest.write_bytes(msgspec.json.encode(content))
    with pytest.raises(BundleError, match=said):
        remote.fetch(server.address, hash_of(tmp_path), target)
    assert {file.name for file in target.iterdir()} <= {bundle.MANIFEST}


def test_a_manifest_of_another_version_is_refused(tmp_path: Path, server: Server, target: Path) -> None:
    raw = b'{"format": 2}'
    (tmp_path / "served" / "new" / bundle.MANIFEST).write_bytes(raw)
    with pytest.raises(BundleError, match="another version"):
        remote.fetch(server.address, hashlib.sha256(raw).hexdigest(), target)


def test_a_body_without_end_ends(server: Server, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle, "MAX_MANIFEST_BYTES", 100_000)

    def endless(request: http.server.BaseHTTPRequestHandler) -> bool:
        request.wfile.write(b"HTTP/1.0 200 OK\r\n\r\n")
        try:
            while True:
                request.wfile.write(b"x" * 10_000)
        except OSError:
            return True

    server.answer = endless
    with pytest.raises(BundleError, match="larger than"):
        remote.fetch(server.address, "0" * 64, target)


def test_a_server_that_dribbles_ends(server: Server, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "MAX_S", 0.5)
    over = threading.Event()

    def dribbling(request: http.server.BaseHTTPRequestHandler) -> bool:
        request.wfile.write(b"HTTP/1.0 200 OK\r\nX: ")
        while not over.wait(0.05):
            request.wfile.write(b"x")
        return True

    server.answer = dribbling
    began = time.monotonic()
    with pytest.raises(BundleError, match=r"within 0\.5 s"):
        remote.fetch(server.address, "0" * 64, target)
    over.set()
    assert time.monotonic() - began < 20


def test_nobody_is_there(server: Server, target: Path) -> None:
    server.close()
    with pytest.raises(BundleError, match="refused"):
        remote.fetch(server.address, "0" * 64, target)


@pytest.mark.parametrize("to", ["file:///etc/passwd", "ftp://host/x"])
def test_what_is_sent_elsewhere_is_not_read_from_anywhere(server: Server, target: Path, to: str) -> None:
    def elsewhere(request: http.server.BaseHTTPRequestHandler) -> bool:
        request.send_response(302)
        request.send_header("Location", to)
        request.end_headers()
        return True

    server.answer = elsewhere
    with pytest.raises(BundleError):
        remote.fetch(server.address, "0" * 64, target)


def test_https_is_not_left_for_http() -> None:
    asked = Request("https://host/new")
    with pytest.raises(BundleError, match="refused"):
        remote._Redirects().redirect_request(asked, None, 302, "", {}, "http://host/new")  # type: ignore[arg-type]


def test_a_folder_is_checked_by_its_hash_too(tmp_path: Path, server: Server) -> None:
    folder = tmp_path / "served" / "new"
    remote.same(folder, hash_of(tmp_path))
    with pytest.raises(BundleError, match="is not the one"):
        remote.same(folder, "0" * 64)
    with pytest.raises(BadInput, match="no SHA-256"):
        remote.same(folder, "new-1")
    shutil.rmtree(folder)
    with pytest.raises(BundleError, match="holds a bundle"):
        remote.same(folder, "0" * 64)
