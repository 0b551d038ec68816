"""A message's bytes to the text a model sees: the same code in training and in serving.

`read` is total: any bytes give at least one `Text`, of bounded length, in bounded time, and the same bytes
give the same one. What is in a canonical text, and why, is in docs/text.md.
"""

import re
from dataclasses import dataclass, replace
from itertools import product
from typing import Final

from filterd.api import Kind, Message
from filterd.reading import mime
from filterd.reading.kind import BOM, detect
from filterd.reading.unicode import normalise

__all__ = ["GTUBE", "TEXT_FORMAT", "Text", "again", "detect", "of_sms", "read", "windows"]

LONG_SMS: Final = 96  # tokens; three of a hundred SMS are longer
SMS_PIECE: Final = 48  # tokens of a piece of a long SMS; a usual SMS has 20 to 45
SMS_STEP: Final = 32
MAX_SMS_PIECES: Final = 8  # a chain of ten SMS
TEXT_FORMAT: Final = 4  # goes up when the canonical text of any message changes; a bundle names its own
GTUBE: Final = "XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X"
MAX_READINGS: Final = 4  # two ways to read headers times two to read parameters
MAX_BODY: Final = 32_768  # characters of a mail; some 8,000 tokens, of which windows take their pick
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


@dataclass(frozen=True, slots=True)
class Text:
    """One reading of a message.

    subject, body: normalised, `subject` empty for an SMS.
    facts: what a person would notice besides ("hidden-text", "html-only", "attachment:exe", …).
    """

    kind: Kind
    subject: str
    body: str
    facts: tuple[str, ...] = ()

    @property
    def canonical(self) -> str:
        """What the model sees: subject, an empty line and the body, or the body alone."""
        return f"{self.subject}\n\n{self.body}" if self.subject else self.body


def read(message: Message) -> tuple[Text, ...]:
    """Every way to read a message, at most MAX_READINGS and nearly always one. Never raises."""
    if (message.kind or detect(message.raw)) is Kind.MAIL:
        return _readings(message.raw)
    return (of_sms(mime.decode(message.raw[:MAX_SMS_BYTES])),)


def of_sms(text: str) -> Text:
    """The reading of an SMS that is text already."""
    body = normalise(text, MAX_SMS)
    facts = [fact for fact, holds in (("truncated", len(text) > MAX_SMS), ("gtube", GTUBE in text)) if holds]
    return Text(Kind.SMS, "", body, tuple(facts))


def again(canonical: str, kind: Kind) -> str:
    """A canonical text that was changed, made canonical once more; of one that was not, the same."""
    if kind is Kind.SMS:
        return of_sms(canonical).canonical
    subject, parted, body = canonical.partition("\n\n")
    if not parted:
        subject, body = "", canonical
    subject = normalise(subject, MAX_SUBJECT).replace("\n", " ")
    return Text(kind, subject, normalise(body, MAX_BODY)).canonical


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


def _readings(raw: bytes) -> tuple[Text, ...]:
    raw = raw.removeprefix(BOM)
    if b"\n" not in raw[: mime.MAX_HEAD] and b"\r" in raw:
        raw = raw.replace(b"\r", b"\n")
    first = mime.parse(raw)
    if not first.doubts:
        return (_of_mail(first),)
    orders = list(product((False, True), repeat=2))[:MAX_READINGS]
    found: dict[str, Text] = {}
    for order in orders:
        text = _of_mail(mime.parse(raw, mime.Reading(*order)))
        found.setdefault(text.canonical, text)
    if len(found) == 1:
        return tuple(found.values())
    return tuple(replace(text, facts=(*text.facts, "ambiguous")) for text in found.values())


def _of_mail(mail: mime.Mail) -> Text:
    """The canonical text of one reading of a mail."""
    whole = mail.text
    if GTUBE in whole or GTUBE in mail.subject:
        mail.note("gtube")
    if len(whole) > MAX_BODY:
        mail.note("truncated")
    body = _QUOTE.sub("\n> ", "\n" + whole.replace("\r", ""))
    body = _WRAP.sub(" ", _BLOB.sub(r"\n\1", body))
    subject = normalise(mail.subject, MAX_SUBJECT).replace("\n", " ")
    return Text(Kind.MAIL, subject, normalise(body, MAX_BODY), tuple(mail.facts))
