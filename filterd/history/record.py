"""What is kept of a judged message: never its text unless configured, and addresses as keyed hashes.

A record's number is its time and a count, so that numbers are in the order of time and a range of time is a
range of numbers: 41 bits of milliseconds since 1970, 12 bits of who writes, 8 bits that count. A store gives
each worker that writes to it 12 bits of his own (`HistoryStore.enter`), so that no two meet, on one machine
or on many. People see a number as 13 characters (Crockford's base 32: no I, L, O, U), the `ID` of
`filterd why ID`.
"""

import hashlib
import hmac
import secrets
import threading
from collections.abc import Iterable
from typing import Final, NamedTuple

import msgspec

from filterd.api import RELEASED, Kind, Label, Message, Verdict
from filterd.scoring.verdict import Thresholds

MAX_NAME: Final = 200  # characters of a caller's id, of a subject and of an address that are kept
MAX_RECIPIENTS: Final = 100  # of one message that are kept; a user among the others cannot look for it
MAX_HEAD: Final = 65_536  # bytes in which a Message-ID is looked for
COUNT_BITS: Final = 20  # below the milliseconds
_OWN_BITS: Final = 8  # of those that count: 256 messages a millisecond, and who has more takes the next one
WRITERS: Final = 1 << COUNT_BITS - _OWN_BITS  # starts of workers until the first number is given again
KEY_BYTES: Final = 16  # of a keyed hash; 128 bits never meet

# What decides without regard to any threshold, by the tests that say so; the first that is there.
BY_RULE: Final = {
    "gtube": frozenset({"GTUBE"}),
    "released": frozenset({RELEASED}),
    "list": frozenset({"ALLOWED", "DENIED"}),
    "known": frozenset({"CORRESPONDENT"}),
}

_ALPHABET: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_ID_LENGTH: Final = 13
_STAGES: Final = {"FASTPATH": "fastpath", "EXIT": "exit", "GPT2": "model"}  # what `tests` calls them


class VerdictEvent(NamedTuple):
    """A verdict as it was given. time: seconds since 1970. thresholds: those that it was labelled by.

    number: where one was given out already, as for what lies in quarantine.
    """

    message: Message
    verdict: Verdict
    thresholds: Thresholds
    time: float
    action: str = ""
    number: int = 0


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the history.

    number: see the top. time: seconds since 1970. listener: who handed the message in. name: the caller's id
    (a queue id, a file). message_key, sender_key, recipient_keys: keyed hashes of what they are named after.
    settled: the stage that decided. size: bytes. ms: from arrival to verdict. unsure, spam: the thresholds.
    sender, recipients, subject: as far as the configuration keeps them. corrected: what a person said since.
    """

    number: int
    time: float
    listener: str
    name: str
    message_key: str
    sender_key: str
    recipient_keys: tuple[str, ...] = ()
    kind: Kind
    label: Label
    probability: float
    points: float
    available: bool
    settled: str
    tests: tuple[str, ...]
    action: str
    size: int
    ms: float
    bundle: str
    unsure: float
    spam: float
    content_hash: str = ""
    sender: str = ""
    recipients: str = ""
    subject: str = ""
    corrected: Label | None = None

    @property
    def id(self) -> str:
        """What people call it by."""
        return encode(self.number)


class RecordNumbers:
    """Gives numbers out, each once, in the order of time. Safe to call from many threads."""

    def __init__(self, writer: int | None = None) -> None:
        """writer: below WRITERS, from the store; drawn where nothing is stored."""
        self._writer = (secrets.randbelow(WRITERS) if writer is None else writer) << _OWN_BITS
        self._last = (0, 0)
        self._lock = threading.Lock()

    def next(self, seconds: float) -> int:
        """The number of a message judged at `seconds` since 1970."""
        with self._lock:
            at, count = self._last
            now = max(int(seconds * 1000), at)  # a clock that was set back must not repeat a number
            count = count + 1 if now == at else 0
            if count >> _OWN_BITS:
                now, count = now + 1, 0
            self._last = (now, count)
        return now << COUNT_BITS | self._writer | count


def at(seconds: float) -> int:
    """The smallest number of a message judged at `seconds` since 1970 or later."""
    return max(0, int(seconds * 1000)) << COUNT_BITS


def encode(number: int) -> str:
    """A number as people read and type it."""
    return "".join(_ALPHABET[number >> 5 * place & 31] for place in reversed(range(_ID_LENGTH)))


def decode(text: str) -> int | None:
    """What `encode` made, in either case; None for anything else."""
    upper = text.strip().upper()
    if len(upper) != _ID_LENGTH or not set(upper) <= set(_ALPHABET):
        return None
    number = 0
    for character in upper:
        number = number << 5 | _ALPHABET.index(character)
    return number if number < 1 << 63 else None


class KeyedHashes:
    """Keyed hashes of addresses and Message-IDs: equal for equal ones, and no way back without the key."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def of(self, kind: str, value: str) -> str:
        """The hash of an address or id; "" for none. kind: keeps the hashes of two kinds apart."""
        plain = value.strip().strip("<>").lower()
        if not plain:
            return ""
        said = f"{kind}\0{plain}".encode("utf-8", "replace")
        return hmac.new(self._key, said, hashlib.sha256).hexdigest()[: 2 * KEY_BYTES]

    def address(self, value: str) -> str:
        """Of a mail address or telephone number."""
        return self.of("address", value)

    def message_id(self, value: str) -> str:
        """Of a Message-ID, with or without its angle brackets."""
        return self.of("message-id", value)


def message_id(raw: bytes) -> str:
    """The value of a mail's Message-ID without angle brackets, printable; "" where there is none."""
    head = raw[:MAX_HEAD].replace(b"\r\n", b"\n").split(b"\n\n", 1)[0]
    for line in head.split(b"\n"):
        if line[:11].lower() == b"message-id:":
            return clean(line[11:].decode("ascii", "replace")).strip("<> ")
    return ""


def settled(found: Verdict) -> str:
    """What decided: `none`, one of BY_RULE, or the stage `fastpath`, `exit` or `model`."""
    if not found.available:
        return "none"
    for stage, tests in BY_RULE.items():
        if tests & set(found.tests):
            return stage
    return next((_STAGES[test] for test in found.tests if test in _STAGES), "other")


def clean(text: str) -> str:
    """One short line without control characters: what a sender wrote must not steer a terminal or a log."""
    plain = "".join(c if c.isprintable() else " " for c in text[: 4 * MAX_NAME])
    return " ".join(plain.split())[:MAX_NAME]


def domains(addresses: Iterable[str]) -> tuple[str, ...]:
    """The domains of addresses, each once, in their order."""
    found = (address.strip("<> ").rpartition("@")[2].lower() for address in addresses if "@" in address)
    return tuple(dict.fromkeys(clean(domain) for domain in found))
