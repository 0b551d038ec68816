"""The plugin in `filterd serve` against a real Kannel: an SMS comes in, the application gets it and answers.

Kannel's own fake SMS centre stands for the network: it takes and prints lines `sender receiver text …`.
"""

import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from filterd.reading.text import GTUBE
from tests.conftest import need_program
from tests.filterd.daemon.test_server import Daemon

CONFIGURATION = """
group = core
admin-port = {admin}
admin-interface = 127.0.0.1
admin-password = "{password}"
smsbox-port = {box}
smsbox-interface = 127.0.0.1
store-type = file
store-location = "{folder}/store"
log-file = "{folder}/bearerbox.log"

group = smsc
smsc = fake
smsc-id = FAKE
port = {smsc}
connect-allow-ip = 127.0.0.1

group = smsbox
bearerbox-host = 127.0.0.1
sendsms-port = {send}
log-file = "{folder}/smsbox.log"
http-request-retry = 30
http-queue-delay = 1

group = sms-service
keyword = default
catch-all = true
omit-empty = true
get-url = "http://127.0.0.1:{filterd}/kannel?secret=s%23cret&text=%a&from=%p&to=%P&id=%I&charset=%C"
"""
TIMEOUT_S = 30.0


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


class Application:
    """Where messages are forwarded to; answers each with "got …"."""

    def __init__(self) -> None:
        self.got: list[dict[str, str]] = []
        got = self.got

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                fields = {k: v[0] for k, v in parse_qs(urlsplit(self.path).query).items()}
                got.append(fields)
                body = f"got {fields['text'][:20]}".encode()
                self.send_response(200)
                self.send_header("Content-Type", "text/plain; charset=utf-8")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class Kannel:
    """bearerbox, smsbox and somebody with a mobile phone."""

    def __init__(self, folder: Path, port: int) -> None:
        boxes = [need_program("bearerbox"), need_program("smsbox")]
        admin, box, send, smsc = free_ports(4)
        file = folder / "kannel.conf"
        file.write_text(
            CONFIGURATION.format(
                **{"folder": folder, "filterd": port, "password": "x"},
                **{"admin": admin, "box": box, "send": send, "smsc": smsc},
            )
        )
        self._processes: list[subprocess.Popen[bytes]] = []
        for program, waits_for in zip(boxes, (box, send), strict=True):
            command, nowhere = [program, "-v", "4", str(file)], subprocess.DEVNULL
            self._processes.append(subprocess.Popen(command, stdout=nowhere, stderr=nowhere))
            _wait_for_port(waits_for)
        self._phone = socket.create_connection(("127.0.0.1", smsc))
        self._phone.settimeout(TIMEOUT_S)
        self._lines = self._phone.makefile("rb")

    def send(self, sender: str, text: str) -> None:
        self._phone.sendall(f"{sender} 200 text {text}\n".encode())

    def received(self) -> str:
        return self._lines.readline().decode().strip()

    def nothing_received(self, seconds: float) -> bool:
        self._phone.settimeout(seconds)
        try:
            return not self._phone.recv(1)
        except TimeoutError:
            return True

    def stop(self) -> None:
        self._lines.close()
        self._phone.close()
        for process in reversed(self._processes):
            process.terminate()
        for process in self._processes:
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait_for_port(port: int) -> None:
    until = time.monotonic() + TIMEOUT_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            assert time.monotonic() < until, f"nothing listens on {port}"
            time.sleep(0.05)


@pytest.fixture
def folder() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(dir="/tmp", prefix="filterd-"))
    yield made
    shutil.rmtree(made)


@pytest.fixture
def application() -> Iterator[Application]:
    made = Application()
    yield made
    made.stop()


@pytest.fixture
def port() -> int:
    """The plugin's."""
    return free_ports(1)[0]


@pytest.fixture
def daemon(folder: Path, application: Application, port: int) -> Iterator[Daemon]:
    """`filterd serve` with the plugin: spam is denied, the rest is forwarded."""
    (folder / "secret").write_text("s#cret\n")
    (folder / "filterd").mkdir()
    made = Daemon(folder / "filterd")
    kannel = {
        "secret_file": str(folder / "secret"),
        "forward_to": f"http://127.0.0.1:{application.port}/app",
        "unsure": "forward",
        "spam": "deny",
    }
    made.configure(plugins={"sms": {"listen": [f"tcp:127.0.0.1:{port}"], "kannel": kannel}})
    made.start()
    yield made
    if made.process and made.process.poll() is None:
        made.end(signal.SIGKILL)


@pytest.fixture
def kannel(folder: Path, daemon: Daemon, port: int) -> Iterator[Kannel]:
    made = Kannel(folder, port)
    yield made
    made.stop()


def test_messages_through_kannel(kannel: Kannel, daemon: Daemon, application: Application) -> None:
    kannel.send("101", "see you at noon & grüße+more")
    assert kannel.received().startswith("200 101 text got see you at noon")
    [got] = application.got
    assert (got["text"], got["from"], got["to"]) == ("see you at noon & grüße+more", "101", "200")
    assert "secret" not in got

    kannel.send("102", GTUBE)
    kannel.send("103", "and bring the plans")
    assert kannel.received().startswith("200 103 ")
    assert [one["from"] for one in application.got] == ["101", "103"], "spam goes no further"

    daemon.end(signal.SIGKILL)
    kannel.send("104", "who is there")
    assert kannel.nothing_received(1.0)
    daemon.start()
    daemon.wait_for(lambda: len(application.got) == 3)
    assert application.got[-1]["text"] == "who is there"
    assert len({one["id"] for one in application.got}) == 3
