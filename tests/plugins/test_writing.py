"""The plugins of docs/plugins/writing.md, as they stand there, installed as a third party's and run."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT

PAGE = (ROOT / "docs" / "plugins" / "writing.md").read_text()
START_S = 60.0
POST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%b"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def installed(folder: Path) -> Path:
    """What pip leaves: the modules and their entry points."""
    about = folder / "filterd_lines-1.0.dist-info"
    about.mkdir()
    for name, module in zip(("lines", "post"), blocks("python"), strict=True):
        (folder / f"{name}.py").write_text(module)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: filterd-lines\nVersion: 1.0\n")
    entries = re.findall(r'^(\w+) = "(\w+:\w+)"$', "".join(blocks("toml")), re.MULTILINE)
    lines = "".join(f"{name} = {entry}\n" for name, entry in entries)
    (about / "entry_points.txt").write_text(f"[filterd.plugins]\n{lines}")
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where a daemon with both plugins has their sockets."""
    where = tmp_path_factory.mktemp("writing")
    (section,) = blocks("yaml")
    section = section.replace("/run/filterd/lines.sock", f"{where}/lines.sock")
    (where / "filterd.yaml").write_text(
        f"state: {where}/state\nspamd: {{listen: []}}\nhttp: {{listen: []}}\n"
        f"{section}  post: {{listen: [unix:{where}/post.sock], max_connections: 1}}\n"
    )
    command = [sys.executable, "-m", "tests.filterd.serving", "serve", "--config", "filterd.yaml"]
    environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{installed(where)}"}
    with subprocess.Popen(command, cwd=where, env=environment, stderr=subprocess.PIPE) as daemon:
        try:
            deadline = time.monotonic() + START_S
            while not (where / "post.sock").exists() and daemon.poll() is None:
                assert time.monotonic() < deadline
                time.sleep(0.05)
            yield where
        finally:
            daemon.send_signal(signal.SIGTERM)
            _, said = daemon.communicate(timeout=START_S)
    assert daemon.returncode == 0, said.decode()


def connected(path: Path) -> socket.socket:
    peer = socket.socket(socket.AF_UNIX)
    peer.settimeout(START_S)
    peer.connect(str(path))
    return peer


def test_the_pages_protocol(folder: Path) -> None:
    with connected(folder / "lines.sock") as peer:
        lines = peer.makefile("rb")
        for _ in range(2):
            peer.sendall(b"see you at seven\n")
            assert re.fullmatch(rb"(ham|unsure|spam) [01]\.\d{3}\n", lines.readline())


@pytest.mark.parametrize(
    ("body", "answer"),
    [(b"see you at seven", rb"HTTP/1.1 200 .*\r\n\r\n(ham|unsure|spam)"), (b"x" * 5000, rb"HTTP/1.1 503 .*")],
)
def test_the_pages_application(body: bytes, answer: bytes, folder: Path) -> None:
    with connected(folder / "post.sock") as peer:
        peer.sendall(POST % (len(body), body))
        assert re.fullmatch(answer, peer.makefile("rb").read(), re.DOTALL)


def test_an_application_has_its_places(folder: Path) -> None:
    with connected(folder / "post.sock") as first, connected(folder / "post.sock") as second:
        answer = second.makefile("rb").read()
        assert b" 503 " in answer and b"plugins.post.max_connections" in answer
        first.sendall(POST % (2, b"hi"))
        assert first.makefile("rb").read().startswith(b"HTTP/1.1 200 ")
