"""The plugin of docs/plugins/writing.md, as it stands there, installed as a third party's and run."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from tests.conftest import ROOT

PAGE = (ROOT / "docs" / "plugins" / "writing.md").read_text()
START_S = 60.0


def block(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    assert found
    return found[1]


def installed(folder: Path) -> Path:
    """What pip leaves: the module and its entry points."""
    about = folder / "filterd_lines-1.0.dist-info"
    about.mkdir()
    (folder / "lines.py").write_text(block("python"))
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: filterd-lines\nVersion: 1.0\n")
    entry = re.search(r'^lines = "(.*)"$', block("toml"), re.MULTILINE)
    assert entry
    (about / "entry_points.txt").write_text(f"[filterd.plugins]\nlines = {entry[1]}\n")
    return folder


def test_the_pages_plugin_answers_and_ends(tmp_path: Path) -> None:
    path = tmp_path / "lines.sock"
    listeners = "spamd: {listen: []}\nhttp: {listen: []}\n"
    section = block("yaml").replace("/run/filterd/lines.sock", str(path))
    (tmp_path / "filterd.yaml").write_text(f"state: {tmp_path}/state\n{listeners}{section}")
    command = [sys.executable, "-m", "tests.filterd.serving", "serve", "--config", "filterd.yaml"]
    environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{installed(tmp_path)}"}
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE) as daemon:
        try:
            deadline = time.monotonic() + START_S
            while not path.exists() and daemon.poll() is None and time.monotonic() < deadline:
                time.sleep(0.05)
            with socket.socket(socket.AF_UNIX) as peer:
                peer.settimeout(START_S)
                peer.connect(str(path))
                peer.sendall(b"see you at seven\n")
                answer = peer.makefile("rb").readline()
            assert re.fullmatch(rb"(ham|unsure|spam) [01]\.\d{3}\n", answer)
        finally:
            daemon.send_signal(signal.SIGTERM)
            _, said = daemon.communicate(timeout=START_S)
    assert daemon.returncode == 0, said.decode()
