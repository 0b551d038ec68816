"""The head of a mail or of a part in it, and where the parts of a multipart are (RFC 2046 5.1)."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from filterd.reading import fields
from filterd.reading.charsets import decode_words
from filterd.reading.fields import MAX_VALUE, Fields
from filterd.reading.kind import header_block

__all__ = ["Head", "ReadingRule", "is_blank", "kind_of_file", "read_head", "spans"]

_EXTENSION = re.compile(r"\.([a-z0-9]{1,8})\s*\Z")
_SHOWN = re.compile(rb"[^\s\x00]")
# A line that is no header, and one that surely is behind it: clients go on there.
_JUNK = re.compile(
    rb"[^\r\n][^\n]{0,997}\n(?=(?:content-[a-z-]{4,20}|mime-version|from|to|cc|date|subject|reply-to|message-id"
    rb"|received|x-[a-z-]{2,40})[ \t]*:)",
    re.IGNORECASE,
)
MAX_JUNK: Final = 4  # such lines in one head
MAX_AFTER: Final = 64  # bytes between a boundary and its line's end; blanks are allowed there


@dataclass(frozen=True, slots=True)
class ReadingRule:
    """Which of two contradicting headers or parameters is believed; clients differ."""

    last_header: bool = False
    last_parameter: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """The headers of a mail or part that matter here. name: the file's, in small letters."""

    fields: Fields = field(default_factory=dict)
    subject: bytes = b""
    type: str = ""
    parameters: Mapping[str, bytes] = field(default_factory=dict)
    encoding: str = ""
    attached: bool = False
    name: str = ""

    @property
    def charset(self) -> bytes:
        """The declared one, "" for none."""
        return self.parameters.get("charset", b"")


def read_head(raw: bytes, start: int, end: int, reading: ReadingRule, doubts: set[str]) -> tuple[Head, int]:
    """The headers at `start` and where the body begins (RFC 5322 2.1).

    doubts: gets "header" or "parameter" where one is there twice and says different things.
    """
    stop = min(header_block(raw, start), end)
    for _ in range(MAX_JUNK if stop > start else 0):
        if not (junk := _JUNK.match(raw, stop, end)):
            break
        stop = min(header_block(raw, junk.end()), end)
    body = stop
    for blank in (b"\n", b"\r\n"):
        if raw.startswith(blank, stop):
            body = min(stop + len(blank), end)
    return _understood(fields.find(raw, start, stop), reading, doubts), body


def _understood(found: Fields, reading: ReadingRule, doubts: set[str]) -> Head:
    def one(name: bytes) -> bytes:
        values = found.get(name)
        if not values:
            return b""
        if len(values) > 1 and len(set(values)) > 1:
            doubts.add("header")
            return values[-1 if reading.last_header else 0]
        return values[0]

    def parsed(name: bytes) -> tuple[str, Mapping[str, bytes]]:
        if not (whole := one(name)):
            return "", {}
        first, parameters, twice = fields.value(whole, last=reading.last_parameter)
        if twice:
            doubts.add("parameter")
        return first, parameters

    kind, parameters = parsed(b"content-type")
    disposition, more = parsed(b"content-disposition")
    name = more.get("filename") or parameters.get("name") or b""
    return Head(
        fields=found,
        subject=one(b"subject"),
        type=kind,
        parameters=parameters,
        encoding=parsed(b"content-transfer-encoding")[0],
        attached=disposition == "attachment",
        name=decode_words(name[:MAX_VALUE]).lower() if name else "",
    )


def spans(raw: bytes, boundary: bytes, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Where each part begins and ends; nothing where the boundary is missing or never comes.

    A part without any byte is passed over. A boundary line that is none after all comes as (at, at).
    """
    delimiter, opened = b"--" + boundary.rstrip(), -1
    at = start if raw.startswith(delimiter, start) else _next(raw, delimiter, start, end)
    while boundary and 0 <= at < end:
        after = at + len(delimiter)
        line = raw.find(b"\n", after, end)
        rest = raw[after : min(after + MAX_AFTER, line if line >= 0 else end)].rstrip()
        if rest in (b"", b"--"):
            yield (opened, at) if opened >= 0 else (at, at)
            opened = line + 1 if line >= 0 and not rest else -1
            if rest:
                return
        else:
            yield at, at
        at = _next(raw, delimiter, after, end)
    if opened >= 0:
        yield opened, end


def _next(raw: bytes, delimiter: bytes, start: int, end: int) -> int:
    found = raw.find(b"\n" + delimiter, max(start - 1, 0), end)
    return found + 1 if found >= 0 else -1


def is_blank(raw: bytes, start: int, end: int) -> bool:
    """Whether nothing but white space is there."""
    return not _SHOWN.search(raw, start, end)


def kind_of_file(head: Head) -> str:
    """A file's extension, or the subtype it was declared as."""
    if extension := _EXTENSION.search(head.name[-64:]):
        return extension[1]
    subtype = re.sub(r"[^a-z0-9.+-]", "", head.type.partition("/")[2])
    return subtype[:20] or "unknown"
