"""Which plugins a configuration asks for, and whether all that it says could be put in force.

`filterd config check`, a start and a reload come here before anything is opened or swapped, so that a wrong
key of a plugin, or a secret that cannot be read, is said while the old configuration still serves.
"""

from collections.abc import Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, NamedTuple

from filterd.api import Label, Message, Plugin, Verdict
from filterd.config import Config, settings
from filterd.errors import ConfigError, ModelUnavailable

GROUP = "filterd.plugins"  # of entry points


class Chosen(NamedTuple):
    """A plugin that is to run, with its section."""

    name: str
    kind: type[Plugin]
    settings: Any


def chosen(config: Config, where: str) -> list[Chosen]:
    """The plugins with a section. where: the configuration's name for errors. Raises ConfigError."""
    known = {entry.name: entry for entry in entry_points(group=GROUP)}
    found = []
    for name in config.plugins:
        if name not in known:
            there = ", ".join(sorted(known)) or "none"
            raise ConfigError(f"{where}: plugins.{name}: no such plugin; there are {there}")
        kind: type[Plugin] = known[name].load()
        found.append(Chosen(name, kind, settings(config, name, kind.Settings, where)))
    return found


def check(config: Config, where: str) -> None:
    """Read what a start reads before it listens: sections, secrets, certificates. Raises ConfigError."""
    token(config.http.token_file)
    for one in chosen(config, where):
        try:
            one.kind(one.settings, _Nobody())
        except ConfigError as error:
            raise ConfigError(f"{where}: {error}") from error


def token(file: str) -> str:
    """The line in `http.token_file`; "" where none is named. Raises ConfigError."""
    if not file:
        return ""
    try:
        line = Path(file).read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"http.token_file: {file}: cannot be read; name a file with one line") from error
    if not line:
        raise ConfigError(f"http.token_file: {file}: empty; put a long random line in it")
    return line


class _Nobody:
    """A classifier for a plugin that is only made to see whether it can be."""

    notes_submissions = False

    def wrote(self, sender: str, recipients: Sequence[str]) -> None:
        pass

    async def check(self, message: Message) -> Verdict:
        raise ModelUnavailable("only the configuration is checked")

    async def learn(self, message: Message, label: Label) -> bool:
        raise ModelUnavailable("only the configuration is checked")

    async def forget(self, message: Message) -> bool:
        raise ModelUnavailable("only the configuration is checked")

    def headers(self, verdict: Verdict) -> list[tuple[str, str]]:
        return []

    def is_ours(self, header_name: str) -> bool:
        return False

    def tag(self, raw: bytes, verdict: Verdict) -> bytes:
        return raw
