"""A mail's bytes to what a person sees first: subject, shown text, and what is attached.

Not built on stdlib `email`, because its parser recurses, its feed is slow on hostile input and it picks
one reading where clients differ. This walker only looks for headers it needs and for boundary lines, by
C-speed searches on the raw bytes: nothing is copied but the text parts, each step is linear, every loop
has a bound. It follows RFC 5322, RFC 2045–2047 and RFC 2231, and where a mail breaks them it shows more
rather than less. Bounds count what is shown: junk that decodes to nothing hides nothing. Nothing here
raises on any input.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

from filterd.reading import attachments, transfer
from filterd.reading.charsets import charset_of_words, decode, decode_words
from filterd.reading.fields import MAX_HEAD, Fields
from filterd.reading.html import Link, visible
from filterd.reading.parts import Head, ReadingRule, is_blank, kind_of_file, read_head, spans

__all__ = ["Mail", "ReadingRule", "parse"]

FIRST: Final = ReadingRule()

MAX_DEPTH: Final = 12  # forwarded digests reach 6; the deepest of 6,046 SpamAssassin mails has 4
MAX_PARTS: Final = 500  # that hold something; a mail with more is a bomb, and those seen so far are judged
MAX_TEXT_BYTES: Final = 524_288  # decoded text of one mail; the model reads a few thousand characters
MAX_SOURCE_BYTES: Final = 2_097_152  # decoded HTML of one mail; comments and style sheets are most of it
MAX_RAW_BYTES: Final = 16_777_216  # of one part before decoding; 0.1 s of quoted-printable
FIRST_RAW_BYTES: Final = 786_432  # of a part that are decoded first: half a megabyte in base64
MAX_HTML_PARTS: Final = 3  # rendered as a browser would, however long; of further ones the small ones
MAX_SMALL_PARTS: Final = 20  # further ones; Apple's Mail writes one between any two attachments
MAX_SMALL_SOURCE: Final = 20_000  # characters of all further ones; the rest lose their tags the cheap way
MAX_ATTACHMENTS: Final = 10  # facts about attachments
MAX_READ_ATTACHMENTS: Final = 8  # that are opened for their words
MAX_ATTACHED_BYTES: Final = 2_097_152  # of all that are opened
MAX_ATTACHED_TEXT: Final = 8_192  # characters of their words, behind what the mail itself shows
MAX_LINKS: Final = 100  # of one part; more show nothing that these do not
MAX_LINES: Final = 20_000  # lines of one mail that begin like a boundary; real ones have two a part
SQUEEZED_FROM: Final = 65_536  # bytes of a part from which its empty lines are taken out first

_BLANKS = re.compile(rb"[ \t\r\n\x0b\x0c]{16,}+")
_META_CHARSET = re.compile(rb"""<meta[^>]{0,200}?charset\s*=\s*["']?([A-Za-z0-9_:.-]{1,40})""", re.IGNORECASE)
_ADDRESS = re.compile(r"[hH][tT]{2}[pP][sS]?://[^\s<>\"'/?#]{1,256}")
_HTML: Final = ("text/html", "application/xhtml+xml", "text/enriched", "text/richtext")
# Not opened for words: decoding them would cost more than all the rest.
_NO_WORDS: Final = ("image/", "audio/", "video/", "font/")
_MAILS: Final = ("message/rfc822", "message/global", "message/news", "message/partial")


@dataclass(slots=True, kw_only=True)
class Mail:
    """One reading of a mail.

    fields: of its own head. shown: "plain", "html" or "both", what of it is text; "" for nothing.
    links: where each leads, and the text shown for it. doubts: what was there twice, "header" or "parameter".
    """

    subject: str = ""
    text: str = ""
    fields: Fields = field(default_factory=dict)
    shown: str = ""
    links: list[tuple[str, str]] = field(default_factory=list)
    facts: list[str] = field(default_factory=list)
    doubts: set[str] = field(default_factory=set)

    def note(self, fact: str) -> None:
        """Add a fact once; of attachments the first few."""
        if fact not in self.facts and len(self.facts) < MAX_ATTACHMENTS + 5:
            self.facts.append(fact)


@dataclass(frozen=True, slots=True)
class _Shown:
    """What a part shows: its text, and whether that was HTML or plain."""

    text: str = ""
    html: bool = False
    plain: bool = False


@dataclass(slots=True, kw_only=True)
class _Left:
    """What may still be spent on a mail, and what its parts have said of it."""

    parts: int = MAX_PARTS
    lines: int = MAX_LINES
    text: int = MAX_TEXT_BYTES
    source: int = MAX_SOURCE_BYTES
    html_parts: int = MAX_HTML_PARTS + MAX_SMALL_PARTS
    small_source: int = MAX_SMALL_SOURCE
    attachments: int = MAX_READ_ATTACHMENTS
    attached: int = MAX_ATTACHED_BYTES
    charset: bytes = b""  # the first that a text part declares; headers in 8 bits are in it, too
    nearby: bytes = b""  # the charset that the subject or the sender's name is in
    saw_plain: bool = False
    words: list[str] = field(default_factory=list)  # of attachments


def parse(raw: bytes, reading: ReadingRule = FIRST) -> Mail:
    """Read a mail. Only what holds words is decoded, within the bounds above."""
    mail, left = Mail(), _Left()
    walk = _Walk(raw, reading, mail, left)
    head, body = walk.head(0, len(raw))
    mail.fields = head.fields
    left.nearby = charset_of_words(head.subject) or charset_of_words(b" ".join(head.fields.get(b"from", ())))
    if body > MAX_HEAD:
        mail.note("truncated")
    shown = walk.part(head, body, len(raw), 0)
    mail.subject = decode_words(head.subject, left.charset)
    words = "\n\n".join(left.words)[:MAX_ATTACHED_TEXT]
    mail.text = f"{shown.text}\n\n{words}" if words else shown.text
    if shown.html and not left.saw_plain:
        mail.note("html-only")
    mail.shown = "both" if shown.html and left.saw_plain else "html" if shown.html else "plain" * shown.plain
    return mail


class _Walk:
    """One way through a mail, or through one that is attached to it in an encoding."""

    def __init__(self, raw: bytes, reading: ReadingRule, mail: Mail, left: _Left) -> None:
        self._raw = raw
        self._reading = reading
        self._mail = mail
        self._left = left

    def head(self, start: int, end: int) -> tuple[Head, int]:
        return read_head(self._raw, start, end, self._reading, self._mail.doubts)

    def part(self, head: Head, start: int, end: int, depth: int) -> _Shown:
        """What one part shows; the parts in it are read by the rules of its type."""
        self._left.parts -= 1
        if self._left.parts < 0 or depth > MAX_DEPTH:
            self._mail.note("truncated")
            return self._plain(Head(), start, end) if self._left.parts >= 0 else _Shown()
        if head.type.startswith("multipart/") and (found := self._multipart(head, start, end, depth)):
            return found
        if head.type in _MAILS or head.name.endswith(".eml"):
            return self._forwarded(head, start, end, depth)
        textual = head.type.startswith(("text/", "multipart/", "message/")) or "/" not in head.type
        if (textual or head.type in _HTML) and not head.attached:
            return (self._html if head.type in _HTML else self._plain)(head, start, end)
        self._attachment(head, start, end)
        return _Shown()

    def _forwarded(self, head: Head, start: int, end: int, depth: int) -> _Shown:
        """A mail within the mail; in an encoding, which RFC 2046 5.2.1 forbids and clients undo."""
        walk = self
        if head.encoding in ("base64", "quoted-printable"):
            decoded = self._content(head, start, end, self._left.source)
            self._left.source -= len(decoded)
            walk = _Walk(decoded, self._reading, self._mail, self._left)
            start, end = 0, len(decoded)
        inner, body = walk.head(start, end)
        seen = walk.part(inner, body, end, depth + 1)
        return _Shown(
            f"{decode_words(inner.subject, self._left.charset)}\n\n{seen.text}", seen.html, seen.plain
        )

    def _multipart(self, head: Head, start: int, end: int, depth: int) -> _Shown | None:
        """What the parts show together; None where the boundary is missing or never comes."""
        default = Head(type="message/rfc822") if head.type == "multipart/digest" else None
        shown: list[_Shown] = []
        any_part = False
        for first, last in spans(self._raw, head.parameters.get("boundary", b""), start, end):
            self._left.lines -= 1
            if self._left.lines < 0 or self._left.parts < 0:
                self._mail.note("truncated")
                break
            if first == last:
                continue
            any_part = True
            inner, body = self.head(first, last)
            inner = default if default and not inner.type else inner
            if is_blank(self._raw, body, last) and not inner.attached:
                continue
            seen = self.part(inner, body, last, depth + 1)
            if seen.text.strip():
                shown.append(seen)
        return _together(head, shown) if any_part else None

    def _plain(self, head: Head, start: int, end: int) -> _Shown:
        content = self._content(head, start, end, self._left.text)
        self._left.text -= len(content)
        if b"begin " in content:
            content, files = transfer.without_uuencoded(content)
            for name, data in files:
                self._words(Head(name=decode(name).lower(), attached=True), data)
        self._left.saw_plain = True
        self._left.charset = self._left.charset or head.charset
        text = decode(content, charset=head.charset, nearby=self._left.nearby)
        if "://" in text:
            self._mail.links += ((address[0], "") for address in islice(_ADDRESS.finditer(text), MAX_LINKS))
        return _Shown(text, plain=True)

    def _html(self, head: Head, start: int, end: int) -> _Shown:
        content = self._content(head, start, end, self._left.source)
        self._left.source -= len(content)
        charset = head.charset
        if not charset and not content.isascii() and (meta := _META_CHARSET.search(content, 0, 2_048)):
            charset = meta[1]
        self._left.charset = self._left.charset or charset
        source = decode(content, charset=charset, nearby=self._left.nearby)
        seen = visible(source, quick=not self._is_rendered(len(source)))
        self._found(seen.links, seen.facts)
        return _Shown(seen.text, html=True)

    def _is_rendered(self, size: int) -> bool:
        """Whether an HTML part of so many characters is, one by one from the first."""
        left = self._left
        left.html_parts -= 1
        if left.html_parts >= MAX_SMALL_PARTS:
            return True
        left.small_source -= size
        return left.html_parts >= 0 and left.small_source >= 0

    def _attachment(self, head: Head, start: int, end: int) -> None:
        """Note what kind of file is attached, and what it says where that can be read."""
        left = self._left
        if (
            left.attachments <= 0
            or left.attached <= 0
            or (head.type.startswith(_NO_WORDS) and head.type != "image/svg+xml")
        ):
            self._mail.note("attachment:" + kind_of_file(head))
            return
        taken = min(end, start + left.attached * 4 // 3)
        self._words(head, transfer.decoded(self._raw[start:taken], head.encoding))

    def _words(self, head: Head, data: bytes) -> None:
        self._mail.note("attachment:" + kind_of_file(head))
        if self._left.attachments <= 0 or self._left.attached <= 0:
            return
        self._left.attachments -= 1
        self._left.attached -= len(data)
        found = attachments.words(head.type, head.name, data)
        self._found(found.links, [fact for fact in found.facts if fact != "truncated"])
        if found.text.strip():
            self._left.words.append(found.text[:MAX_ATTACHED_TEXT])

    def _found(self, links: Sequence[Link], facts: Iterable[str]) -> None:
        self._mail.links += ((link.href, link.text) for link in links[:MAX_LINKS])
        for fact in facts:
            self._mail.note(fact)

    def _content(self, head: Head, start: int, end: int, most: int) -> bytes:
        """At most `most` bytes of a part without their encoding; runs of empty lines do not count."""
        take = FIRST_RAW_BYTES
        while True:
            taken = min(end, start + take)
            content = transfer.decoded(self._raw[start:taken], head.encoding)
            if len(content) > SQUEEZED_FROM:
                content = _BLANKS.sub(b"\n", content)
            if taken == end or len(content) >= most or take >= MAX_RAW_BYTES:
                break
            take *= 4  # from the start again, so that no unit of an encoding is cut: a third more work in all
        if taken < end or len(content) > most:
            self._mail.note("truncated")
        return content[:most]


def _together(head: Head, shown: list[_Shown]) -> _Shown:
    """What parts show together; of alternatives the last (RFC 2046 5.1.4), which in clients is the HTML."""
    if head.type == "multipart/alternative":
        return next((seen for seen in reversed(shown) if seen.html), shown[-1] if shown else _Shown())
    return _Shown(
        "\n\n".join(seen.text for seen in shown),
        any(seen.html for seen in shown),
        any(seen.plain for seen in shown),
    )
