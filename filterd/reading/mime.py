"""A mail's bytes to what a person sees first: subject, shown text, and what is attached.

Not built on stdlib `email`, because its parser recurses, its feed is slow on hostile input and it picks
one reading where clients differ. This walker only looks for headers it needs and for boundary lines, by
C-speed searches on the raw bytes: nothing is copied but the text parts, each step is linear, every loop
has a bound. It follows RFC 5322, RFC 2045–2047 and RFC 2231, and where a mail breaks them it shows more
rather than less. Nothing here raises on any input.
"""

import binascii
import re
from dataclasses import dataclass, field
from encodings.aliases import aliases
from typing import Final

from filterd.reading.html import visible
from filterd.reading.kind import header_block

__all__ = ["Mail", "Reading", "decode", "parse"]

MAX_DEPTH: Final = 12  # forwarded digests reach 6; the deepest of 6,046 SpamAssassin mails has 4
MAX_PARTS: Final = 500  # a mail with more is a bomb; the parts seen so far are judged
MAX_TEXT_BYTES: Final = 524_288  # decoded text of one mail; the model reads a few thousand characters
MAX_HTML_PARTS: Final = 3  # rendered as a browser would; further ones lose their tags the cheap way
MAX_HEAD: Final = 131_072  # bytes of one part's headers; Postfix accepts 102,400
MAX_VALUE: Final = 8_192  # bytes of one Content-* header
MAX_SUBJECT: Final = 4_096  # bytes of a Subject before decoding
MAX_ATTACHMENTS: Final = 10  # facts about attachments
MAX_UUENCODED: Final = 50  # files within one text; more are no files
MAX_LINES: Final = 20_000  # lines of one mail that begin like a boundary; real ones have two a part
MAX_PADDINGS: Final = 10_000  # "=" runs within one base64 part; an encoder writes one

# The first letter comes first, and case is folded after it, so that the search skips from s to c to s.
_WANTED = re.compile(
    rb"([sScC](?<![^\n].)(?i:ubject|ontent-(?:type|transfer-encoding|disposition)))[ \t]*+:"
    rb"([^\n]*+(?:\n[ \t][^\n]*+)*+)"
)
_COMMENT = re.compile(rb'("(?:[^"\\]|\\.)*+"?)|\((?:[^()\\]|\\.)*+\)', re.DOTALL)
_PARAMETER = re.compile(
    rb';\s*([a-z]+)(\*?[0-9]*\*?)\s*=\s*("(?:[^"\\]|\\.)*+"?|[^;\s]*+)', re.IGNORECASE | re.DOTALL
)
_ENCODED_WORD = re.compile(rb"=\?([^?\s*]{1,40})(?:\*[^?\s]{0,40})?\?([bq])\?([^?\n]*+)\?=", re.IGNORECASE)
_UUENCODED = re.compile(
    rb"^begin [0-7]{3,4} ([^\r\n]{1,200})\r?\n(?:M[ -`]{60}\r?\n)*+(?:[ -`]{0,61}\r?\n){0,3}", re.MULTILINE
)
_BASE64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/="
_NOT_BASE64 = bytes(set(range(256)) - set(_BASE64))
_META_CHARSET = re.compile(rb"""<meta[^>]{0,200}?charset\s*=\s*["']?([A-Za-z0-9_:.-]{1,40})""", re.IGNORECASE)
_EXTENSION = re.compile(r"\.([a-z0-9]{1,8})\s*\Z")

# Python's text codecs by every name they go by, letters and digits only. A table of our own: a look-up by
# `codecs` would import modules by the sender's choice, remember every name for ever, and offer codecs
# that are no charsets (zlib, idna, unicode_escape, rot13).
_NO_CHARSETS = frozenset(
    [
        "base64_codec",
        "bz2_codec",
        "hex_codec",
        "quopri_codec",
        "rot_13",
        "uu_codec",
        "zlib_codec",
        "mbcs",
        "tactis",
    ]
)
_CHARSETS: Final[dict[str, str]] = {
    re.sub("[^a-z0-9]", "", name): codec
    for alias, codec in aliases.items()
    if codec not in _NO_CHARSETS
    for name in (alias, codec)
} | {  # what senders say and browsers do (WHATWG Encoding Standard 4.2)
    **dict.fromkeys(["gb2312", "gbk", "euccn", "xgbk", "csgb2312"], "gb18030"),
    **dict.fromkeys(["ksc56011987", "ksc5601", "euckr", "cskseuckr"], "cp949"),
    **dict.fromkeys(["shiftjis", "sjis", "xsjis", "windows31j"], "cp932"),
    **dict.fromkeys(["big5", "xxbig5", "cnbig5"], "big5hkscs"),
    **dict.fromkeys(["iso88598i", "iso88598e"], "iso8859_8"),
    **dict.fromkeys(["windows874", "iso885911"], "cp874"),
    "xmacroman": "mac_roman",
}
# Declared by programs that do not know: the bytes tell better.
_VAGUE = frozenset(["ascii", "latin_1", "cp1252", "utf_8"])


@dataclass(frozen=True, slots=True)
class Reading:
    """Which of two contradicting headers or parameters is believed; clients differ."""

    last_header: bool = False
    last_parameter: bool = False


@dataclass(slots=True)
class Mail:
    """One reading of a mail. doubts: what was there twice, "header" or "parameter"."""

    subject: str = ""
    text: str = ""
    facts: list[str] = field(default_factory=list)
    doubts: set[str] = field(default_factory=set)

    def note(self, fact: str) -> None:
        """Add a fact once; of attachments the first few."""
        if fact not in self.facts and len(self.facts) < MAX_ATTACHMENTS + 5:
            self.facts.append(fact)


@dataclass(frozen=True, slots=True)
class _Head:
    """The headers of a mail or part that matter here."""

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
    head, body = walk.head(0, len(raw))
    walk.mail.subject = decode_words(head.subject)
    shown = walk.part(head, body, len(raw), 0)
    walk.mail.text = shown.text
    if shown.html and not walk.saw_plain:
        walk.mail.note("html-only")
    return walk.mail


class _Walk:
    """One way through a mail, with what may still be spent on it."""

    def __init__(self, raw: bytes, reading: Reading) -> None:
        self.mail = Mail()
        self.saw_plain = False
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
        found: dict[bytes, bytes] = {}
        for match in _WANTED.finditer(self._raw, start, min(stop, start + MAX_HEAD)):
            name, value = match[1].lower(), match[2].strip()
            if name in found and found[name] != value:
                self.mail.doubts.add("header")
                if not self._reading.last_header:
                    continue
            found[name] = value
        return self._understand(found), body

    def _understand(self, found: dict[bytes, bytes]) -> _Head:
        kind, parameters = self._value(found.get(b"content-type", b""))
        disposition, more = self._value(found.get(b"content-disposition", b""))
        encoding, _ = self._value(found.get(b"content-transfer-encoding", b""))
        name = more.get("filename") or parameters.get("name") or b""
        return _Head(
            subject=found.get(b"subject", b""),
            type=kind,
            parameters=parameters,
            encoding=encoding,
            attached=disposition == "attachment",
            name=decode_words(name[:MAX_VALUE]).lower(),
        )

    def _value(self, value: bytes) -> tuple[str, dict[str, bytes]]:
        """A Content-* value and its parameters; RFC 2231 pieces joined, percent signs as they are."""
        value = value[:MAX_VALUE]
        for _ in range(3 if b"(" in value else 0):
            value = _COMMENT.sub(lambda m: m[1] or b"", value)
        first, _, _ = value.partition(b";")
        parameters: dict[str, bytes] = {}
        for match in _PARAMETER.finditer(value):
            name, piece = match[1].decode("ascii").lower(), match[2].strip(b"*")
            text = match[3]
            if text.startswith(b'"'):
                text = re.sub(rb"\\(.)", rb"\1", text[1:].removesuffix(b'"'))
            if piece not in (b"", b"0"):
                text = parameters.get(name, b"") + text
            elif name in parameters and parameters[name] != text:
                self.mail.doubts.add("parameter")
                if not self._reading.last_parameter:
                    continue
            parameters[name] = text
        return first.strip().split(b" ")[0].decode("ascii", "replace").lower(), parameters

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
        return _Shown(decode(content, head.parameters.get("charset", b"")), plain=True)

    def _uuencoded(self, blob: re.Match[bytes]) -> bytes:
        self.mail.note("attachment:" + _kind_of_file(_Head(name=decode(blob[1]).lower())))
        return b""

    def _html(self, head: _Head, start: int, end: int) -> _Shown:
        content = self._content(head, start, end)
        charset = head.parameters.get("charset", b"")
        if not charset and not content.isascii() and (meta := _META_CHARSET.search(content, 0, 2_048)):
            charset = meta[1]
        self._html_parts -= 1
        seen = visible(decode(content, charset), quick=self._html_parts < 0)
        for fact, holds in (("hidden-text", seen.hidden), ("tangled-html", not seen.whole)):
            if holds:
                self.mail.note(fact)
        return _Shown(seen.text, html=True)

    def _content(self, head: _Head, start: int, end: int) -> bytes:
        """A part's bytes without their transfer encoding, as many as may still be read."""
        taken = min(end, start + self._bytes * (3 if head.encoding else 1))
        content = _transfer_decoded(self._raw[start:taken], head.encoding)
        if taken < end or len(content) > self._bytes:
            self.mail.note("truncated")
        content = content[: self._bytes]
        self._bytes -= len(content)
        return content


def decode_words(value: bytes) -> str:
    """A header's text with its encoded words (RFC 2047); a character may be cut between two words."""
    value = value[:MAX_SUBJECT]
    pieces: list[tuple[bytes, bytes]] = []  # charset and bytes
    at = 0
    for word in _ENCODED_WORD.finditer(value):
        between = value[at : word.start()]
        if between.strip() or not pieces or not pieces[-1][0]:
            pieces.append((b"", between))
        text = _from_base64(word[3]) if word[2] in b"bB" else binascii.a2b_qp(word[3], header=True)
        charset = word[1].lower()
        if pieces and pieces[-1][0] == charset:
            text = pieces.pop()[1] + text
        pieces.append((charset, text))
        at = word.end()
    pieces.append((b"", value[at:]))
    return "".join(decode(text, charset) for charset, text in pieces).replace("\r", "").replace("\n", "")


def decode(content: bytes, charset: bytes = b"") -> str:
    """Bytes as text in a declared charset; where it is unknown or vague, UTF-8 if they are, else cp1252."""
    if content.isascii() and b"\x00" not in content and b"+" not in content and b"\x1b" not in content:
        return content.decode("ascii")
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return content.decode("utf-16", "replace")
    codec = _codec(charset)
    if codec.startswith(("utf_16", "utf_32")) and content.isascii() and b"\x00" not in content:
        codec = "ascii"  # claims wide characters to look like garbage to filters; clients show the ASCII
    if not codec or codec in _VAGUE:
        try:
            return content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            # Cut within a character; a Latin-1 text that ends in an accent has no UTF-8 before it.
            cut_off = error.reason == "unexpected end of data" and not content[: error.start].isascii()
            codec = "utf_8" if codec == "utf_8" or cut_off else "cp1252"
    try:
        return content.decode(codec, "replace")
    except (UnicodeError, LookupError):  # a codec that refuses its input whole, or one this Python lacks
        return content.decode("cp1252", "replace")


def _codec(charset: bytes) -> str:
    """Python's name of a charset, "" where there is none."""
    name = charset[:64].decode("ascii", "replace").lower().partition("'")[0]
    return _CHARSETS.get(re.sub("[^a-z0-9]", "", name), "")


def _transfer_decoded(content: bytes, encoding: str) -> bytes:
    """RFC 2045 6; unknown encodings are read as they stand."""
    if encoding == "base64":
        return _from_base64(content)
    if encoding == "quoted-printable":
        return binascii.a2b_qp(content)
    return content


def _from_base64(content: bytes) -> bytes:
    """All that can be decoded: also when cut off, and past padding in the middle, as clients do."""
    clean = content.translate(None, _NOT_BASE64)
    runs = [run for run in clean.split(b"=", MAX_PADDINGS) if run]
    return b"".join(_base64_run(run) for run in runs)


def _base64_run(run: bytes) -> bytes:
    if len(run) % 4 == 1:
        run = run[:-1]
    try:
        return binascii.a2b_base64(run + b"=" * (-len(run) % 4))
    except binascii.Error:  # more padding than MAX_PADDINGS
        return b""


def _kind_of_file(head: _Head) -> str:
    """A file's extension, or the subtype it was declared as."""
    if extension := _EXTENSION.search(head.name[-64:]):
        return extension[1]
    subtype = re.sub(r"[^a-z0-9.+-]", "", head.type.partition("/")[2])
    return subtype[:20] or "unknown"
