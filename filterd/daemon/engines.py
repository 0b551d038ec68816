"""Which engines a daemon judges with: at a start, beside it in the shadow, and after a reload."""

import contextlib
from collections.abc import Sequence
from pathlib import Path

from filterd import judge
from filterd.config import Config
from filterd.errors import BundleError
from filterd.log import log
from filterd.promotion import trial
from filterd.scoring import bundle
from filterd.scoring.engine import Engine


def reopen_engine(config: Config, known: Sequence[Engine]) -> Engine:
    """`judge.open_engine`, or one of those that are open already where its bundle is what is asked for.

    That one was checked when it was opened and lies in memory, so its files are not read again: a rollback is
    not to wait for them. `filterd bundle rollback` has checked them, and so will the next start.
    """
    with contextlib.suppress(BundleError):  # open_engine says it better
        wanted = bundle.id_of(judge.bundle_path(config))
        for engine in known:
            if engine.bundle.id == wanted:
                engine.authserv_ids = config.trust.authserv_ids
                return engine
    return judge.open_engine(config, threads=config.model.threads)


def open_engine(config: Config) -> tuple[Engine, str]:
    """The engine that judges from the start, and a line for people where it is not the one in use.

    A bundle that is damaged must not keep the mail waiting while there is one that judged before it. A bundle
    that the configuration names is not replaced. Raises BundleError, RuntimeMissing.
    """
    try:
        return judge.open_engine(config, threads=config.model.threads), ""
    except BundleError as error:
        damaged = error
    for path in () if config.model.bundle else (config.bundles / bundle.PREVIOUS, bundle.DEFAULT):
        try:
            engine = judge.open_engine(config, path, threads=config.model.threads)
        except BundleError:
            continue
        log.error("bundle damaged", extra={"fields": {"reason": str(damaged), "instead": engine.bundle.id}})
        return engine, f"{damaged}; {engine.bundle.id} judges instead"
    raise damaged


def open_shadow(config: Config) -> Engine | None:
    """The shadow model's engine: as configured, else what is on trial, else None. Raises BundleError."""
    if config.model.shadow:
        return judge.open_engine(config, Path(config.model.shadow), threads=1)
    challenger = config.bundles / bundle.CHALLENGER
    if not challenger.exists():
        return None
    try:
        return judge.open_engine(config, challenger, threads=1)
    except BundleError as error:  # the champion judges well without it
        log.error("nobody on trial", extra={"fields": {"reason": str(error)}})
        return None


def trial_of(config: Config, shadow: Engine | None) -> trial.Trial | None:
    """The trial that a shadow model is on; None where it was only configured to be looked at."""
    if shadow is None or config.model.shadow:
        return None
    return trial.Trial.open(config.bundles, shadow.bundle.id)
