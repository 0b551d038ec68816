"""The header fields of a mail or a part (RFC 5322 2.2), and the parameters of MIME's (RFC 2045 5.1, 2231)."""

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Final, NamedTuple
from urllib.parse import unquote_to_bytes

from filterd.reading.charsets import decode

__all__ = ["MAX_HEAD", "MAX_VALUE", "Fields", "find", "value"]

MAX_HEAD: Final = 131_072  # bytes of one part's headers; Postfix accepts 102,400
MAX_VALUE: Final = 8_192  # bytes of one field; To and References of real mails have a few thousand
MAX_REPEATS: Final = 8  # fields of one name that are kept; a journey of eight servers is a long one

MAX_CACHED: Final = 128  # bytes of a field that is remembered; one with a boundary is no other mail's

Fields = Mapping[bytes, Sequence[bytes]]  # values as they stand, by name in small letters, top first


class Value(NamedTuple):
    """A field's value in small letters, its parameters, and whether one is there twice and differs."""

    first: str
    parameters: Mapping[str, bytes]
    twice: bool


# One field with its folded lines, or one line that is none; matches follow each other without a gap.
_FIELD = re.compile(rb"([!-9;-~]++)[ \t]*+:([^\n]*+(?:\n[ \t][^\n]*+)*+)\n?|[^\n]*+\n")
_WANTED: Final = frozenset(
    b"subject content-type content-transfer-encoding content-disposition".split()
    + b"from reply-to to cc date message-id in-reply-to references received".split()
    + b"list-id list-unsubscribe precedence authentication-results arc-authentication-results".split()
)
_COMMENT = re.compile(rb'("(?:[^"\\]|\\.)*+"?)|\((?:[^()\\]|\\.)*+\)', re.DOTALL)
_PARAMETER = re.compile(
    rb';\s*([a-z]+)(\*?[0-9]*\*?)\s*=\s*("(?:[^"\\]|\\.)*+"?|[^;\s]*+)', re.IGNORECASE | re.DOTALL
)


def find(raw: bytes, start: int, end: int) -> Fields:
    """The fields that matter in a header block, MAX_HEAD bytes of it at most."""
    found: dict[bytes, list[bytes]] = {}
    for name, content in _FIELD.findall(raw, start, min(end, start + MAX_HEAD)):
        if (key := name.lower()) in _WANTED:
            values = found.setdefault(key, [])
            if len(values) < MAX_REPEATS:
                values.append(content.strip()[:MAX_VALUE])
    return found


def value(whole: bytes, *, last: bool = False) -> Value:
    """A Content-* field as its value, its parameters, and whether one of these is there twice and differs.

    last: of two that differ the last holds. RFC 2231's pieces are joined and its percent signs decoded.
    """
    return (_value if len(whole) <= MAX_CACHED else _value.__wrapped__)(whole, last)


@lru_cache(maxsize=512)  # most mails have the same few
def _value(whole: bytes, last: bool) -> Value:
    for _ in range(3 if b"(" in whole else 0):
        whole = _COMMENT.sub(lambda m: m[1] or b"", whole)
    first, _, rest = whole.partition(b";")
    parameters: dict[str, bytes] = {}
    twice = False
    for match in _PARAMETER.finditer(whole, len(first)) if rest else ():
        name, piece = match[1].decode("ascii").lower(), match[2].strip(b"*")
        text = _unquoted(match[3], extended=match[2].endswith(b"*"), beginning=piece in (b"", b"0"))
        if piece not in (b"", b"0"):
            text = parameters.get(name, b"") + text
        elif name in parameters and parameters[name] != text:
            twice = True
            if not last:
                continue
        parameters[name] = text
    return Value(first.strip().split(b" ")[0].decode("ascii", "replace").lower(), parameters, twice)


def _unquoted(text: bytes, *, extended: bool, beginning: bool) -> bytes:
    """A parameter's value without quotes, or without RFC 2231's charset, language and percent signs."""
    if text.startswith(b'"'):
        text = re.sub(rb"\\(.)", rb"\1", text[1:].removesuffix(b'"'), flags=re.DOTALL)
    if not extended:
        return text
    if beginning and text.count(b"'") >= 2:
        charset, _, rest = text.partition(b"'")
        return decode(unquote_to_bytes(rest.partition(b"'")[2]), charset=charset).encode()
    return unquote_to_bytes(text)
