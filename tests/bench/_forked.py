"""A daemon to be killed hundreds of times: each start is a fork of a process that has imported everything.

    with forked(folder, plugins={…}) as daemon:
        daemon.start()      # 50 ms where `filterd serve` takes a second, or ten on a busy machine
        daemon.kill()       # SIGKILL

It is `filterd serve` with the engine of tests/filterd/fakes.py; listeners, plugins, queue and store are real.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from filterd import judge, log
from filterd.config import load
from filterd.daemon import server
from tests.conftest import ROOT
from tests.filterd import fakes

READY_S = 60.0
POLL_S = 0.005


class Forked:
    """A daemon in a folder, not started yet. sections: of its configuration."""

    def __init__(self, folder: Path, **sections: object) -> None:
        self._log = folder / "log"
        given = {"state": str(folder / "state"), "spamd": {"listen": []}, "cache": {"messages": 0}}
        given["http"] = {"listen": [f"unix:{folder}/http.sock"], "mode": "0600"}
        config = folder / "filterd.yaml"
        config.write_text(json.dumps(given | sections))  # JSON is YAML
        self._pid = 0
        with self._log.open("ab") as stream:
            self._parent = subprocess.Popen(
                [sys.executable, "-m", "tests.bench._forked", str(config)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stream, cwd=ROOT,
            )  # fmt: skip

    def start(self) -> None:
        """Returns once it listens. Raises RuntimeError with its log where it does not."""
        assert self._parent.stdin and self._parent.stdout
        before = self._ready()
        self._parent.stdin.write(b"start\n")
        self._parent.stdin.flush()
        self._pid = int(self._parent.stdout.readline() or b"0")
        until = time.monotonic() + READY_S
        while self._ready() == before:
            if not self._pid or time.monotonic() > until:
                raise RuntimeError(f"no daemon: {self._log.read_text('utf-8', 'replace')[-2000:]}")
            time.sleep(POLL_S)

    def _ready(self) -> int:
        return self._log.read_bytes().count(b"event=ready")

    def kill(self) -> None:
        """End it at once; nothing when it does not run."""
        if self._pid:
            os.kill(self._pid, signal.SIGKILL)
            self._pid = 0

    def close(self) -> None:
        """End both processes."""
        self.kill()
        self._parent.communicate()

    @property
    def tracebacks(self) -> int:
        """Errors that nobody foresaw."""
        return self._log.read_bytes().count(b"Traceback")


@contextlib.contextmanager
def forked(folder: Path, **sections: object) -> Iterator[Forked]:
    """The daemon, gone afterwards."""
    daemon = Forked(folder, **sections)
    try:
        yield daemon
    finally:
        daemon.close()


def main(config: Path) -> None:
    """A child for each line on stdin; its number on stdout."""
    loaded, engine = load(config), fakes.engine()[0]
    judge.open_engine = lambda *_, **__: engine
    while sys.stdin.readline():
        child = os.fork()
        if child == 0:
            os.dup2(os.open(os.devnull, os.O_RDWR), 0)
            log.start(loaded.log.format, loaded.log.level)
            server.serve(loaded, config)
            os._exit(0)
        print(child, flush=True)
        os.waitpid(child, 0)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
