"""`filterd` as a process with the engine of `fakes`: `python -m tests.filterd.serving serve --config X`.

A bundle that the configuration names is opened for real, so that a broken one is refused as it would be.
"""

from filterd.commands import cli
from filterd.config import Config
from filterd.daemon import server
from filterd.scoring.engine import Engine
from tests.filterd import fakes

open_real = server.open_engine


def open_engine(config: Config) -> Engine:
    return open_real(config) if config.model.bundle else fakes.engine()[0]


if __name__ == "__main__":
    server.open_engine = open_engine
    cli.main()
