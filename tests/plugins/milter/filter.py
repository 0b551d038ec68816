"""`filterd serve` with the milter and the engine of `fakes`: spam is what says " prize", by its own words."""

import contextlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.filterd.daemon.test_server import ROOT, Daemon

MODE = "0666"  # Postfix's smtpd is user postfix; a real one is put into the group filterd


class Filter(Daemon):
    """A daemon in a folder of its own. Keys of its `plugins.milter`, and other sections with "_" for "."."""

    def __init__(self, folder: Path, **milter: object) -> None:
        self.socket = folder / "milter.sock"
        self._milter: dict[str, object] = {"listen": [f"unix:{self.socket}"], "mode": MODE} | milter
        super().__init__(folder)

    def configure(self, text: str = "", **sections: object) -> None:
        super().configure(text, plugins={"milter": self._milter}, **sections)

    def launch(self) -> "subprocess.Popen[bytes]":
        with self.log.open("ab") as stream:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.filterd.serving", "serve"],
                stderr=stream,
                env=self._env(),
                cwd=ROOT,
            )
        return self.process


@contextlib.contextmanager
def made(**milter: object) -> Iterator[Filter]:
    """A filter that is not started yet; ended, and its folder removed, afterwards."""
    folder = Path(tempfile.mkdtemp(dir="/tmp", prefix="filterd-"))
    folder.chmod(0o755)
    filter_ = Filter(folder, **milter)
    try:
        yield filter_
    finally:
        if filter_.process and filter_.process.poll() is None:
            filter_.process.kill()
            filter_.process.wait()
        shutil.rmtree(folder)
