"""The daemon's configuration: one YAML file, defaults in one place, unknown keys refused by name and line.

`deploy/filterd.yaml` is the manual: it names every key with its default, and a test proves that it parses to
exactly what stands here. A plugin's section is checked by the plugin's own `Settings`.
"""

import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import yaml

from filterd.errors import ConfigError

MAX_CONFIG_BYTES = 1 << 20  # the annotated default is 10 KB; more is a wrong file
DEFAULT_PATH = Path("/etc/filterd/filterd.yaml")

Positive = Annotated[int, msgspec.Meta(ge=1)]
Seconds = Annotated[float, msgspec.Meta(gt=0)]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Mode = Annotated[str, msgspec.Meta(pattern=r"^0[0-7]{3}$")]
OnError = Literal["accept", "tempfail"]


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What all sections have in common: unknown keys are errors."""


class Model(Section, frozen=True):
    """Which bundle judges, and with how many threads."""

    bundle: str = ""
    threads: Positive | None = None
    workers: Positive = 1
    shadow: str = ""
    shadow_share: Share = 0.1


class Queue(Section, frozen=True):
    """Bounds on what waits, and what happens to what does not fit."""

    max_messages: Positive = 2000
    max_tokens: Positive = 500_000
    deadline_s: Seconds = 10.0
    on_error: OnError = "accept"
    parsers: Positive = 2


class Cache(Section, frozen=True):
    """Verdicts remembered by content; 0 messages turns it off."""

    messages: Annotated[int, msgspec.Meta(ge=0)] = 10_000
    ttl_s: Seconds = 3600.0


class Headers(Section, frozen=True):
    """What our header lines are called."""

    prefix: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z][A-Za-z0-9-]{0,40}-$")] = "X-Spam-"
    keep_forged: bool = False


class Feedback(Section, frozen=True):
    """Where corrections are kept, for how long, and who may give them."""

    url: str = ""
    keep_text: bool = True
    retention_days: Positive = 365
    max_corrections: Positive = 100_000
    memory: bool = True


class Spamd(Section, frozen=True):
    """The spamd protocol, for spamc, Exim and their like."""

    listen: tuple[str, ...] = ()
    mode: Mode = "0660"
    allow_tell: bool = True
    allow_tell_tcp: bool = False
    max_bytes: Positive = 64 << 20
    max_connections: Positive = 256


class Http(Section, frozen=True):
    """HTTP: our own /v1, Rspamd's paths, metrics and health."""

    listen: tuple[str, ...] = ()
    mode: Mode = "0660"
    token_file: str = ""
    allow_learn_tcp: bool = False
    max_bytes: Positive = 64 << 20
    max_connections: Positive = 256
    recent: Annotated[int, msgspec.Meta(ge=0, le=100_000)] = 1000


class Log(Section, frozen=True):
    """What is written to stderr; never a message's text."""

    format: Literal["logfmt", "json"] = "logfmt"
    level: Literal["debug", "info", "warning", "error"] = "info"


class Config(Section, frozen=True):
    """The whole file. plugins: each plugin's own section, by its name."""

    state: str = "/var/lib/filterd"
    model: Model = Model()
    queue: Queue = Queue()
    cache: Cache = Cache()
    headers: Headers = Headers()
    feedback: Feedback = Feedback()
    spamd: Spamd = Spamd()
    http: Http = Http(listen=("unix:/run/filterd/http.sock",))
    log: Log = Log()
    drain_s: Seconds = 20.0
    plugins: dict[str, dict[str, Any]] = {}

    @property
    def feedback_url(self) -> str:
        """The corrections store: as configured, else a file in the state folder."""
        return self.feedback.url or f"sqlite:///{Path(self.state) / 'feedback.sqlite'}"


def load(path: Path) -> Config:
    """Read a configuration file. Raises ConfigError with `file:line: what is wrong`."""
    try:
        size = path.stat().st_size
        if size > MAX_CONFIG_BYTES:
            raise ConfigError(f"{path}: {size:,} bytes is no configuration file of ours")
        content = path.read_text("utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; name a configuration file") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 text") from error
    return parse(content, str(path))


def parse(content: str, name: str) -> Config:
    """A configuration from YAML text; `name` is for its error messages. Raises ConfigError."""
    return _convert(content, name, Config)


def settings(config: Config, plugin: str, kind: type[msgspec.Struct], name: str) -> msgspec.Struct:
    """A plugin's section as its own Settings. Raises ConfigError."""
    try:
        return msgspec.convert(config.plugins.get(plugin, {}), kind)
    except msgspec.ValidationError as error:
        problem, where = _split(str(error))
        raise ConfigError(f"{name}: plugins.{plugin}{'.' + where if where else ''}: {problem}") from error


def _convert(content: str, name: str, kind: type[Config]) -> Config:
    try:
        node = yaml.compose(content, Loader=yaml.SafeLoader)
        data = yaml.safe_load(content)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ConfigError(f"{name}:{line}: {error.problem or 'not YAML'}") from error
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise ConfigError(f"{name}: not YAML: {' '.join(str(error).split())}") from error
    try:
        return msgspec.convert({} if data is None else data, kind)
    except msgspec.ValidationError as error:
        problem, where = _split(str(error))
        raise ConfigError(f"{name}:{_line(node, where, problem)}: {where or 'file'}: {problem}") from error


def _split(said: str) -> tuple[str, str]:
    """msgspec's "problem - at `$.a.b`" as the problem and the dotted key."""
    problem, _, path = said.partition(" - at `$")
    problem = re.sub(r"^Object contains unknown field `(.*)`$", r"unknown key '\1'", problem)
    return problem[:1].lower() + problem[1:], path.rstrip("`").lstrip(".")


def _line(node: yaml.Node | None, path: str, problem: str) -> int:
    """The line of the key that a path names; of the unknown key itself where that is the problem."""
    unknown = re.search(r"unknown key '(.*)'", problem)
    line = node.start_mark.line if node else 0
    for key in [*filter(None, path.split(".")), *([unknown[1]] if unknown else [])]:
        pairs = node.value if isinstance(node, yaml.MappingNode) else []
        for key_node, value in pairs:
            if key_node.value == key.split("[")[0]:
                line, node = key_node.start_mark.line, value
    return int(line) + 1


def default_path() -> Path | None:
    """The file that FILTERD_CONFIG names, else the system's where there is one."""
    named = os.environ.get("FILTERD_CONFIG")
    if named:
        return Path(named)
    return DEFAULT_PATH if DEFAULT_PATH.exists() else None
