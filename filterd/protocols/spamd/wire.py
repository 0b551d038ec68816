"""Bytes of spamd's protocol as requests. Sans-IO: no socket, no clock, no classifier.

A connection carries one request:

    CHECK SPAMC/1.5 CRLF  Content-length: 5 CRLF  CRLF  body

What each part may look like was compared with spamd 4.0.1:
1. The version decides what follows. SKIP and PING have headers from 1.5 on, the others from above 1.0 on
   (TELL always). A body without Content-length lasts until the client closes its half.
2. Header names are case-sensitive, and unknown ones are ignored: a client that writes "Content-Length" and
   counts characters works with spamd because spamd does not look.
3. More bytes than Content-length, as far as they came with it, are an error where the body does not end at
   a line's end, else ignored: spamd reads lines. Fewer are always an error.
4. Any line may end in LF alone; spamd takes that in the request line only.

A body over the cap is judged by its first part where nothing of it goes back to the client, and refused
where it does.
"""

import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum, StrEnum, auto

from filterd.errors import BadInput, FilterdError

MAX_LINE_BYTES = 4096  # request line or header; spamc's own buffer for one has 1,024
MAX_HEADERS = 255  # as spamd
MAX_BODY_BYTES = 64 << 20  # 64 MiB; spamc sends 500 KB by default and 256 MB at most
_PIECE_BYTES = 1 << 20  # decompressed at a time
_MAX_QUOTED = 80  # characters of a client's line that an error repeats

_REQUEST = re.compile(rb"([A-Z_]+) SPAMC/(.*)", re.DOTALL)
_NUMBER = re.compile(rb"\s*(\d+(?:\.\d+)?)")
_DIGITS = re.compile(rb"[0-9]{1,18}")
_CONTROL = re.compile(rb"[\x00-\x1f]")


class SpamdError(FilterdError):
    """The client does not speak spamd's protocol."""

    exit_status = 76  # EX_PROTOCOL
    spamd_code = 76


class CompressionError(FilterdError):
    """A compressed body cannot be read; spamd calls that unavailable."""

    exit_status = 69  # EX_UNAVAILABLE
    spamd_code = 69


class SpamdCommand(StrEnum):
    """What a client may ask for."""

    CHECK = "CHECK"
    SYMBOLS = "SYMBOLS"
    REPORT = "REPORT"
    REPORT_IFSPAM = "REPORT_IFSPAM"
    SKIP = "SKIP"
    PING = "PING"
    PROCESS = "PROCESS"
    TELL = "TELL"
    HEADERS = "HEADERS"


# Their answer needs the whole body: the mail itself, or a correction that is found again by its content.
WHOLE_BODY = frozenset({SpamdCommand.PROCESS, SpamdCommand.TELL})
_WITHOUT_BODY = frozenset({SpamdCommand.SKIP, SpamdCommand.PING})
TAGGED = frozenset(
    {SpamdCommand.PROCESS, SpamdCommand.HEADERS}
)  # our headers are written into the mail for these


@dataclass(frozen=True, slots=True)
class SpamdRequest:
    """One request. truncated: `body` is the first part of a larger one.

    set, remove: "local", "remote" or both, of TELL. compressed: `body` is still a zlib stream (`inflated`).
    """

    command: SpamdCommand
    version: float
    user: str = ""
    message_class: str = ""
    set: frozenset[str] = frozenset()
    remove: frozenset[str] = frozenset()
    compressed: bool = False
    length: int | None = None
    body: bytes = b""
    truncated: bool = False


class ParserState(Enum):
    """What the parser waits for."""

    LINE = auto()
    HEADERS = auto()
    BODY = auto()
    DONE = auto()


class SpamdParser:
    """A request from bytes in pieces of any size; `request` is there once it is complete.

    Raises SpamdError, CompressionError or BadInput (a body too large) from `feed` and `end`.
    """

    def __init__(self, max_bytes: int = MAX_BODY_BYTES) -> None:
        self.state = ParserState.LINE
        self._max = max_bytes
        self._lines = bytearray()  # what came and is not a line yet
        self._body = bytearray()
        self._received = 0  # bytes of the body, those past the cap included
        self._ends_line = True  # whether the body's last byte ends a line (rule 3)
        self._headers = 0
        self._request: SpamdRequest | None = None

    @property
    def request(self) -> SpamdRequest | None:
        """The request, complete, or None."""
        return self._request if self.state is ParserState.DONE else None

    @property
    def held(self) -> int:
        """Bytes that are kept."""
        return len(self._lines) + len(self._body)

    def feed(self, data: bytes) -> None:
        """Take what came in."""
        if self.state in {ParserState.BODY, ParserState.DONE}:
            self._take(data)
            return
        searched = len(self._lines)
        self._lines += data
        while self.state in _READ_LINE:
            end = self._lines.find(b"\n", searched)
            if (len(self._lines) if end < 0 else end) > MAX_LINE_BYTES:
                raise SpamdError(f"(line over {MAX_LINE_BYTES} bytes)")
            if end < 0:
                return
            line = bytes(self._lines[:end]).removesuffix(b"\r")
            del self._lines[: end + 1]
            searched = 0
            _READ_LINE[self.state](self, line)
        rest = bytes(self._lines)
        self._lines.clear()
        self._take(rest)

    def end(self) -> None:
        """The client has closed its half: nothing more comes."""
        match self.state:
            case ParserState.LINE:
                if not self._lines:
                    raise SpamdError("(closed before headers)")
                self.feed(b"\n")
                self.end()
            case ParserState.HEADERS:
                raise SpamdError("(EOF during headers)")
            case ParserState.BODY:
                expected = self._head.length
                if expected is not None:
                    raise _mismatch(expected, f"{self._received} bytes")
                self._finish()

    @property
    def _head(self) -> SpamdRequest:
        assert self._request is not None
        return self._request

    def _on_request(self, line: bytes) -> None:
        match = _REQUEST.fullmatch(line)
        if not match or match[1].decode() not in SpamdCommand.__members__:
            raise SpamdError(_quoted(line))
        number = _NUMBER.match(match[2])
        command, version = SpamdCommand(match[1].decode()), float(number[1]) if number else 0.0
        self._request = SpamdRequest(command, version)
        if command in _WITHOUT_BODY:
            self.state = ParserState.HEADERS if version >= 1.5 else ParserState.DONE
        else:
            self.state = (
                ParserState.HEADERS if version > 1.0 or command is SpamdCommand.TELL else ParserState.BODY
            )

    def _on_header(self, line: bytes) -> None:
        if not line:
            self._after_headers()
            return
        self._headers += 1
        if self._headers > MAX_HEADERS:
            raise SpamdError("(too many headers)")
        name, colon, value = line.partition(b":")
        if not colon:
            raise SpamdError("(header not in 'Name: value' format)")
        if reader := _HEADERS.get(name):
            self._request = reader(self._head, value.strip())

    def _after_headers(self) -> None:
        head = self._head
        if head.command in _WITHOUT_BODY:
            self.state = ParserState.DONE
            return
        if head.compressed and head.length is None:
            raise CompressionError("Compress requires Content-length header")
        if (head.length or 0) > self._max and self._needs_all:
            raise self._too_large()
        self.state = ParserState.BODY

    @property
    def _needs_all(self) -> bool:
        # Half of a zlib stream is no stream, whatever the command.
        return self._head.command in WHOLE_BODY or self._head.compressed

    def _too_large(self) -> BadInput:
        return BadInput(f"message over {self._max} bytes; raise spamd.max_bytes or send less")

    def _take(self, data: bytes) -> None:
        if self._head.command in _WITHOUT_BODY:
            return
        length, before = self._head.length, self._received
        self._received += len(data)
        kept_until = self._max if length is None else min(self._max, length)
        self._body += data[: max(0, kept_until - before)]
        if length is None:
            if self._received > self._max and self._needs_all:
                raise self._too_large()
            return
        if before < length <= self._received:
            self._ends_line = data[length - before - 1] == ord("\n")
        if self._received > length and not self._ends_line:
            raise _mismatch(length, "more")
        if self._received >= length:
            self._finish()

    def _finish(self) -> None:
        if self.state is ParserState.DONE:
            return
        wanted = self._received if self._head.length is None else self._head.length
        body = bytes(self._body)
        self._body.clear()
        self._request = replace(self._head, body=body, truncated=wanted > len(body))
        self.state = ParserState.DONE


_READ_LINE: dict[ParserState, Callable[[SpamdParser, bytes], None]] = {
    ParserState.LINE: SpamdParser._on_request,
    ParserState.HEADERS: SpamdParser._on_header,
}


def inflated(
    request: SpamdRequest, max_bytes: int = MAX_BODY_BYTES, take: Callable[[int], None] = lambda size: None
) -> SpamdRequest:
    """The request with its body decompressed, never more than `max_bytes` of it, however it is built.

    take: asked for room for each piece; what it raises ends the work. Takes up to 0.2 s for 64 MiB: call it
    off the event loop. Raises CompressionError, BadInput.
    """
    if not request.compressed:
        return request
    stream, body, rest = zlib.decompressobj(), bytearray(), request.body
    try:
        while not stream.eof and len(body) <= max_bytes:
            piece = stream.decompress(rest, min(_PIECE_BYTES, max_bytes + 1 - len(body)))
            rest = stream.unconsumed_tail
            if not piece and not rest:
                break
            take(len(piece))
            body += piece
    except zlib.error as error:
        raise CompressionError("zlib: not a zlib stream") from error
    truncated = len(body) > max_bytes
    if truncated and request.command in WHOLE_BODY:
        raise BadInput(f"message over {max_bytes} bytes; raise spamd.max_bytes or send less")
    if not truncated and not stream.eof:
        raise CompressionError("zlib: failed to find end of zlib stream")
    return replace(request, body=bytes(body[:max_bytes]), truncated=truncated, compressed=False)


def _mismatch(expected: int, received: str) -> SpamdError:
    return SpamdError(f"(Content-Length mismatch: Expected {expected} bytes, got {received})")


def _quoted(line: bytes) -> str:
    return line[:_MAX_QUOTED].decode("ascii", "replace").replace("\ufffd", "?")


def _length(head: SpamdRequest, value: bytes) -> SpamdRequest:
    if not _DIGITS.fullmatch(value):
        raise SpamdError("(Content-Length contains non-numeric bytes)")
    return replace(head, length=int(value))


def _user(head: SpamdRequest, value: bytes) -> SpamdRequest:
    if _CONTROL.search(value):
        raise SpamdError("(User header contains control chars)")
    return replace(head, user=value.decode("utf-8", "replace"))


def _message_class(head: SpamdRequest, value: bytes) -> SpamdRequest:
    name = value.decode("latin-1").lower()
    if name not in {"spam", "ham"}:
        raise SpamdError("(Message-class header contains invalid class)")
    return replace(head, message_class=name)


def _compress(head: SpamdRequest, value: bytes) -> SpamdRequest:
    if b"zlib" not in value.lower():
        raise SpamdError(f"(compression type not supported: {_quoted(value)})")
    return replace(head, compressed=True)


def _places(value: bytes) -> frozenset[str]:
    return frozenset(place for place in ("local", "remote") if place.encode() in value.lower())


_HEADERS: dict[bytes, Callable[[SpamdRequest, bytes], SpamdRequest]] = {
    b"Content-length": _length,
    b"User": _user,
    b"Message-class": _message_class,
    b"Set": lambda head, value: replace(head, set=_places(value)),
    b"Remove": lambda head, value: replace(head, remove=_places(value)),
    b"Compress": _compress,
}
