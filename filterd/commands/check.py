"""`filterd check`: messages from files or stdin, verdicts to stdout in one of several forms.

Rule: with `--tag` this is a filter in somebody's mail delivery, and the mail comes first. Whatever happens
here, the original goes to stdout; only what is already written cannot be taken back, and then the exit
status says so and the program before us in the pipe still has its copy.
"""

import contextlib
import hashlib
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from io import BufferedIOBase
from itertools import islice
from pathlib import Path
from typing import Any, cast

from filterd import headers
from filterd.api import Kind, Label, Message, Verdict
from filterd.commands import pipe
from filterd.errors import BadInput, ConfigError, FilterdError, NotFound
from filterd.reading.kind import detect

# Of one message in memory. text.py looks at less; a header block is far smaller. What follows is passed
# through by --tag without being held.
MAX_MESSAGE_BYTES = 4 << 20
MESSAGES_PER_BATCH = 256  # judged and printed at a time: enough to fill the model, few enough to see progress
BINARY_PROBE_BYTES = 4096  # what git and file look at too before they call something binary
STDIN = "-"

Judge = Callable[[Sequence[Message]], list[Verdict]]


class Output(StrEnum):
    """The forms in which verdicts are printed."""

    HUMAN = "human"
    JSON = "json"


class ExitCode(StrEnum):
    """What the exit status says."""

    PLAIN = "plain"  # 0: judged
    SPAMC = "spamc"  # as `spamc -c`: 1 spam, 0 not
    BOGOFILTER = "bogofilter"  # 0 spam, 1 ham, 2 unsure, 3 error


BOGOFILTER_STATUS = {Label.SPAM: 0, Label.HAM: 1, Label.UNSURE: 2}
BOGOFILTER_ERROR = 3


@dataclass(frozen=True, slots=True)
class Options:
    """What `filterd check` was asked for, besides the messages; each field is the option of its name."""

    mail: bool = False
    sms: bool = False
    lines: bool = False
    json_lines: bool = False
    json: bool = False
    tag: bool = False
    strict: bool = False
    exit_code: bool = False
    bogofilter: bool = False


Style = Callable[[], headers.HeaderStyle]  # asked for after judging: a daemon says it with its verdict


def command(
    paths: Sequence[str],
    options: Options,
    open_judge: Callable[[], Judge],
    style: Style = headers.HeaderStyle,
) -> int:
    """Do what `filterd check` does; returns the exit status. Raises what `open_judge` raises.

    style: for --tag. Raises ConfigError for options that exclude each other.
    """
    kind = asked_kind(mail=options.mail, sms=options.sms)
    exclude({"--json": options.json, "--tag": options.tag})
    exclude({"--tag": options.tag, "--lines": options.lines, "--json-lines": options.json_lines})
    statuses = {"--exit-code": options.exit_code, "--bogofilter": options.bogofilter}
    exclude({"--tag": options.tag, **statuses})
    exclude({"--json-lines": options.json_lines, **statuses})
    if options.tag:
        if paths or options.sms:
            raise ConfigError("--tag reads one mail from stdin; leave out files and --sms")
        return tag(open_judge, style, strict=options.strict)
    if options.json_lines:
        from filterd.commands import jsonlines

        return jsonlines.run(paths, kind, open_judge(), sys.stdout)
    codes = ExitCode
    return run(
        items(paths, kind, lines=options.lines),
        open_judge(),
        Output.JSON if options.json else Output.HUMAN,
        codes.SPAMC if options.exit_code else codes.BOGOFILTER if options.bogofilter else codes.PLAIN,
    )


def exclude(options: dict[str, bool]) -> None:
    """Raise ConfigError where more than one of these options was given."""
    given = [name for name, value in options.items() if value]
    if len(given) > 1:
        raise ConfigError(f"{' and '.join(given)} exclude each other; leave one out")


def asked_kind(*, mail: bool, sms: bool) -> Kind | None:
    """What the options say the input is; None where they do not. Raises ConfigError where they say both."""
    exclude({"--mail": mail, "--sms": sms})
    return Kind.MAIL if mail else Kind.SMS if sms else None


@dataclass(frozen=True, slots=True)
class Item:
    """One input: a message, or the reason why there is none. name: file, file:line or "-"."""

    name: str
    message: Message | None = None
    error: FilterdError | None = None


def items(paths: Sequence[str], kind: Kind | None, *, lines: bool) -> Iterator[Item]:
    """The messages of the named files ("-" is stdin), in order; what cannot be read becomes an error item."""
    for path in paths or [STDIN]:
        if lines:
            yield from _lines(path, kind or Kind.SMS)
        else:
            try:
                yield Item(path, check_readable(_read(path), path, kind))
            except FilterdError as error:
                yield Item(path, error=error)


def _lines(path: str, kind: Kind) -> Iterator[Item]:
    try:
        with open_input(path) as stream:
            number = 0
            while line := stream.readline(MAX_MESSAGE_BYTES):
                number += 1
                if line.strip():
                    name = f"{path}:{number}"
                    yield Item(name, Message(line.rstrip(b"\r\n"), kind, id=_id(line), source="cli"))
    except FilterdError as error:
        yield Item(path, error=error)


def _read(path: str) -> bytes:
    with open_input(path) as stream:
        try:
            return stream.read(MAX_MESSAGE_BYTES)
        except OSError as error:
            raise NotFound(f"{path}: {error.strerror}; name a file that can be read") from error


@contextlib.contextmanager
def open_input(path: str) -> Iterator[BufferedIOBase]:
    """A file's bytes, or those of stdin for "-". Raises NotFound."""
    if path == STDIN:
        if sys.stdin is None:
            raise NotFound("stdin is closed; name a file, or send a message")
        yield cast(BufferedIOBase, sys.stdin.buffer)
        return
    try:
        stream = Path(path).open("rb")  # noqa: SIM115 (the errors of the block are not ours)
    except OSError as error:
        raise NotFound(f"{path}: {error.strerror}; name a file that can be read") from error
    with stream:
        yield stream


def check_readable(raw: bytes, name: str, kind: Kind | None) -> Message:
    """The message in these bytes. Raises BadInput for nothing at all and for a binary file."""
    if not raw.strip():
        raise BadInput(f"{name}: empty, there is nothing to judge")
    found = kind or detect(raw)
    if found is Kind.SMS and b"\0" in raw[:BINARY_PROBE_BYTES]:
        raise BadInput(f"{name}: a binary file, neither mail nor text; name a message")
    return Message(raw, found, id=_id(raw), source="cli")


def _id(raw: bytes) -> str:
    return hashlib.sha256(headers.strip(raw)).hexdigest()[:16]


def run(inputs: Iterator[Item], judge: Judge, output: Output, exit_code: ExitCode) -> int:
    """Judge and print everything; returns the exit status. Errors go to stderr, the rest is still judged."""
    status = _Status(exit_code)
    while batch := list(islice(inputs, MESSAGES_PER_BATCH)):
        verdicts = iter(judge([item.message for item in batch if item.message]))
        for item in batch:
            if item.error:
                pipe.complain(str(item.error))
                status.failed(item.error)
                continue
            found = next(verdicts)
            status.judged(found)
            print(json.dumps(as_json(item, found)) if output is Output.JSON else _human(item, found))
    sys.stdout.flush()
    return status.value


class _Status:
    """The exit status of a run over several messages: the first error's, else the most alarming verdict's."""

    def __init__(self, exit_code: ExitCode) -> None:
        self._exit_code = exit_code
        self._error: FilterdError | None = None
        self._labels: set[Label] = set()

    def failed(self, error: FilterdError) -> None:
        self._error = self._error or error

    def judged(self, found: Verdict) -> None:
        self._labels.add(found.label)

    @property
    def value(self) -> int:
        if self._error:
            return BOGOFILTER_ERROR if self._exit_code is ExitCode.BOGOFILTER else self._error.exit_status
        if self._exit_code is ExitCode.SPAMC:
            return int(Label.SPAM in self._labels)
        if self._exit_code is ExitCode.BOGOFILTER:
            worst = next(x for x in (Label.SPAM, Label.UNSURE, Label.HAM) if x in self._labels | {Label.HAM})
            return BOGOFILTER_STATUS[worst]
        return 0


_COLOURS = {Label.SPAM: "31;1", Label.UNSURE: "33", Label.HAM: "32"}


def _human(item: Item, found: Verdict) -> str:
    name = f"{found.label:6}"
    if sys.stdout.isatty() and "NO_COLOR" not in os.environ:
        name = f"\x1b[{_COLOURS[found.label]}m{name}\x1b[0m"
    where = "" if item.name == STDIN else f"  {pipe.printable(item.name)}"
    return f"{name}  {found.probability:.3f}  {found.kind:4}{where}  {found.subject}"


def as_json(item: Item, found: Verdict) -> dict[str, Any]:
    """What `--json` prints of a verdict."""
    return {
        "label": found.label,
        "probability": round(found.probability, 6),
        "points": round(found.points, 2),
        "kind": found.kind,
        "model": found.model,
        "ms": round(found.seconds * 1000, 3),
        "file": item.name,
        "id": item.message.id if item.message else "",
        "tests": found.tests,
        "classes": {name: round(p, 6) for name, p in found.classes.items()},
    }


def tag(open_judge: Callable[[], Judge], style: Style, *, strict: bool) -> int:
    """Copy the mail on stdin to stdout with our headers on top; returns the exit status.

    Where judging fails the original comes out as it is (status 0, or 75 when strict), one line on stderr.
    Where it cannot all be read or written the status is 74, so that the program before us keeps its copy.
    """
    status = 0
    try:
        source, sink = pipe.streams()
        raw = source.read(MAX_MESSAGE_BYTES)
        try:
            message = check_readable(raw, "stdin", Kind.MAIL)
            (verdict,) = open_judge()([message])
            out = headers.tag(raw, verdict, style())
        except Exception as error:  # the mail comes first, whatever it was
            pipe.complain(f"{one_line(error)}; the mail is passed on untagged")
            out, status = raw, os.EX_TEMPFAIL if strict else 0
        pipe.pass_on(out, source, sink)
    except (OSError, MemoryError) as error:
        return pipe.give_up(error)
    return status


def one_line(error: Exception) -> str:
    """An error for people, whatever it is."""
    said = " ".join(str(error).split())
    return said if isinstance(error, FilterdError) else f"{type(error).__name__}: {said}"
