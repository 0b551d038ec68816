"""A mail's bytes to what a person sees first: subject, shown text, and what is attached.

Not built on stdlib `email`, because its parser recurses, its feed is slow on hostile input and it picks
one reading where clients differ. This walker only looks for headers it needs and for boundary lines, by
C-speed searches on the raw bytes: nothing is copied but the text parts, each step is linear, every loop
has a bound. It follows RFC 5322, RFC 2045–2047 and RFC 2231, and where a mail breaks them it shows more
rather than less. Nothing here raises on any input.
"""

import re
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

from filterd.reading import fields, transfer
from filterd.reading.charsets import decode, decode_words
from filterd.reading.fields import MAX_VALUE, Fields
from filterd.reading.html import visible
from filterd.reading.kind import header_block

__all__ = ["Mail", "Reading", "parse"]

MAX_DEPTH: Final = 12  # forwarded digests reach 6; the deepest of 6,046 SpamAssassin mails has 4
MAX_PARTS: Final = 500  # a mail with more is a bomb; the parts seen so far are judged
MAX_TEXT_BYTES: Final = 524_288  # decoded text of one mail; the model reads a few thousand characters
MAX_HTML_PARTS: Final = 3  # rendered as a browser would; further ones lose their tags the cheap way
MAX_ATTACHMENTS: Final = 10  # facts about attachments
MAX_LINKS: Final = 100  # of one part; more show nothing that these do not
MAX_UUENCODED: Final = 50  # files within one text; more are no files
MAX_LINES: Final = 20_000  # lines of one mail that begin like a boundary; real ones have two a part

_UUENCODED = re.compile(
    rb"^begin [0-7]{3,4} ([^\r\n]{1,200})\r?\n(?:M[ -`]{60}\r?\n)*+(?:[ -`]{0,61}\r?\n){0,3}", re.MULTILINE
)
_META_CHARSET = re.compile(rb"""<meta[^>]{0,200}?charset\s*=\s*["']?([A-Za-z0-9_:.-]{1,40})""", re.IGNORECASE)
_ADDRESS = re.compile(r"https?://[^\s<>\"'/?#]{1,256}", re.IGNORECASE)
_EXTENSION = re.compile(r"\.([a-z0-9]{1,8})\s*\Z")


@dataclass(frozen=True, slots=True)
class Reading:
    """Which of two contradicting headers or parameters is believed; clients differ."""

    last_header: bool = False
    last_parameter: bool = False


@dataclass(slots=True)
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
class _Head:
    """The headers of a mail or part that matter here."""

    fields: Fields = field(default_factory=dict)
    subject: bytes = b""
    type: str = ""
    parameters: dict[str, bytes] = field(default_factory=dict)
    encoding: str = ""
    attached: bool = False
    name: str = ""


@dataclass(frozen=True, slots=True)
class _Shown:
    """What a part shows: its text, and whether that was HTML or plain."""

    text: str = ""
    html: bool = False
    plain: bool = False


def parse(raw: bytes, reading: Reading = Reading()) -> Mail:
    """Read a mail. Only its text parts are decoded, MAX_TEXT_BYTES at most."""
    walk = _Walk(raw, reading)
    mail = walk.mail
    head, body = walk.head(0, len(raw))
    mail.fields = head.fields
    shown = walk.part(head, body, len(raw), 0)
    mail.subject = decode_words(head.subject, walk.charset)
    mail.text = shown.text
    if shown.html and not walk.saw_plain:
        mail.note("html-only")
    mail.shown = "both" if shown.html and walk.saw_plain else "html" if shown.html else "plain" * shown.plain
    return mail


class _Walk:
    """One way through a mail, with what may still be spent on it."""

    def __init__(self, raw: bytes, reading: Reading) -> None:
        self.mail = Mail()
        self.saw_plain = False
        self.charset = b""  # the first that a text part declares; headers in 8 bits are in it, too
        self._raw = raw
        self._reading = reading
        self._parts = MAX_PARTS
        self._bytes = MAX_TEXT_BYTES
        self._lines = MAX_LINES
        self._html_parts = MAX_HTML_PARTS

    def head(self, start: int, end: int) -> tuple[_Head, int]:
        """The headers at `start` and where the body begins (RFC 5322 2.1)."""
        stop = min(header_block(self._raw, start), end)
        body = stop
        for blank in (b"\n", b"\r\n"):
            if self._raw.startswith(blank, stop):
                body = min(stop + len(blank), end)
        return self._understand(fields.find(self._raw, start, stop)), body

    def _one(self, found: Fields, name: bytes) -> bytes:
        """The field that is believed of those with a name."""
        values = found.get(name)
        if not values:
            return b""
        if len(values) > 1 and len(set(values)) > 1:
            self.mail.doubts.add("header")
            return values[-1 if self._reading.last_header else 0]
        return values[0]

    def _understand(self, found: Fields) -> _Head:
        kind, parameters = self._value(self._one(found, b"content-type"))
        disposition, more = self._value(self._one(found, b"content-disposition"))
        encoding, _ = self._value(self._one(found, b"content-transfer-encoding"))
        name = more.get("filename") or parameters.get("name") or b""
        return _Head(
            fields=found,
            subject=self._one(found, b"subject"),
            type=kind,
            parameters=parameters,
            encoding=encoding,
            attached=disposition == "attachment",
            name=decode_words(name[:MAX_VALUE]).lower() if name else "",
        )

    def _value(self, value: bytes) -> tuple[str, dict[str, bytes]]:
        first, parameters, twice = fields.value(value, last=self._reading.last_parameter)
        if twice:
            self.mail.doubts.add("parameter")
        return first, parameters

    def part(self, head: _Head, start: int, end: int, depth: int) -> _Shown:
        """What one part shows; the parts in it are read by the rules of its type."""
        self._parts -= 1
        if self._parts < 0 or depth > MAX_DEPTH:
            self.mail.note("truncated")
            return self._plain(_Head(), start, end) if self._parts >= 0 else _Shown()
        if head.type.startswith("multipart/") and (spans := self._split(head, start, end)):
            return self._multipart(head, spans, depth)
        if head.type == "message/rfc822" and head.encoding not in ("base64", "quoted-printable"):
            return self._forwarded(start, end, depth)
        textual = head.type.startswith(("text/", "multipart/", "message/rfc822")) or "/" not in head.type
        if textual and not head.attached:
            read = self._html if head.type == "text/html" else self._plain
            return read(head, start, end)
        if not head.type.startswith("message/"):
            self.mail.note("attachment:" + _kind_of_file(head))
        return _Shown()

    def _forwarded(self, start: int, end: int, depth: int) -> _Shown:
        head, body = self.head(start, end)
        inner = self.part(head, body, end, depth + 1)
        return _Shown(f"{decode_words(head.subject)}\n\n{inner.text}", inner.html, inner.plain)

    def _multipart(self, head: _Head, spans: list[tuple[int, int]], depth: int) -> _Shown:
        default = "message/rfc822" if head.type == "multipart/digest" else ""
        shown: list[_Shown] = []
        for start, end in spans:
            inner, body = self.head(start, end)
            if default and not inner.type:
                inner = _Head(type=default)
            seen = self.part(inner, body, end, depth + 1)
            if seen.text.strip():
                shown.append(seen)
            if self._parts < 0:
                break
        if head.type == "multipart/alternative":
            # RFC 2046 5.1.4: the last that can be shown; which is the HTML one in any client of today.
            return next((seen for seen in reversed(shown) if seen.html), shown[-1] if shown else _Shown())
        return _Shown(
            "\n\n".join(seen.text for seen in shown),
            any(seen.html for seen in shown),
            any(seen.plain for seen in shown),
        )

    def _split(self, head: _Head, start: int, end: int) -> list[tuple[int, int]]:
        """Where the parts are (RFC 2046 5.1.1); empty where the boundary is missing or never comes."""
        boundary = head.parameters.get("boundary", b"").rstrip()
        if not boundary:
            return []
        delimiter, opened = b"--" + boundary, -1
        spans: list[tuple[int, int]] = []
        at = start if self._raw.startswith(delimiter, start) else self._next(delimiter, start, end)
        while 0 <= at < end and len(spans) < MAX_PARTS and self._lines > 0:
            self._lines -= 1
            after = at + len(delimiter)
            line = self._raw.find(b"\n", after, end)
            rest = self._raw[after : min(after + 64, line if line >= 0 else end)].rstrip()
            if rest in (b"", b"--"):
                if opened >= 0:
                    spans.append((opened, at))
                opened = line + 1 if line >= 0 and not rest else -1
                if rest:
                    break
            at = self._next(delimiter, after, end)
        if opened >= 0:
            spans.append((opened, end))
        return spans

    def _next(self, delimiter: bytes, start: int, end: int) -> int:
        found = self._raw.find(b"\n" + delimiter, max(start - 1, 0), end)
        return found + 1 if found >= 0 else -1

    def _plain(self, head: _Head, start: int, end: int) -> _Shown:
        content = self._content(head, start, end)
        if b"begin " in content:
            content = _UUENCODED.sub(self._uuencoded, content, MAX_UUENCODED)
        self.saw_plain = True
        charset = head.parameters.get("charset", b"")
        self.charset = self.charset or charset
        text = decode(content, charset)
        self.mail.links += ((address, "") for address in islice(_ADDRESS.findall(text), MAX_LINKS))
        return _Shown(text, plain=True)

    def _uuencoded(self, blob: re.Match[bytes]) -> bytes:
        self.mail.note("attachment:" + _kind_of_file(_Head(name=decode(blob[1]).lower())))
        return b""

    def _html(self, head: _Head, start: int, end: int) -> _Shown:
        content = self._content(head, start, end)
        charset = head.parameters.get("charset", b"")
        if not charset and not content.isascii() and (meta := _META_CHARSET.search(content, 0, 2_048)):
            charset = meta[1]
        self.charset = self.charset or charset
        self._html_parts -= 1
        seen = visible(decode(content, charset), quick=self._html_parts < 0)
        self.mail.links += ((link.href, link.text) for link in seen.links[:MAX_LINKS])
        for fact in seen.facts:
            self.mail.note(fact)
        return _Shown(seen.text, html=True)

    def _content(self, head: _Head, start: int, end: int) -> bytes:
        """A part's bytes without their transfer encoding, as many as may still be read."""
        taken = min(end, start + self._bytes * (3 if head.encoding else 1))
        content = transfer.decoded(self._raw[start:taken], head.encoding)
        if taken < end or len(content) > self._bytes:
            self.mail.note("truncated")
        content = content[: self._bytes]
        self._bytes -= len(content)
        return content


def _kind_of_file(head: _Head) -> str:
    """A file's extension, or the subtype it was declared as."""
    if extension := _EXTENSION.search(head.name[-64:]):
        return extension[1]
    subtype = re.sub(r"[^a-z0-9.+-]", "", head.type.partition("/")[2])
    return subtype[:20] or "unknown"
