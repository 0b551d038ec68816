"""A real PostgreSQL for one test: its own data, on a unix socket below /tmp, stopped and started at will.

    with running() as postgres:
        postgres.url        # postgresql://filterd@/postgres?host=/tmp/pg.…
        postgres.restart()

Where the tests run as root it runs as `postgres` or `nobody`, as it refuses to run as root.
"""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

PROGRAM = max(Path("/usr/lib/postgresql").glob("*/bin/postgres"), default=None)
TIMEOUT_S = 60.0  # of anything; a quiet machine needs one
POLL_S = 0.05


class Postgres:
    """One server, not started yet."""

    def __init__(self, program: Path, folder: Path) -> None:
        self._program, self._folder = program, folder
        self._process: subprocess.Popen[bytes] | None = None
        names = {user.pw_name: user for user in pwd.getpwall()}
        own = names.get("postgres", names.get("nobody")) if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())
        assert own is not None
        os.chown(folder, own.pw_uid, own.pw_gid)
        self._as: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": folder}
        self._as |= {"user": own.pw_uid, "group": own.pw_gid} if os.geteuid() == 0 else {}
        initdb = f"{program.with_name('initdb')} -D {folder}/data -A trust -U filterd --no-sync".split()
        subprocess.run(initdb, check=True, timeout=TIMEOUT_S, **self._as)

    @property
    def url(self) -> str:
        """Where it is."""
        return f"postgresql://filterd@/postgres?host={self._folder}"

    def start(self) -> None:
        """Returns once it answers."""
        command = f"{self._program} -D {self._folder}/data -k {self._folder} -c listen_addresses=".split()
        self._process = subprocess.Popen(command, **self._as)
        ready = [str(self._program.with_name("pg_isready")), "-q", "-h", str(self._folder)]
        until = time.monotonic() + TIMEOUT_S
        while subprocess.run(ready, check=False).returncode:
            assert time.monotonic() < until, "PostgreSQL does not answer"
            time.sleep(POLL_S)

    def stop(self) -> None:
        """A fast shutdown, whoever is connected."""
        if self._process:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(TIMEOUT_S)
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

    def restart(self) -> None:
        """Stop it, and start it again."""
        self.stop()
        self.start()


@contextmanager
def running() -> Iterator[Postgres]:
    """A server that runs; the test is skipped where there is none to run."""
    if PROGRAM is None:
        pytest.skip("needs the program postgres (apt-get install postgresql)")
    folder = Path(tempfile.mkdtemp(dir="/tmp", prefix="pg."))  # pytest's own are closed to other users
    made = Postgres(PROGRAM, folder)
    try:
        made.start()
        yield made
    finally:
        made.stop()
        shutil.rmtree(folder)
