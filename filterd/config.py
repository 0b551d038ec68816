"""The daemon's configuration: one YAML file, defaults in one place, unknown keys refused by name and line.

`deploy/filterd.yaml` is the manual: it names every key with its default, and a test proves that it parses to
exactly what stands here. A plugin's section is checked by the plugin's own `Settings`.
"""

import ipaddress
import os
import re
from enum import EnumType
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_type_hints

import msgspec
import yaml

from filterd.api import Action, Kind, Label
from filterd.errors import ConfigError
from filterd.kit.address import peer_address
from filterd.kit.settings import LISTEN, MODE, ListenSettings, Positive, Seconds, Section, Share

MAX_CONFIG_BYTES = 1 << 20  # the annotated default is 10 KB; more is a wrong file
MAX_TURNS = 64  # unless configured; the unit file allows 256 threads, and the interpreter is one
SYSTEM_CONFIG = Path("/etc/filterd/filterd.yaml")
SYSTEM_STATE = Path("/var/lib/filterd")
STATE_HOME, CONFIG_HOME = ("XDG_STATE_HOME", ".local/state"), ("XDG_CONFIG_HOME", ".config")

PREFIX = "^[A-Za-z][A-Za-z0-9-]{0,40}-$"
LINK = re.compile(r"https?://[!-~]{1,200}[^/]", re.ASCII)
MAILBOX = re.compile(r"[!-;=?A-~]{1,64}@[A-Za-z0-9.-]{1,190}", re.ASCII)
Prefix = Annotated[str, msgspec.Meta(pattern=PREFIX)]
OnError = Literal["accept", "tempfail"]
Promotion = Literal["immediate", "shadow", "manual"]


# What to do about a value that is not what its key takes, by what msgspec says of it.
HINTS = {
    f"expected `str` matching regex '{MODE}'": 'write an octal mode in quotes, such as "0660"',
    f"expected `str` matching regex '{PREFIX}'": "write letters, digits and hyphens, a hyphen last",
    "expected `str`, got `int`": "put it in quotes",
    "expected `str`, got `bool`": "put it in quotes",
    "expected `array`, got `str`": "put it in [brackets]",
    "expected `object`, got `null`": "write its keys below it, indented, or remove it",
}


class Model(Section, frozen=True):
    """Which bundle judges, and with how many threads."""

    bundle: str = ""
    threads: Positive = 1
    workers: Positive | None = None
    fast_path: bool = True
    shadow: str = ""
    shadow_share: Share = 0.1

    @property
    def turns(self) -> int:
        """Turns of the model at the same time: `workers`, or one for each core that this process may use."""
        return self.workers or min(len(os.sched_getaffinity(0)), MAX_TURNS)


class Queue(Section, frozen=True):
    """Bounds on what waits, and what happens to what does not fit."""

    max_messages: Positive = 400
    max_tokens: Positive = 500_000
    max_bytes: Positive = 256 << 20
    deadline_s: Seconds = 10.0
    on_error: OnError = "accept"
    parsers: Positive = 2


class Cache(Section, frozen=True):
    """Verdicts remembered by content; 0 messages turns it off."""

    messages: Annotated[int, msgspec.Meta(ge=0)] = 10_000
    ttl_s: Seconds = 3600.0


class Headers(Section, frozen=True):
    """What our header lines are called."""

    prefix: Prefix = "X-Spam-"
    keep_forged: bool = False
    reason: bool = False


class Trust(Section, frozen=True):
    """Whose word about a mail's sender counts: ids as in `Authentication-Results: id; …` (RFC 8601 2.2)."""

    authserv_ids: tuple[str, ...] = ()


class Threshold(Section, frozen=True):
    """P(spam) from which mail is called unsure and spam; recipients: addresses and domains, none for all."""

    unsure: Share
    spam: Share
    recipients: tuple[str, ...] = ()
    kinds: tuple[Kind, ...] = (Kind.MAIL, Kind.SMS)

    def __post_init__(self) -> None:
        """Raises ValueError, which msgspec reports with the place."""
        if not 0.0 < self.unsure <= self.spam < 1.0:
            raise ValueError("thresholds have to be 0 < unsure <= spam < 1")


class ActionRule(Section, frozen=True):
    """What is done, and where; a condition that is not given holds always.

    label, kinds: one of these. min_points, min_probability: at least. recipients: addresses and domains.
    ways: by which it came in, such as `milter`.
    """

    do: Action
    label: tuple[Label, ...] = ()
    kinds: tuple[Kind, ...] = ()
    min_points: float | None = None
    min_probability: Share = 0.0
    recipients: tuple[str, ...] = ()
    ways: tuple[str, ...] = ()


class Correspondents(Section, frozen=True):
    """Whom users have written to: whether that is learned, what it is worth, and when it is forgotten."""

    enabled: bool = False
    bound: Share = 0.999
    forget_days: Positive = 365
    max_pairs: Positive = 200_000


class Feedback(Section, frozen=True):
    """Where corrections are kept, for how long, and who may give them."""

    url: str = ""
    keep_text: bool = True
    retention_days: Positive = 365
    max_corrections: Positive = 100_000
    memory: bool = True
    agreement: Share = 0.3
    speakers: tuple[str, ...] = ("root", "vmail", "dovecot", "postfix", "mail", "Debian-exim", "filterd")


class Retrain(Section, frozen=True):
    """What `trainer retrain` learns from and what becomes of it, and how long a challenger is on trial."""

    promotion: Promotion = "immediate"
    rehearsal: tuple[str, ...] = ()
    shadow_messages: Positive = 1000
    shadow_days: Seconds = 7.0
    keep_runs: Positive = 10


class Spamd(ListenSettings, frozen=True):
    """The spamd protocol, for spamc, Exim and their like."""

    listen: tuple[str, ...] = ("unix:/run/filterd/spamd.sock",)
    allow_tell: bool = True
    allow_tell_tcp: bool = False
    max_bytes: Positive = 64 << 20
    max_connections: Positive = 512


class Http(ListenSettings, frozen=True):
    """HTTP: our own /v1, Rspamd's paths, metrics and health."""

    listen: tuple[str, ...] = ("unix:/run/filterd/http.sock",)
    token_file: str = ""
    allow_learn_tcp: bool = False
    max_bytes: Positive = 64 << 20
    max_connections: Positive = 512
    recent: Annotated[int, msgspec.Meta(ge=0, le=100_000)] = 1000
    recent_subjects: bool = False


class History(Section, frozen=True):
    """The trace of judged messages: where it is kept, what of each message, and for how long."""

    keep: bool = True
    url: str = ""
    retention_days: Positive = 30
    max_messages: Positive = 100_000
    correctable: Annotated[int, msgspec.Meta(ge=0)] = 10_000
    addresses: Literal["none", "domains", "full"] = "none"
    subjects: bool = False
    text: bool = False


class Quarantine(Section, frozen=True):
    """Mail that `do: quarantine` keeps: for how long, where released mail goes, and the daily digest."""

    retention_days: Positive = 30
    max_bytes: Positive = 1 << 30
    next_hop: str = ""
    protocol: Literal["smtp", "lmtp"] = "smtp"
    link: str = ""
    link_days: Positive = 7
    sender: str = ""
    language: str = "en"

    def __post_init__(self) -> None:
        """Raises ValueError, which msgspec reports with the section's name."""
        if self.next_hop:
            try:
                peer_address(self.next_hop, unix=self.protocol == "lmtp")
            except ConfigError as error:
                raise ValueError(f"next_hop: {error}") from error
        if self.link and not LINK.fullmatch(self.link):
            raise ValueError(
                f"link: {self.link!r} is no URL; write https://mail.example.org, where /console/ is"
            )
        if self.sender and not MAILBOX.fullmatch(self.sender):
            raise ValueError(f"sender: {self.sender!r} is no address; write filterd@example.org")


class Console(Section, frozen=True):
    """The console in a browser; there once `filterd console password` or a trusted proxy lets somebody in."""

    enabled: bool = True
    secure: bool = False
    proxy_header: str = ""
    proxy_networks: tuple[str, ...] = ("127.0.0.0/8", "::1/128")

    def __post_init__(self) -> None:
        """Raises ValueError, which msgspec reports with the section's name."""
        for network in self.proxy_networks:
            ipaddress.ip_network(network)


class Log(Section, frozen=True):
    """What is written to stderr; never a message's text."""

    format: Literal["logfmt", "json"] = "logfmt"
    level: Literal["debug", "info", "warning", "error"] = "info"
    messages: bool = True
    addresses: Literal["none", "domains"] = "none"


def default_state() -> str:
    """The folder to write to: the system's, or a person's own where there is no system service."""
    return str(SYSTEM_STATE if _of_the_system() else own_folder(*STATE_HOME))


def default_path() -> Path | None:
    """The file that FILTERD_CONFIG names, else the system's, else a person's own, if there is one."""
    named = os.environ.get("FILTERD_CONFIG")
    if named:
        return Path(named)
    own = own_folder(*CONFIG_HOME) / SYSTEM_CONFIG.name
    found = SYSTEM_CONFIG if _of_the_system() else own
    return found if found.exists() else None


def _of_the_system() -> bool:
    """Whether filterd is the system's here: it is installed as a service, or root is asking."""
    return os.geteuid() == 0 or SYSTEM_CONFIG.exists() or SYSTEM_STATE.exists()


def own_folder(variable: str, usual: str) -> Path:
    """A person's own folder of filterd (XDG Base Directory Specification 0.8, section 3)."""
    named = Path(os.environ.get(variable, ""))
    return (named if named.is_absolute() else Path.home() / usual) / "filterd"


class Config(Section, frozen=True):
    """The whole file. plugins: each plugin's own section, by its name."""

    state: str = msgspec.field(default_factory=default_state)
    model: Model = Model()
    queue: Queue = Queue()
    cache: Cache = Cache()
    headers: Headers = Headers()
    trust: Trust = Trust()
    thresholds: tuple[Threshold, ...] = ()
    actions: tuple[ActionRule, ...] = ()
    correspondents: Correspondents = Correspondents()
    feedback: Feedback = Feedback()
    retrain: Retrain = Retrain()
    spamd: Spamd = Spamd()
    http: Http = Http()
    history: History = History()
    quarantine: Quarantine = Quarantine()
    console: Console = Console()
    log: Log = Log()
    workers: Positive | Literal["auto"] = 1
    drain_s: Seconds = 20.0
    leave_s: Annotated[float, msgspec.Meta(ge=0, le=60)] = 0.0
    plugins: dict[str, dict[str, Any]] = msgspec.field(default_factory=dict)

    @property
    def processes(self) -> int:
        """Processes that judge: `workers`, or one for each core that this process may use."""
        cores = min(len(os.sched_getaffinity(0)), MAX_TURNS)
        return cores if self.workers == "auto" else int(self.workers)

    @property
    def bundles(self) -> Path:
        """The store of bundles, with the links `current`, `previous` and `challenger`."""
        return Path(self.state) / "bundles"

    @property
    def feedback_url(self) -> str:
        """The corrections store: as configured, else a file in the state folder."""
        return self.feedback.url or f"sqlite:///{Path(self.state) / 'feedback.sqlite'}"

    @property
    def history_url(self) -> str:
        """The history: as configured, else a file in the state folder."""
        return self.history.url or f"sqlite:///{Path(self.state) / 'history.sqlite'}"


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


def settings(config: Config, plugin: str, kind: type[ListenSettings], name: str) -> ListenSettings:
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
    _refuse_twice(node, name)
    try:
        return msgspec.convert({} if data is None else data, kind)
    except msgspec.ValidationError as error:
        problem, where = _split(str(error))
        line = _line(node, where, problem)
        raise ConfigError(f"{name}:{line}: {where or 'file'}: {problem}{_hint(where, problem)}") from error


def _refuse_twice(node: yaml.Node | None, name: str) -> None:
    """YAML lets the last of two equal keys win, and nobody would see that the first one is dead."""
    if not isinstance(node, yaml.MappingNode):
        return
    seen: dict[str, int] = {}
    for key, value in node.value:
        line, said = key.start_mark.line + 1, str(key.value)
        if said in seen:
            raise ConfigError(f"{name}:{line}: {said}: given before, in line {seen[said]}; leave one of them")
        seen[said] = line
        _refuse_twice(value, name)


def _hint(where: str, problem: str) -> str:
    if problem.startswith("invalid enum value"):
        return f"; write one of {', '.join(_allowed(where))}"
    hint = HINTS.get(problem)
    return f"; {hint}" if hint else ""


def _allowed(where: str) -> tuple[str, ...]:
    """The values of the Literal or the Enum that a key's type is."""
    kind: Any = Config
    for key in where.split("."):
        name, _, places = key.partition("[")
        kind = get_type_hints(kind)[name]
        for _ in range(bool(places) + places.count("[")):
            kind = get_args(kind)[0]
    return tuple(map(str, kind)) if isinstance(kind, EnumType) else get_args(kind)


def _split(said: str) -> tuple[str, str]:
    """msgspec's "problem - at `$.a.b`" as the problem and the dotted key."""
    problem, _, path = said.partition(" - at `$")
    problem = re.sub(r"^Object contains unknown field `(.*)`$", r"unknown key '\1'", problem)
    where = path.rstrip("`").lstrip(".")
    if problem.startswith(LISTEN):
        return problem.removeprefix(LISTEN), f"{where}.{LISTEN.rstrip(': ')}"
    return problem[:1].lower() + problem[1:], where


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


def in_force(path: Path | None = None) -> tuple[Path | None, Config]:
    """The configuration file that counts, which is `path` if given, and what it says; the defaults for None.

    Raises ConfigError.
    """
    found = path or default_path()
    return found, load(found) if found else Config()
