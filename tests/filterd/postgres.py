"""A PostgreSQL of the tests' own on a private socket, that can be stopped, started again and frozen."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

PROGRAM = max(Path("/usr/lib/postgresql").glob("*/bin/postgres"), default=None)
SOON = 60  # seconds within which a server or a child has to have done its part, on a machine that is busy


class Server:
    """A running server; as `postgres` or `nobody` where the tests run as root."""

    def __init__(self, folder: Path, become: dict[str, Any]) -> None:
        self._folder, self._become = folder, become
        self.url = f"postgresql://filterd@/postgres?host={folder}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        assert PROGRAM is not None
        settings = ["-c", "listen_addresses=", "-c", "synchronous_commit=off"]  # we have to turn it on
        command = [str(PROGRAM), "-D", str(self._folder / "data"), "-k", str(self._folder), *settings]
        self._process = subprocess.Popen(command, **self._become)
        ready = [str(PROGRAM.with_name("pg_isready")), "-q", "-h", str(self._folder)]
        until(lambda: subprocess.run(ready, check=False).returncode == 0)

    def stop(self) -> None:
        """A fast shutdown, whoever is connected."""
        if self._process:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(SOON)
        self._process = None

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """None of its processes does anything meanwhile; connections stay open."""
        assert self._process is not None
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        stopped = [self._process.pid, *map(int, children.read_text().split())]
        try:
            for pid in stopped:
                os.kill(pid, signal.SIGSTOP)
            yield
        finally:
            for pid in reversed(stopped):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)


@contextmanager
def running() -> Iterator[Server]:
    """A server with an empty database; skips the test where there is none."""
    if PROGRAM is None:
        pytest.skip("needs PostgreSQL (apt-get install postgresql)")
    pytest.importorskip("psycopg")
    names = {user.pw_name: user for user in pwd.getpwall()}
    user = names.get("postgres", names.get("nobody")) if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())
    assert user is not None
    folder = Path(tempfile.mkdtemp(prefix="pg."))  # pytest's own folders are closed to other users
    os.chown(folder, user.pw_uid, user.pw_gid)
    become: dict[str, Any] = {"user": user.pw_uid, "group": user.pw_gid} if os.geteuid() == 0 else {}
    become |= {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": folder}
    initdb = f"{PROGRAM.with_name('initdb')} -D {folder}/data -A trust -U filterd --no-sync".split()
    subprocess.run(initdb, check=True, timeout=3 * SOON, **become)
    server = Server(folder, become)
    try:
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder)


def until(happened: Callable[[], bool]) -> None:
    """Wait for something that has to happen."""
    end = time.monotonic() + SOON
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.05)
