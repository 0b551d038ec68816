"""What commands read: messages from files or stdin, each with its name, or why there is none."""

import contextlib
import hashlib
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from io import BufferedIOBase
from pathlib import Path
from typing import cast

from filterd import headers
from filterd.api import Kind, Message, Verdict
from filterd.errors import BadInput, ConfigError, FilterdError, NotFound
from filterd.reading.kind import detect

# Of one message in memory. text.py looks at less; a header block is far smaller. What follows is passed
# through by --tag without being held.
MAX_MESSAGE_BYTES = 4 << 20
MESSAGES_PER_BATCH = 256  # judged and printed at a time: enough to fill the model, few enough to see progress
BINARY_PROBE_BYTES = 4096  # what git and file look at too before they call something binary
STDIN = "-"

Judge = Callable[[Sequence[Message]], list[Verdict]]


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
                    yield Item(name, Message(line.rstrip(b"\r\n"), kind=kind, id=_id(line), source="cli"))
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
    return Message(raw, kind=found, id=_id(raw), source="cli")


def _id(raw: bytes) -> str:
    return hashlib.sha256(headers.strip(raw)).hexdigest()[:16]
