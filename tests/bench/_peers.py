"""The programs that are measured, each started in a folder and on ports of its own, and ended afterwards."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import ROOT

START_S = 60.0  # spamd compiles its rules: 3 s alone, many times that on a busy machine
STOP_S = 30.0
POLL_S = 0.01


class NotStarted(Exception):
    """A program that ended or said nothing; its output is in the message."""


@dataclass(frozen=True, slots=True)
class Filterd:
    """A running daemon. http, spamd: paths of its sockets. ready_s: from its start to READY=1."""

    pid: int
    http: str
    spamd: str
    log: Path
    ready_s: float


@contextmanager
def folder() -> Iterator[Path]:
    """A short path: a unix socket's has 103 bytes at most."""
    made = Path(tempfile.mkdtemp(dir="/tmp", prefix="filterd-bench-"))
    try:
        yield made
    finally:
        shutil.rmtree(made)


@contextmanager
def started(
    command: list[str], log: Path, ready: Callable[[], object], environment: dict[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """The process once `ready` holds; ended by SIGTERM. Raises NotStarted with what it said."""
    with log.open("ab") as stream:
        process = subprocess.Popen(
            command, stdout=stream, stderr=stream, cwd=ROOT, env={**os.environ, **(environment or {})}
        )
    try:
        until = time.monotonic() + START_S
        while not ready():
            if process.poll() is not None or time.monotonic() > until:
                raise NotStarted(f"{' '.join(command)}: {log.read_text('utf-8', 'replace')[-2000:]}")
            time.sleep(POLL_S)
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(STOP_S)


@contextmanager
def filterd(**sections: object) -> Iterator[Filterd]:
    """Our daemon with these sections of its configuration; its cache is off unless they say otherwise."""
    with folder() as where:
        http, spamd, log = where / "http.sock", where / "spamd.sock", where / "log"
        given: dict[str, object] = {
            "state": str(where / "state"),
            "http": {"listen": [f"unix:{http}"], "mode": "0600"},
            "spamd": {"listen": [f"unix:{spamd}"], "mode": "0600"},
            "cache": {"messages": 0},
        }
        (where / "filterd.yaml").write_text(json.dumps(given | sections))  # JSON is YAML
        command = [sys.executable, "-m", "filterd", "serve", "--config", str(where / "filterd.yaml")]
        begun = time.perf_counter()
        with started(command, log, lambda: b"event=ready" in log.read_bytes()) as process:
            yield Filterd(process.pid, str(http), str(spamd), log, time.perf_counter() - begun)
