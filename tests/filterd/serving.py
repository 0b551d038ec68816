"""`filterd` as a process with the engine of `fakes`: `python -m tests.filterd.serving serve --config X`.

A bundle that the configuration names is opened for real, so that a broken one is refused as it would be.
"""

from pathlib import Path

from filterd import judge
from filterd.commands import entry
from filterd.config import Config
from filterd.scoring.engine import Engine
from tests.filterd import fakes

open_real = judge.open_engine


def open_engine(config: Config, path: Path | None = None, *, threads: int | None = None) -> Engine:
    return open_real(config, path, threads=threads) if config.model.bundle else fakes.engine()[0]


if __name__ == "__main__":
    judge.open_engine = open_engine
    entry.main()
