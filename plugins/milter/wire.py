"""Bytes of the milter protocol as packets, and replies as bytes. Sans-IO: no socket, no state of a mail.

A packet is a length (uint32, network order; it counts the command and the data), one letter that is the
command, and the data. Strings in it end in NUL. There is no standard: the names are those of Sendmail's
libmilter (mfdef.h), the behaviour was compared with Postfix 3.7 and OpenDKIM's miltertest.

Nothing a peer sends is trusted: a length is refused before its bytes are waited for, and whatever does not
parse raises MilterError, upon which the connection ends and the mail server does what its
`milter_default_action` says.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, IntFlag
from typing import Final, NamedTuple

from filterd.errors import FilterdError
from filterd.kit.address import Ip, parse_ip

VERSION: Final = 6  # Sendmail 8.14 and Postfix 2.6 on
OLDEST: Final = 2  # Sendmail 8.11 to 8.13
HEAD: Final = struct.Struct("!I")

# The largest packets. Body chunks are 65,535 bytes, and up to 1 MiB where MDS_1M was agreed on. A header is
# one packet whatever its size: Postfix cuts at header_size_limit (102,400), Sendmail has no limit of its own.
MAX_BODY_DATA: Final = 1 << 20
MAX_HEADER_DATA: Final = 2 << 20
MAX_DATA: Final = 65_535  # of anything else: addresses, macros
MAX_STRINGS: Final = 512  # in one packet: ESMTP arguments, or macros times two; Postfix sends 20 at most


class MilterError(FilterdError):
    """The peer does not speak the milter protocol."""

    exit_status = 76  # EX_PROTOCOL


class MilterCommand(Enum):
    """What a mail server says (SMFIC_*)."""

    __hash__ = object.__hash__  # Enum's own is written in Python and called ten times a header

    ABORT = b"A"
    BODY = b"B"
    CONNECT = b"C"
    MACRO = b"D"
    END_OF_BODY = b"E"
    HELO = b"H"
    QUIT_NEW_CONNECTION = b"K"
    HEADER = b"L"
    MAIL = b"M"
    END_OF_HEADERS = b"N"
    NEGOTIATE = b"O"
    QUIT = b"Q"
    RCPT = b"R"
    DATA = b"T"
    UNKNOWN = b"U"


class MilterAction(IntFlag):
    """What a filter may do to a mail (SMFIF_*); those that we use."""

    ADD_HEADERS = 0x01
    CHANGE_HEADERS = 0x10
    QUARANTINE = 0x20
    SET_MACROS = 0x100


class MilterStep(IntFlag):
    """What a mail server need not send, or need not wait for (SMFIP_*); those that we use."""

    NO_HELO = 0x02
    NO_END_OF_HEADERS = 0x40
    NO_REPLY_HEADER = 0x80
    NO_UNKNOWN = 0x100
    NO_DATA = 0x200
    NO_REPLY_CONNECT = 0x1000
    NO_REPLY_HELO = 0x2000
    NO_REPLY_MAIL = 0x4000
    NO_REPLY_RCPT = 0x8000
    NO_REPLY_DATA = 0x10000
    NO_REPLY_UNKNOWN = 0x20000
    NO_REPLY_END_OF_HEADERS = 0x40000
    NO_REPLY_BODY = 0x80000
    LEADING_SPACE = 0x100000
    LARGE_PACKETS = 0x20000000


STAGE_MAIL: Final = 2  # SMFIM_ENVFROM: where SET_MACROS puts a list of macros

_COMMANDS: Final = {command.value[0]: command for command in MilterCommand}
_LIMITS: Final = {
    MilterCommand.BODY: MAX_BODY_DATA,
    MilterCommand.END_OF_BODY: MAX_BODY_DATA,
    MilterCommand.HEADER: MAX_HEADER_DATA,
}


class Packets:
    """Packets out of bytes that come in pieces of any size."""

    def __init__(self) -> None:
        self._bytes = bytearray()
        self._at = 0  # what is before it has been handed out

    def __len__(self) -> int:
        """Bytes that came in and were not handed out."""
        return len(self._bytes) - self._at

    def feed(self, data: bytes) -> None:
        """Take what came in."""
        if self._at:
            del self._bytes[: self._at]
            self._at = 0
        self._bytes += data

    def next(self) -> tuple[MilterCommand, bytes] | None:
        """The next packet; None until there is a whole one. Raises MilterError."""
        start = self._at + HEAD.size
        if len(self._bytes) <= start:
            return None
        (length,) = HEAD.unpack_from(self._bytes, self._at)
        command = _COMMANDS.get(self._bytes[start])
        if command is None or length == 0:
            raise MilterError(f"no command of the milter protocol: 0x{self._bytes[start]:02x}")
        if length - 1 > _LIMITS.get(command, MAX_DATA):
            raise MilterError(f"{command.name} with {length:,} bytes is larger than any real one")
        end = start + length
        if len(self._bytes) < end:
            return None
        self._at = end
        return command, bytes(self._bytes[start + 1 : end])


class Offer(NamedTuple):
    """One side of the negotiation: a version, and what it allows or wants."""

    version: int
    actions: int
    steps: int


@dataclass(frozen=True, slots=True)
class Client:
    """Who is at the other end of the SMTP connection.

    address: None for a unix socket or where the mail server does not know; local: a unix socket.
    """

    host: str = ""
    address: Ip | None = None
    local: bool = False


_OFFER: Final = struct.Struct("!III")
_PORT_BYTES: Final = 2  # uint16 between a client's family and address
_IPV6_PREFIX: Final = "ipv6:"  # as Sendmail writes addresses, RFC 5321 4.1.3


def read_offer(data: bytes) -> Offer:
    """NEGOTIATE; what follows the three numbers is ignored, as libmilter does."""
    if len(data) < _OFFER.size:
        raise MilterError(f"NEGOTIATE with {len(data)} bytes")
    return Offer(*_OFFER.unpack_from(data))


def read_strings(data: bytes) -> list[bytes]:
    """MAIL, RCPT: strings that each end in NUL."""
    if not data.endswith(b"\0"):
        raise MilterError("a string without its end")
    if data.count(b"\0") > MAX_STRINGS:
        raise MilterError(f"more than {MAX_STRINGS} strings in one packet")
    return data[:-1].split(b"\0")


def read_header(data: bytes) -> tuple[bytes, bytes]:
    """HEADER: name and value; the value may have line breaks, and the blanks before it (LEADING_SPACE)."""
    name, end, value = data.partition(b"\0")
    if not end or not value.endswith(b"\0"):
        raise MilterError("a header without its end")
    # Text after a NUL: Sendmail passes NULs of a mail on; whoever reads the mail will see it without them.
    return name, value[:-1].replace(b"\0", b"")


def read_macros(data: bytes) -> tuple[bytes, dict[str, str]]:
    """MACRO: the command that they belong to, and values by name; `{name}` is `name` here."""
    if not data:
        raise MilterError("MACRO without a command")
    texts = [text(one) for one in read_strings(data[1:])] if len(data) > 1 else []
    if len(texts) % 2:
        raise MilterError("a macro without a value")
    return data[:1], {name.strip("{}"): value for name, value in zip(texts[::2], texts[1::2], strict=True)}


def read_client(data: bytes) -> Client:
    """CONNECT: host name, family, and where there is one port and address."""
    host, end, rest = data.partition(b"\0")
    if not end or not rest:
        raise MilterError("CONNECT without a family")
    family, address = rest[:1], rest[1 + _PORT_BYTES :].rstrip(b"\0")
    if family == b"L":
        return Client(text(host), local=True)
    if family in {b"4", b"6"}:
        return Client(text(host), _address(text(address)))
    return Client(text(host))


def _address(said: str) -> Ip | None:
    if said.lower().startswith(_IPV6_PREFIX):
        said = said[len(_IPV6_PREFIX) :]
    try:
        return parse_ip(said)
    except ValueError:
        return None


def text(said: bytes) -> str:
    """What a mail server says in strings: ASCII, or UTF-8 with SMTPUTF8 (RFC 6531)."""
    return said.decode("utf-8", "replace")


def packet(letter: bytes, data: bytes = b"") -> bytes:
    """One packet: a command's or a reply's."""
    return HEAD.pack(len(data) + 1) + letter + data


CONTINUE: Final = packet(b"c")
ACCEPT: Final = packet(b"a")
DISCARD: Final = packet(b"d")
PROGRESS: Final = packet(b"p")


def negotiate(answer: Offer, macros: Mapping[int, str] = {}) -> bytes:
    """Our side of the negotiation. macros: names by stage, in place of those that are configured there."""
    lists = b"".join(HEAD.pack(stage) + _string(names) for stage, names in macros.items())
    return packet(b"O", _OFFER.pack(*answer) + lists)


def insert_header(index: int, name: str, value: str) -> bytes:
    """A new header before the one at an index; 0 is the top. Lines of a value end in LF."""
    return packet(b"i", HEAD.pack(index) + _string(name) + _string(value))


def delete_header(index: int, name: bytes) -> bytes:
    """CHGHEADER with an empty value. index: 1 for the first of this name, compared without case."""
    return packet(b"m", HEAD.pack(index) + name + b"\0\0")


def quarantine(reason: str) -> bytes:
    """Hold the mail where an administrator decides on it (Postfix: the hold queue)."""
    return packet(b"q", _string(reason))


def reply(line: str) -> bytes:
    """What the client is told: "550 5.7.1 text"; ASCII, one line, without %."""
    return packet(b"y", _string(line))


def _string(said: str) -> bytes:
    return said.encode("ascii", "replace").replace(b"\0", b"?") + b"\0"
