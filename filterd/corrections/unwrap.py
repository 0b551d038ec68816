"""The message that a correction is about, where it comes wrapped in another: forwarded, or by report_safe.

SpamAssassin's report_safe puts a spam into a mail of its own, as a part of type message/rfc822; people
forward mail as an attachment. A mail is taken for such a wrapper where it has one part of that type and says
nothing itself. Only the first MAX_LOOKED bytes are searched, by lines that begin with the boundary.
"""

import base64
import binascii
import quopri
import re
from itertools import pairwise
from typing import Final

MAX_LOOKED: Final = 1 << 20  # bytes in which the inner message has to begin
MAX_HEAD: Final = 65_536  # bytes of the wrapper's headers, and of a part's
MAX_PARTS: Final = 20
SAYS_NOTHING: Final = 200  # characters of the wrapper's own text: a greeting and a signature

_BOUNDARY = re.compile(rb'\bboundary\s*=\s*(?:"([^"\n]{1,70})"|([^\s;"]{1,70}))', re.IGNORECASE)
_TYPE = re.compile(rb"^content-type:[ \t]*([^;\s]+)", re.IGNORECASE | re.MULTILINE)
_ENCODING = re.compile(rb"^content-transfer-encoding:[ \t]*([^;\s]+)", re.IGNORECASE | re.MULTILINE)
_REPORT_SAFE = re.compile(rb"^content-description:[ \t]*original message before", re.I | re.M)
_FOLD = re.compile(rb"\n[ \t]+")
_BLANK_LINE = re.compile(rb"\r?\n\r?\n")


def unwrapped(raw: bytes) -> bytes:
    """The inner message of a wrapper; every other mail as it is."""
    head = _head(raw)
    boundary = _BOUNDARY.search(head)
    if not boundary or not head.lower().count(b"multipart/"):
        return raw
    parts = _parts(raw, boundary[1] or boundary[2])
    inner = [part for part in parts if _type(part) == b"message/rfc822"]
    if len(inner) != 1:
        return raw
    reported = any(_REPORT_SAFE.search(_head(part)) for part in inner)
    own = sum(len(_body(part)) for part in parts if _type(part) == b"text/plain")
    if not reported and (own > SAYS_NOTHING or len(parts) > 2):
        return raw
    return _body(inner[0]) or raw


def _parts(raw: bytes, boundary: bytes) -> list[bytes]:
    """The parts of a multipart; of the one that goes beyond what is looked at all of it."""
    line = b"\n--" + boundary
    ends: list[int] = []
    at = raw.find(line)
    while at != -1 and len(ends) <= MAX_PARTS and at < MAX_LOOKED:
        ends.append(at)
        at = raw.find(line, at + 1)
    ends.append(at if at != -1 else len(raw))
    pieces = [raw[start + len(line) : end] for start, end in pairwise(ends)]
    return [piece.partition(b"\n")[2] for piece in pieces if not piece.startswith(b"--")]


def _head(part: bytes) -> bytes:
    found = _BLANK_LINE.search(part, 0, MAX_HEAD)
    return _FOLD.sub(b" ", part[: found.start() if found else MAX_HEAD].replace(b"\r\n", b"\n"))


def _body(part: bytes) -> bytes:
    found = _BLANK_LINE.search(part, 0, MAX_HEAD)
    body = part[found.end() :] if found else b""
    encoding = _ENCODING.search(_head(part))
    match encoding[1].lower() if encoding else b"":
        case b"base64":
            try:
                return base64.b64decode(body)
            except binascii.Error:
                return b""
        case b"quoted-printable":
            return quopri.decodestring(body)
        case _:
            return body


def _type(part: bytes) -> bytes:
    found = _TYPE.search(_head(part))
    return found[1].lower() if found else b"text/plain"
