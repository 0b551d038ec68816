"""`filterd check --json-lines`: messages as JSON objects, a line each; verdicts the same way, as they come.

For a gateway that keeps the command running and talks to it through its pipes. Rule: one line in, one line
out, in order, at once. What cannot be judged is answered by an object that has `error` and no `label`, so
that the gateway delivers the message; nothing in a line ends the run.
"""

import contextlib
import json
from collections import deque
from collections.abc import Iterator, Sequence
from io import BufferedIOBase
from typing import Any, TextIO

import msgspec

from filterd.api import Kind, Message, Verdict
from filterd.commands import input as reading
from filterd.commands import output, pipe
from filterd.errors import BadInput, FilterdError
from filterd.protocols.http.wire import mend_surrogates

READ_BYTES = 64 << 10  # of one read: a pipe holds as much
# A mail of the largest size in JSON, where each of its bytes may have become an escape of two characters.
MAX_LINE_BYTES = 2 * reading.MAX_MESSAGE_BYTES
MAX_ID = 200  # characters of a caller's own id, as in HTTP

Id = str | int | None


class JsonLine(msgspec.Struct):
    """One line, in the words of /v1/check. Other keys are ignored; `text` or `mail` has to be there."""

    text: str | None = None
    mail: str | None = None
    id: Id = None
    sender: str = ""
    recipients: tuple[str, ...] = ()
    from_: str = msgspec.field(name="from", default="")  # what `sender` was called first

    def message(self, name: str, kind: Kind | None) -> Message:
        """The message. Raises BadInput without exactly one of text and mail, and for an empty one."""
        if (self.text is None) == (self.mail is None):
            raise BadInput(f"{name}: an object needs either 'text' (an SMS) or 'mail' (a whole mail)")
        found = kind or (Kind.SMS if self.mail is None else Kind.MAIL)
        raw = (self.mail or self.text or "").encode()[: reading.MAX_MESSAGE_BYTES]
        if not raw.strip():
            raise BadInput(f"{name}: empty, there is nothing to judge")
        own = "" if self.id is None else str(self.id)
        return Message(
            raw,
            kind=found,
            id=own,
            sender=self.sender or self.from_,
            recipients=self.recipients,
            source="cli",
        )


class _OnlyId(msgspec.Struct):
    id: Id = None


class LineSplitter:
    """Bytes in pieces of any size to whole lines without their ends; None for one that is too long."""

    def __init__(self, max_bytes: int = MAX_LINE_BYTES) -> None:
        self._max_bytes = max_bytes
        self._rest = bytearray()
        self._skipping = False

    def feed(self, data: bytes) -> list[bytes | None]:
        """The lines that these bytes complete."""
        *whole, rest = data.split(b"\n")
        lines = []
        for part in whole:
            self._take(part)
            lines.append(self._line())
        self._take(rest)
        return lines

    def end(self) -> list[bytes | None]:
        """The last line, where it has no end."""
        return [self._line()] if self._rest or self._skipping else []

    def _take(self, part: bytes) -> None:
        if len(self._rest) + len(part) > self._max_bytes:
            self._skipping = True
            self._rest.clear()
        elif not self._skipping:
            self._rest += part

    def _line(self) -> bytes | None:
        line = None if self._skipping else bytes(self._rest).removesuffix(b"\r")
        self._rest.clear()
        self._skipping = False
        return line


def run(paths: Sequence[str], kind: Kind | None, judge: reading.Judge, out: TextIO) -> int:
    """Answer every line of the named files ("-" is stdin); returns the exit status, 65 after a bad line."""
    status, bad, total = 0, 0, 0
    for path in paths or [reading.STDIN]:
        try:
            with reading.open_input(path) as stream:
                for answer in _answers(path, stream, kind, judge):
                    out.write(json.dumps(answer) + "\n")
                    out.flush()
                    total += 1
                    bad += "error" in answer
        except FilterdError as error:
            pipe.complain(str(error))
            status = status or error.exit_status
    if bad:
        pipe.complain(f"{bad:,} of {total:,} lines were not judged")
    return status or (BadInput.exit_status if bad else 0)


def _answers(
    path: str, stream: BufferedIOBase, kind: Kind | None, judge: reading.Judge
) -> Iterator[dict[str, Any]]:
    number = 0
    for page in _pages(stream):
        items: deque[tuple[reading.Item, Id]] = deque()
        for line in page:
            number += 1
            if line is None or line.strip():
                items.append(_item(f"{path}:{number}", line, kind))
        verdicts = iter(_judge([item.message for item, _ in items if item.message], judge))
        for item, name in items:
            found = item.error or next(verdicts)
            if isinstance(found, Verdict):
                yield output.as_json(item, found) | {"id": name, "available": found.available}
            else:
                yield {"error": output.one_line(found), "file": item.name, "id": name}


def _pages(stream: BufferedIOBase) -> Iterator[list[bytes | None]]:
    """Whatever lines are there, without waiting for more; a batch's worth at most."""
    splitter = LineSplitter()
    while data := stream.read1(READ_BYTES):
        lines = splitter.feed(data)
        for first in range(0, len(lines), reading.MESSAGES_PER_BATCH):
            yield lines[first : first + reading.MESSAGES_PER_BATCH]
    yield splitter.end()


def _item(name: str, line: bytes | None, kind: Kind | None) -> tuple[reading.Item, Id]:
    """A line's message or what is wrong with it, and the id that it names."""
    found = JsonLine()
    try:
        if line is None:
            raise BadInput(f"{name}: longer than {MAX_LINE_BYTES:,} bytes; send it shorter")
        found = _decode(line, name)
        return reading.Item(name, found.message(name, kind)), _short(found.id)
    except BadInput as error:
        with contextlib.suppress(msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            found.id = found.id or msgspec.json.decode(mend_surrogates(line or b""), type=_OnlyId).id
        return reading.Item(name, error=error), _short(found.id)


def _decode(line: bytes, name: str) -> JsonLine:
    try:
        try:
            return msgspec.json.decode(line, type=JsonLine)
        except msgspec.DecodeError:
            return msgspec.json.decode(mend_surrogates(line), type=JsonLine)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        said = "".join(c if c.isprintable() else "?" for c in str(error))
        raise BadInput(f"{name}: not an object as it should be: {said}") from error


def _short(name: Id) -> Id:
    return name[:MAX_ID] if isinstance(name, str) else name


def _judge(messages: Sequence[Message], judge: reading.Judge) -> list[Verdict | Exception]:
    """Verdicts, or why there is none; one message that fails is no reason for the others to."""
    if not messages:
        return []
    try:
        return [*judge(messages)]
    except Exception as error:  # whatever it is, the gateway gets its line
        if len(messages) == 1:
            return [error]
        return [_judge([message], judge)[0] for message in messages]
