"""A message's bytes to the text a model sees: the same code in training and in serving.

`read` is total: any bytes give at least one `CanonicalText`, of bounded length, in bounded time, and the same
bytes give the same one. What is in a canonical text, and why, is in docs/text.md.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Final

from filterd.api import Kind, Message
from filterd.reading import mime, sender
from filterd.reading.charsets import decode
from filterd.reading.fields import MAX_HEAD
from filterd.reading.kind import BOM, detect, opened
from filterd.reading.unicode import normalise

__all__ = [
    "DOUBTFUL",
    "GTUBE",
    "READ_FORMATS",
    "TEXT_FORMAT",
    "CanonicalText",
    "again",
    "detect",
    "head_of",
    "in_format",
    "of_sms",
]
__all__ += ["parted", "read", "windows", "without_head"]

LONG_SMS: Final = 96  # tokens; three of a hundred SMS are longer
SMS_PIECE: Final = 48  # tokens of a piece of a long SMS; a usual SMS has 20 to 45
SMS_STEP: Final = 32
MAX_SMS_PIECES: Final = 8  # a chain of ten SMS
TEXT_FORMAT: Final = 5  # goes up when the canonical text of any message changes; a bundle names its own
READ_FORMATS: Final = (4, 5)  # of bundles; 4 had no head
HEAD_MARK: Final = (
    "`"  # begins the head; reading makes it an apostrophe everywhere else, so nobody forges one
)
GTUBE: Final = "XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X"
# Of a mail that was cut, is too involved or shows little of what it holds, what is left says too little.
DOUBTFUL: Final = frozenset(["truncated", "tangled-html", "mostly-hidden"])
MAX_READINGS: Final = 4  # two ways to read headers times two to read parameters
MAX_BODY: Final = 65_536  # characters of a mail; 5 of 4,150 ham mails of SpamAssassin's have more
MAX_SUBJECT: Final = 300  # characters; RFC 5322 lines end at 998 bytes, people's subjects at 100
MAX_SMS: Final = 4_096  # characters; 255 parts of 153 are possible, ten are rare
MAX_SMS_BYTES: Final = 65_536  # more than any gateway hands over, and the bound on what is normalised

# These three begin with a newline, which a search skips to.
_BLOB = re.compile(
    r"\n([A-Za-z0-9+/=]{20})[A-Za-z0-9+/=]{40,}(?:\n[A-Za-z0-9+/=]{60,})++(?:\n[A-Za-z0-9+/=]++(?=\n|\Z))?"
)
_QUOTE = re.compile(r"\n[ \t]*+(?:[>|][ \t]*+)++")
# A newline after so long a line, before more of the sentence, is an editor's wrap and no paragraph's end.
_WRAP = re.compile(r"\n(?<=[^\n]{55}\n)(?=\w)")


@dataclass(frozen=True, slots=True, kw_only=True)
class CanonicalText:
    """One reading of a message.

    subject, body: normalised, `subject` empty for an SMS.
    facts: what a person would notice besides ("hidden-text", "html-only", "attachment:exe", …).
    head: who sent a mail and how that fits the rest of it, a line each; see sender.py.
    hosts: where its links lead, for lists; no part of what the model sees.
    """

    kind: Kind
    subject: str
    body: str
    facts: tuple[str, ...] = ()
    head: tuple[str, ...] = ()
    hosts: tuple[str, ...] = field(default=(), compare=False, repr=False)

    @property
    def canonical(self) -> str:
        """What the model sees: head, subject and body with empty lines between; what is empty is left out."""
        rest = f"{self.subject}\n\n{self.body}" if self.subject else self.body
        return HEAD_MARK + "\n".join(self.head) + "\n\n" + rest if self.head else rest


def read(message: Message, trusted: Collection[str] = ()) -> tuple[CanonicalText, ...]:
    """Every way to read a message, at most MAX_READINGS and nearly always one. Never raises.

    trusted: ids of servers whose Authentication-Results count (RFC 8601 2.2).
    """
    if (message.kind or detect(message.raw)) is Kind.MAIL:
        return _readings(opened(message.raw), trusted)
    return (of_sms(decode(message.raw[:MAX_SMS_BYTES])),)


def of_sms(text: str) -> CanonicalText:
    """The reading of an SMS that is text already."""
    body = normalise(text, MAX_SMS)
    facts = [fact for fact, holds in (("truncated", len(text) > MAX_SMS), ("gtube", GTUBE in text)) if holds]
    return CanonicalText(
        kind=Kind.SMS, subject="", body=body, facts=tuple(facts), hosts=sender.hosts_in(body)
    )


def parted(canonical: str) -> tuple[tuple[str, ...], str, str]:
    """The lines of the head, the subject and the body of a mail's canonical text; what it lacks is empty."""
    lines = head_of(canonical).removeprefix(HEAD_MARK).split("\n")
    rest = without_head(canonical)
    subject, found, body = rest.partition("\n\n")
    head = tuple(filter(None, lines))
    return (head, subject, body) if found else (head, "", rest)


def head_of(canonical: str) -> str:
    """The head of a canonical text with the empty line behind it; "" where it has none."""
    return "".join(canonical.partition("\n\n")[:2]) if canonical.startswith(HEAD_MARK) else ""


def without_head(canonical: str) -> str:
    """Subject and body of a canonical text, as format 4 had it."""
    return canonical[len(head_of(canonical)) :]


def in_format(canonical: str, text_format: int) -> str:
    """A canonical text as a bundle of that format was trained on it."""
    return without_head(canonical) if text_format < 5 else canonical


def again(canonical: str, kind: Kind) -> str:
    """A canonical text that was changed, made canonical once more; of one that was not, the same."""
    if kind is Kind.SMS:
        return of_sms(canonical).canonical
    head, subject, body = parted(canonical)
    subject = normalise(subject, MAX_SUBJECT).replace("\n", " ")
    return CanonicalText(
        kind=kind, subject=subject, body=normalise(body, MAX_BODY), head=sender.again(head)
    ).canonical


def windows(ids: list[int], size: int, limit: int, kind: Kind = Kind.MAIL) -> list[list[int]]:
    """Token ids cut into at most `limit` windows of at most `size`: the head, the tail, even steps between.

    One window when all fits, also for no ids at all; no gap between windows while `limit` allows it. A long
    SMS is cut into overlapping pieces besides: an innocent text put around spam hides it from one look at
    the whole.
    """
    found = _spread(ids, size, -(-len(ids) // size), limit)
    if kind is Kind.SMS and len(ids) > LONG_SMS:
        steps = -(-(len(ids) - SMS_PIECE) // SMS_STEP)
        found += _spread(ids, min(size, SMS_PIECE), steps + 1, MAX_SMS_PIECES)
    return found


def _spread(ids: list[int], size: int, count: int, limit: int) -> list[list[int]]:
    """So many windows, `limit` at the most, from the head to the tail."""
    count = min(limit, count)
    if len(ids) <= size or count <= 1:
        return [ids[:size]]
    last = len(ids) - size
    return [ids[start : start + size] for start in (last * i // (count - 1) for i in range(count))]


def _readings(raw: bytes, trusted: Collection[str]) -> tuple[CanonicalText, ...]:
    raw = raw.removeprefix(BOM)
    if b"\n" not in raw[:MAX_HEAD] and b"\r" in raw:
        raw = raw.replace(b"\r", b"\n")
    first = mime.parse(raw)
    if not first.doubts:
        return (_of_mail(first, trusted),)
    orders = list(product((False, True), repeat=2))[:MAX_READINGS]
    found: dict[str, CanonicalText] = {}
    for order in orders:
        text = _of_mail(mime.parse(raw, mime.ReadingRule(*order)), trusted)
        found.setdefault(text.canonical, text)
    if len(found) == 1:
        return tuple(found.values())
    return tuple(replace(text, facts=(*text.facts, "ambiguous")) for text in found.values())


def _of_mail(mail: mime.Mail, trusted: Collection[str]) -> CanonicalText:
    """The canonical text of one reading of a mail."""
    whole = mail.text
    if GTUBE in whole or GTUBE in mail.subject:
        mail.note("gtube")
    if len(whole) > MAX_BODY:
        mail.note("truncated")
    body = _QUOTE.sub("\n> ", "\n" + whole.replace("\r", ""))
    body = _WRAP.sub(" ", _BLOB.sub(r"\n\1", body))
    subject = normalise(mail.subject, MAX_SUBJECT).replace("\n", " ")
    head = sender.head(mail.fields, subject, mail.links, mail.facts, mail.shown, trusted)
    hosts = sender.hosts(mail.links)
    return CanonicalText(
        kind=Kind.MAIL,
        subject=subject,
        body=normalise(body, MAX_BODY),
        facts=tuple(mail.facts),
        head=head,
        hosts=hosts,
    )
