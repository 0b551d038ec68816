"""Which plugins a configuration asks for, and whether all that it says could be put in force.

`filterd config check`, a start and a reload come here before anything is opened or swapped, so that a wrong
key of a plugin, or a secret that cannot be read, is said while the old configuration still serves.
"""

import inspect
from collections.abc import Sequence
from importlib.metadata import EntryPoint, entry_points
from typing import NamedTuple

from filterd.api import Label, Message, Plugin, Verdict
from filterd.config import Config, settings
from filterd.errors import ConfigError, ModelUnavailable
from filterd.kit.settings import ListenSettings, read_secret

GROUP = "filterd.plugins"  # of entry points
METHODS = {"protocol": 1, "app": 3}  # of a StreamPlugin and a WebPlugin, and what each takes


class ConfiguredPlugin(NamedTuple):
    """A plugin that is to run, with its section."""

    name: str
    kind: type[Plugin]
    settings: ListenSettings


def chosen(config: Config, where: str) -> list[ConfiguredPlugin]:
    """The plugins with a section. where: the configuration's name for errors. Raises ConfigError."""
    known = {entry.name: entry for entry in entry_points(group=GROUP)}
    found = []
    for name in config.plugins:
        if name not in known:
            there = ", ".join(sorted(known)) or "none"
            raise ConfigError(f"{where}: plugins.{name}: no such plugin; there are {there}")
        kind = _loaded(known[name], where)
        if not any(_takes(getattr(kind, method, None), count) for method, count in METHODS.items()):
            raise _foreign(where, name, "neither protocol(door) nor app(scope, receive, send)")
        if not _is_section(getattr(kind, "Settings", None)):
            raise _foreign(where, name, "no Settings that is a ListenSettings")
        section = settings(config, name, kind.Settings, where)
        found.append(ConfiguredPlugin(name, kind, section))
    return found


def _foreign(where: str, name: str, lacks: str) -> ConfigError:
    return ConfigError(
        f"{where}: plugins.{name}: was made for another filterd: it has {lacks}, see docs/plugins/writing.md"
    )


def _is_section(found: object) -> bool:
    return isinstance(found, type) and issubclass(found, ListenSettings)


def _loaded(entry: EntryPoint, where: str) -> type[Plugin]:
    """A plugin's class. Raises ConfigError, whatever its module raises: it is somebody else's code."""
    try:
        found: type[Plugin] = entry.load()
    except Exception as error:
        raise ConfigError(
            f"{where}: plugins.{entry.name}: {entry.value} cannot be loaded"
            f" ({type(error).__name__}: {error}); install what it needs, or ask its author"
        ) from error
    return found


def _takes(method: object, arguments: int) -> bool:
    """Whether a plugin's class has a method that may be called with so many arguments besides itself."""
    if not callable(method):
        return False
    try:
        inspect.signature(method).bind(*[None] * (1 + arguments))
    except (TypeError, ValueError):  # ValueError: nobody knows, of a function that is not Python's
        return False
    return True


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
    return read_secret("http.token_file", file) if file else ""


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
