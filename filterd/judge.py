"""Opens what judges here: the bundle in use, its fast path, and what corrections have taught.

The daemon, the commands that work without one and the trainer all come here, so that a message gets the same
verdict whoever is asked. Rule: this reads; no folder, store or file comes to be.
"""

import os
from collections.abc import Callable
from pathlib import Path

from filterd.config import Config, default_path, load
from filterd.corrections.recall import FrozenMemory, recall
from filterd.errors import StoreError
from filterd.scoring import bundle
from filterd.scoring.engine import Engine

Tell = Callable[[str], None]  # takes a line for people about what could not be looked at


def bundle_path(config: Config) -> Path:
    """The bundle that judges: as configured, else the store's current one, else the one that ships."""
    return Path(config.model.bundle) if config.model.bundle else bundle.in_use(config.bundles)


def open_engine(config: Config, path: Path | None = None, *, threads: int | None = None) -> Engine:
    """The bundle in use, or another one, as configured and without a memory.

    threads: of one model call; None for one a core. Raises BundleError, RuntimeMissing.
    """
    return Engine.open(
        path or bundle_path(config),
        threads=threads,
        fast_path=config.model.fast_path,
        authserv_ids=config.trust.authserv_ids,
    )


def open_judge(config: Config, path: Path | None = None, *, threads: int | None = None, tell: Tell) -> Engine:
    """The same with the memory of corrections, for who works without the daemon.

    What this user may not read, or what is damaged, is told and left out: the shipped bundle judges then, or
    the model without corrections. Raises BundleError, RuntimeMissing.
    """
    state = Path(config.state)
    if state.exists() and not os.access(state, os.R_OK | os.X_OK):
        tell(f"{state}: may not be read by this user; the shipped bundle judges, without corrections")
        return open_engine(config, path or Path(config.model.bundle or bundle.DEFAULT), threads=threads)
    engine = open_engine(config, path, threads=threads)
    if config.feedback.memory:
        try:
            engine.learner = FrozenMemory(recall(config), config.headers.prefix)
        except StoreError as error:
            tell(f"{error}; judged without corrections")
    return engine


def configuration(tell: Tell) -> Config:
    """The configuration in force; the defaults where it is the system's and not for this user to read.

    Raises ConfigError where it is wrong.
    """
    found = default_path()
    if found and found.exists() and not os.access(found, os.R_OK):
        tell(f"{found}: may not be read by this user; judged as by default")
        return Config()
    return load(found) if found else Config()
