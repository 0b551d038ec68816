"""The words of an attachment: what somebody reads who opens it.

Pure functions of its bytes, bounded in time and memory like all of the reader. What cannot be read as text
gives no words; its name and type are facts that `mime.py` notes.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from html import unescape
from typing import Final

from filterd.reading import html, pdf
from filterd.reading.html import Link

__all__ = ["AttachmentText", "words"]

MAX_BYTES: Final = 1_048_576  # of one attachment; what is further is not looked at
MAX_TEXT: Final = 32_768  # characters of one attachment
MAX_NAMES: Final = 20  # of files in an archive
MAX_NAME: Final = 200  # bytes of one of them


@dataclass(frozen=True, slots=True)
class AttachmentText:
    """text: what is shown, "" for nothing. links: of HTML. facts: as a mail's, such as "archive:exe"."""

    text: str = ""
    links: tuple[Link, ...] = ()
    facts: tuple[str, ...] = ()


def words(media_type: str, name: str, data: bytes) -> AttachmentText:
    """The words of one attachment; by its media type, or its file name where that says nothing. Never raises.

    media_type: in small letters, without parameters. name: the file's, in small letters. data: without
    transfer encoding.
    """
    read = _BY_TYPE.get(media_type) or _BY_EXTENSION.get(name.rpartition(".")[2])
    if read is None and media_type.startswith("text/"):
        read = _text
    return _bounded(read(data[:MAX_BYTES]), len(data)) if read else AttachmentText()


def _bounded(found: AttachmentText, size: int) -> AttachmentText:
    if size <= MAX_BYTES and len(found.text) <= MAX_TEXT:
        return found
    return AttachmentText(found.text[:MAX_TEXT], found.links, (*found.facts, "truncated"))


def _decoded(data: bytes) -> str:
    """Bytes as text by their byte order mark, else UTF-8, else cp1252."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16", "replace")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("cp1252", "replace")


def _text(data: bytes) -> AttachmentText:
    return AttachmentText(_decoded(data))


def _html(data: bytes) -> AttachmentText:
    seen = html.visible(_decoded(data))
    return AttachmentText(seen.text, seen.links, seen.facts)


_TEXT_NODE = re.compile(r"<!--.*?(?:-->|\Z)|<(script|style|metadata)\b.*?(?:</\1\s*>|\Z)|<[^>]*>?", re.DOTALL)
_XLINK = re.compile(r"""\bhref\s*=\s*["']([^"'#\s][^"']{0,499})""")


def _svg(data: bytes) -> AttachmentText:
    source = _decoded(data)
    links = tuple(Link(href) for href in _XLINK.findall(source)[: html.MAX_LINKS])
    return AttachmentText(unescape(_TEXT_NODE.sub(" ", source)), links)


_FOLD = re.compile(r"\r?\n[ \t]")
_ICS_LINE = re.compile(r"^(?:SUMMARY|DESCRIPTION|LOCATION|COMMENT|URL)[^:\n]{0,200}:(.*)$", re.MULTILINE)
_ICS_ESCAPE = re.compile(r"\\([nN,;\\])")


def _ics(data: bytes) -> AttachmentText:
    """A calendar's texts (RFC 5545 3.3.11), unfolded."""
    lines = _ICS_LINE.findall(_FOLD.sub("", _decoded(data)).replace("\r", ""))
    return AttachmentText(_ICS_ESCAPE.sub(lambda m: "\n" if m[1] in "nN" else m[1], "\n".join(lines)))


def _pdf(data: bytes) -> AttachmentText:
    text, links = pdf.read(data)
    return AttachmentText(text, tuple(Link(href[: html.MAX_HREF]) for href in links))


_LOCAL_FILE: Final = b"PK\x03\x04"
_EXTENSION = re.compile(r"\.([a-z0-9]{1,8})\Z")


def _zip(data: bytes) -> AttachmentText:
    """The names of the files in a ZIP archive (APPNOTE 4.3.7), also of one that was cut off."""
    names: list[str] = []
    locked = False
    at = data.find(_LOCAL_FILE)
    while at >= 0 and len(names) < MAX_NAMES and at + 30 <= len(data):
        locked = locked or bool(data[at + 6] & 1)
        size = int.from_bytes(data[at + 26 : at + 28], "little")
        names.append(_decoded(data[at + 30 : at + 30 + min(size, MAX_NAME)]))
        at = data.find(_LOCAL_FILE, at + 30)
    kinds = dict.fromkeys(f"archive:{kind[1]}" for name in names if (kind := _EXTENSION.search(name.lower())))
    return AttachmentText("\n".join(names), facts=(*kinds, *(["archive-locked"] if locked else [])))


_BY_TYPE: Final[dict[str, Callable[[bytes], AttachmentText]]] = {
    "text/html": _html,
    "application/xhtml+xml": _html,
    "image/svg+xml": _svg,
    "text/calendar": _ics,
    "application/ics": _ics,
    "message/delivery-status": _text,
    "application/pdf": _pdf,
    "application/zip": _zip,
    "application/x-zip-compressed": _zip,
}
_BY_EXTENSION: Final[dict[str, Callable[[bytes], AttachmentText]]] = {
    **dict.fromkeys(["html", "htm", "xhtml", "shtml"], _html),
    "svg": _svg,
    "ics": _ics,
    "pdf": _pdf,
    "zip": _zip,
    **dict.fromkeys(["txt", "text", "log", "csv", "md"], _text),
}
