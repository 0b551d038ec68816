"""The words of an attachment: what somebody reads who opens it.

Pure functions of its bytes, bounded in time and memory like all of the reader. What cannot be read as text
gives no words; its name and type are facts that `mime.py` notes.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from html import unescape
from typing import Final

from filterd.reading import html
from filterd.reading.html import Link

__all__ = ["Words", "words"]

MAX_BYTES: Final = 1_048_576  # of one attachment; what is further is not looked at
MAX_TEXT: Final = 32_768  # characters of one attachment


@dataclass(frozen=True, slots=True)
class Words:
    """text: what is shown, "" for nothing. links: of HTML. facts: as a mail's, such as "truncated"."""

    text: str = ""
    links: tuple[Link, ...] = ()
    facts: tuple[str, ...] = ()


def words(media_type: str, name: str, data: bytes) -> Words:
    """The words of one attachment; by its media type, or its file name where that says nothing. Never raises.

    media_type: in small letters, without parameters. name: the file's, in small letters. data: without
    transfer encoding.
    """
    read = _BY_TYPE.get(media_type) or _BY_EXTENSION.get(name.rpartition(".")[2])
    if read is None and media_type.startswith("text/"):
        read = _text
    return _bounded(read(data[:MAX_BYTES]), len(data)) if read else Words()


def _bounded(found: Words, size: int) -> Words:
    if size <= MAX_BYTES and len(found.text) <= MAX_TEXT:
        return found
    return Words(found.text[:MAX_TEXT], found.links, (*found.facts, "truncated"))


def _decoded(data: bytes) -> str:
    """Bytes as text by their byte order mark, else UTF-8, else cp1252."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16", "replace")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("cp1252", "replace")


def _text(data: bytes) -> Words:
    return Words(_decoded(data))


def _html(data: bytes) -> Words:
    seen = html.visible(_decoded(data))
    return Words(seen.text, seen.links, seen.facts)


_TEXT_NODE = re.compile(r"<!--.*?(?:-->|\Z)|<(script|style|metadata)\b.*?(?:</\1\s*>|\Z)|<[^>]*>?", re.DOTALL)
_XLINK = re.compile(r"""\bhref\s*=\s*["']([^"'#\s][^"']{0,499})""")


def _svg(data: bytes) -> Words:
    source = _decoded(data)
    links = tuple(Link(href) for href in _XLINK.findall(source)[: html.MAX_LINKS])
    return Words(unescape(_TEXT_NODE.sub(" ", source)), links)


_FOLD = re.compile(r"\r?\n[ \t]")
_ICS_LINE = re.compile(r"^(?:SUMMARY|DESCRIPTION|LOCATION|COMMENT|URL)[^:\n]{0,200}:(.*)$", re.MULTILINE)
_ICS_ESCAPE = re.compile(r"\\([nN,;\\])")


def _ics(data: bytes) -> Words:
    """A calendar's texts (RFC 5545 3.3.11), unfolded."""
    lines = _ICS_LINE.findall(_FOLD.sub("", _decoded(data)).replace("\r", ""))
    return Words(_ICS_ESCAPE.sub(lambda m: "\n" if m[1] in "nN" else m[1], "\n".join(lines)))


_BY_TYPE: Final[dict[str, Callable[[bytes], Words]]] = {
    "text/html": _html,
    "application/xhtml+xml": _html,
    "image/svg+xml": _svg,
    "text/calendar": _ics,
    "application/ics": _ics,
    "message/delivery-status": _text,
}
_BY_EXTENSION: Final[dict[str, Callable[[bytes], Words]]] = {
    **dict.fromkeys(["html", "htm", "xhtml", "shtml"], _html),
    "svg": _svg,
    "ics": _ics,
    **dict.fromkeys(["txt", "text", "log", "csv", "md"], _text),
}
