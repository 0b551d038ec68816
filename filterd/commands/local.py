"""Judging in this process, where no daemon does it."""

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

from filterd import config as configuration
from filterd import judge
from filterd.commands import check as checking
from filterd.commands.pipe import complain
from filterd.config import Config
from filterd.headers import HeaderStyle
from filterd.scoring.engine import Engine


def check(
    paths: Sequence[str],
    options: checking.CheckOptions,
    *,
    config: Path | None = None,
    bundle: Path | None = None,
    threads: int | None = None,
) -> int:
    """Do what `filterd check` does; returns the exit status. Raises ConfigError, BundleError."""
    loaded: Callable[[], Config] = cache(lambda: config_for(config))
    judging = lambda: open_judge(loaded(), bundle, threads).judge  # noqa: E731 (opened when it is needed)
    return checking.command(paths, options, judging, lambda: style_of(loaded()))


def config_for(path: Path | None) -> Config:
    """The configuration that is named, else the one in force as far as this user may read it."""
    return configuration.in_force(path)[1] if path else judge.configuration(complain)


def open_judge(config: Config, bundle: Path | None, threads: int | None) -> Engine:
    """What judges here. Raises BundleError, RuntimeMissing."""
    return judge.open_judge(config, bundle, threads=threads, tell=complain)


def style_of(config: Config) -> HeaderStyle:
    """How the configuration calls our headers."""
    return HeaderStyle(config.headers.prefix, config.headers.keep_forged)
