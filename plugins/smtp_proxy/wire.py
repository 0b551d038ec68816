"""SMTP's bytes, without I/O: command lines, replies, and a message with its dots (RFC 5321).

Rules:
1. Only CR LF ends a line, and only CR LF "." CR LF ends a message (RFC 5321 2.3.8, 4.1.1.4). A CR or LF by
   itself is a problem that the caller refuses: two servers that disagree about it can be made to see two
   mails where the other sees one (SMTP smuggling).
2. Input may come in pieces of any size; every parser keeps what it has and says when it is done.
3. What is refused is read to its end all the same, so that nothing of a message is ever taken for a command.
4. Replies of the next hop keep their code and text; only characters that could end a line are replaced.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, auto

# With CR LF. RFC 5321 4.5.3.1.4 says 512, and extensions add to it (SIZE, SMTPUTF8, DSN's ORCPT, XCLIENT);
# 2,048 is what Postfix takes, so that nothing which passes here is cut there.
MAX_COMMAND_BYTES = 2048
MAX_REPLY_LINE_BYTES = 4096  # RFC 5321 4.5.3.1.5 says 512; servers that quote URLs send more
MAX_REPLY_LINES = 200  # of one reply: an EHLO with every known extension has 40

_COMMAND = re.compile(rb"([A-Za-z]{1,16})(?: +(.*))?", re.DOTALL)
_UNSAFE = re.compile(rb"[\x00-\x1f\x7f]")
_REPLY_LINE = re.compile(rb"([2-5][0-9]{2})(?:([ -])(.*))?", re.DOTALL)
# A path in brackets, quoted local parts included; a source route is dropped (RFC 5321 4.1.1.3, appendix C).
_PATH = re.compile(
    rb'<(?:@[^\x00-\x20:<>"]*:)?(?P<inner>(?:"(?:[^"\\\x00-\x1f\x7f]|\\[^\x00-\x1f\x7f])*"|[^"<>\x00-\x20\x7f])*)>'
    rb'|(?P<bare>[^"<>\x00-\x20\x7f]+)'
)
_PARAMETER = re.compile(rb"([A-Za-z0-9][A-Za-z0-9-]*)(?:=([^\x00-\x20\x7f]+))?")
# An end of a message to somebody who takes any newline for one: RFC 5321 forbids it, smugglers use it.
_LOOSE_END = re.compile(rb"(?:\r\n|\r|(?<!\r)\n)\.(?:\r\n|\r(?!\n)|\n)")
_END = b"\r\n.\r\n"


class WireError(Exception):
    """A line that is refused; `reply` says so to the client."""

    reply = "500 5.5.2 Syntax error"


class LineTooLong(WireError):
    """A command line beyond MAX_COMMAND_BYTES; it has been read to its end."""

    reply = f"500 5.5.2 Line too long, at most {MAX_COMMAND_BYTES} bytes"


class BareNewline(WireError):
    """A command line with a CR or LF by itself."""

    reply = "521 5.5.2 Lines end in CR LF; bare CR or LF refused"


class BadSyntax(WireError):
    """A command whose argument cannot be read."""

    reply = "501 5.5.4 Syntax error in parameters"


class BadReply(Exception):
    """What the next hop says is no SMTP."""


@dataclass(frozen=True, slots=True)
class Reply:
    """One reply: its code, and its lines' text without the code."""

    code: int
    lines: tuple[bytes, ...]

    @classmethod
    def of(cls, text: str) -> "Reply":
        """A reply from its only line, such as "250 2.1.0 Ok"."""
        return cls(int(text[:3]), (text[4:].encode("ascii", "replace"),))

    @property
    def positive(self) -> bool:
        """Whether the command was done, 2xx, or wants more, 3xx (RFC 5321 4.2.1)."""
        return self.code < 400

    def encode(self) -> bytes:
        """The reply as it goes over the wire."""
        code = b"%d" % self.code
        head = b"".join(code + b"-" + line + b"\r\n" for line in self.lines[:-1])
        return head + code + b" " + self.lines[-1] + b"\r\n"


class ReplyParser:
    """Replies of a next hop, from bytes in any pieces."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._code, self._lines = 0, list[bytes]()

    @property
    def pending(self) -> bool:
        """Whether bytes have come that belong to no reply yet taken."""
        return bool(self._buffer) or bool(self._lines)

    def feed(self, data: bytes) -> None:
        """Take what has come in."""
        self._buffer += data

    def next(self) -> Reply | None:
        """The next whole reply, None until there is one. Raises BadReply."""
        while (end := self._buffer.find(b"\n")) >= 0:
            line = bytes(self._buffer[:end]).removesuffix(b"\r")
            del self._buffer[: end + 1]
            if reply := self._take(line):
                return reply
        if len(self._buffer) > MAX_REPLY_LINE_BYTES:
            raise BadReply("a line without an end")
        return None

    def _take(self, line: bytes) -> Reply | None:
        match = _REPLY_LINE.fullmatch(line)
        if not match or len(line) > MAX_REPLY_LINE_BYTES:
            raise BadReply("a line that is no reply")
        code, more, text = int(match[1]), match[2] == b"-", match[3] or b""
        if self._lines and code != self._code:
            raise BadReply("two codes in one reply")
        self._code = code
        self._lines.append(_UNSAFE.sub(b"?", text))
        if len(self._lines) > MAX_REPLY_LINES:
            raise BadReply("a reply without an end")
        if more:
            return None
        reply = Reply(code, tuple(self._lines))
        self._lines = []
        return reply


class LineParser:
    """Command lines of a client, from bytes in any pieces."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._too_long = False

    @property
    def pending(self) -> bool:
        """Whether bytes wait that have not been taken as a line."""
        return bool(self._buffer)

    def feed(self, data: bytes) -> None:
        """Take what has come in."""
        self._buffer += data

    def rest(self) -> bytes:
        """Everything that waits; what follows DATA is no command."""
        data = bytes(self._buffer)
        self._buffer.clear()
        return data

    def next(self) -> bytes | None:
        """The next line without its end, None until there is one. Raises LineTooLong, BareNewline."""
        end = self._buffer.find(b"\n")
        if end < 0:
            if len(self._buffer) > MAX_COMMAND_BYTES:
                self._too_long = True
                del self._buffer[:-1]  # it may be the CR
            return None
        line = bytes(self._buffer[: end + 1])
        del self._buffer[: end + 1]
        too_long, self._too_long = self._too_long, False
        if not line.endswith(b"\r\n") or b"\r" in line[:-2]:
            raise BareNewline
        if too_long or len(line) > MAX_COMMAND_BYTES:
            raise LineTooLong
        return line[:-2]


@dataclass(frozen=True, slots=True)
class SmtpCommand:
    """A command: its verb in capitals and what follows it."""

    verb: str
    argument: bytes = b""

    def encode(self) -> bytes:
        """The command as a line without its end."""
        return self.verb.encode() + (b" " + self.argument if self.argument else b"")


def parse_command(line: bytes) -> SmtpCommand:
    """A command from its line. Raises WireError where it is none."""
    match = _COMMAND.fullmatch(line.rstrip(b" \t"))
    if not match or _UNSAFE.search(match[2] or b""):
        raise WireError
    return SmtpCommand(match[1].decode().upper(), match[2] or b"")


@dataclass(frozen=True, slots=True)
class SmtpPath:
    """The argument of MAIL or RCPT: an address without brackets, and its parameters, names in capitals."""

    address: bytes
    parameters: Mapping[str, bytes | None] = field(default_factory=dict)

    def encode(self, keyword: bytes) -> bytes:
        """The argument again: FROM:<address> with its parameters as they came."""
        said = [b"%b:<%b>" % (keyword, self.address)]
        for name, value in self.parameters.items():
            said.append(name.encode() if value is None else name.encode() + b"=" + value)
        return b" ".join(said)


def parse_envelope(argument: bytes, keyword: bytes) -> SmtpPath:
    """The argument of MAIL (`keyword` FROM) or RCPT (TO), RFC 5321 4.1.1.2 and 3. Raises BadSyntax."""
    name, colon, rest = argument.partition(b":")
    if name.upper() != keyword or not colon:
        raise BadSyntax
    match = _PATH.match(rest.lstrip(b" "))
    if not match:
        raise BadSyntax
    after = rest.lstrip(b" ")[match.end() :]
    if after and not after.startswith(b" "):
        raise BadSyntax
    address = match["bare"] if match["inner"] is None else match["inner"]
    return SmtpPath(address, _parameters(after.split()))


def _parameters(words: list[bytes]) -> dict[str, bytes | None]:
    found: dict[str, bytes | None] = {}
    for word in words:
        match = _PARAMETER.fullmatch(word)
        name = match[1].decode().upper() if match else ""
        if not match or name in found:
            raise BadSyntax
        found[name] = match[2]
    return found


class MessageProblem(Enum):
    """Why a message that came in is refused."""

    BARE_NEWLINE = auto()
    TOO_LARGE = auto()
    NO_ROOM = auto()


class DataParser:
    """One message after DATA, from bytes in any pieces; dots removed (RFC 5321 4.5.2).

    max_bytes: of the message as it came in. A line may be as long as the message.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._data = bytearray(b"\r\n")  # so that a message's first line is like any other
        self._checked = 2  # how far newlines have been looked at
        self._bytes = 0
        self._content = b""
        self.problem: MessageProblem | None = None
        self.loose_end = False  # the client has sent what some take for an end; no true one may follow

    @property
    def content(self) -> bytes:
        """The message once it is complete and without a problem."""
        return self._content

    def feed(self, data: bytes) -> bytes | None:
        """None while the message goes on; at its end what came behind it."""
        start = max(0, len(self._data) - len(_END) + 1)
        self._data += data
        self._bytes += len(data)
        end = self._data.find(_END, start)
        self._check(end + len(_END) if end >= 0 else len(self._data))
        if end < 0:
            self._forget_refused()
            return None
        rest = bytes(self._data[end + len(_END) :])
        self._note_size(self._bytes - len(rest) - 3)
        if not self.problem:
            self._content = bytes(self._data[: end + 2].replace(b"\r\n.", b"\r\n")[2:])
        self._data.clear()
        return rest

    @property
    def held(self) -> int:
        """Bytes that are kept."""
        return len(self._data) + len(self._content)

    def give_up(self) -> None:
        """Keep nothing of it, to its end: there is no room."""
        self.problem = self.problem or MessageProblem.NO_ROOM
        self._forget_refused()

    def _check(self, until: int) -> None:
        """Look at the newlines up to `until`, but for a CR at the end, whose LF may yet come."""
        if self._data[until - 1 : until] == b"\r":
            until -= 1
        seen = self._data[self._checked : until]
        pairs = seen.count(b"\r\n")
        if seen.count(b"\n") != pairs or seen.count(b"\r") != pairs:
            self.problem = MessageProblem.BARE_NEWLINE
        if self.problem is MessageProblem.BARE_NEWLINE:
            back = max(0, self._checked - len(_END))
            ends = _LOOSE_END.finditer(self._data, back, until)
            self.loose_end = self.loose_end or any(match[0] != _END for match in ends)
        self._checked = max(self._checked, until)

    def _note_size(self, size: int) -> None:
        if size > self._max_bytes and not self.problem:
            self.problem = MessageProblem.TOO_LARGE

    def _forget_refused(self) -> None:
        """What is refused is not kept, but for what may be the beginning of an end."""
        self._note_size(self._bytes - len(_END))
        if self.problem:
            gone = max(0, len(self._data) - 2 * len(_END))
            del self._data[:gone]
            self._checked = max(0, self._checked - gone)


def stuff(content: bytes) -> bytes:
    """A message as it goes out after DATA: dots doubled and the end marked (RFC 5321 4.5.2)."""
    if content and not content.endswith(b"\r\n"):
        content += b"\r\n"
    return (b"\r\n" + content).replace(b"\r\n.", b"\r\n..")[2:] + b".\r\n"


def has_bare_newline(content: bytes) -> bool:
    """Whether there is a CR or LF by itself."""
    pairs = content.count(b"\r\n")
    return content.count(b"\n") != pairs or content.count(b"\r") != pairs
