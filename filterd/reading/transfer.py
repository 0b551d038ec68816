"""Content-Transfer-Encodings (RFC 2045 6), read as generously as mail clients do."""

import binascii
import re
from typing import Final

__all__ = ["decoded", "from_base64"]

MAX_PADDINGS: Final = 10_000  # "=" runs within one base64 part; an encoder writes one

_BASE64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/="
_NOT_BASE64 = bytes(set(range(256)) - set(_BASE64))
_SOFT_BREAK = re.compile(rb"=[ \t]++(?=\r?\n)")  # RFC 2045 6.7 (3): blanks at a line's end were not sent


def decoded(content: bytes, encoding: str) -> bytes:
    """The bytes without their encoding; unknown ones are read as they stand."""
    if encoding == "base64":
        return from_base64(content)
    if encoding == "quoted-printable":
        if b"= " in content or b"=\t" in content:
            content = _SOFT_BREAK.sub(b"=", content)
        return binascii.a2b_qp(content)
    return content


def from_base64(content: bytes) -> bytes:
    """All that can be decoded: also when cut off, and past padding in the middle, as clients do."""
    clean = content.translate(None, _NOT_BASE64)
    runs = [run for run in clean.split(b"=", MAX_PADDINGS) if run]
    return b"".join(_run(run) for run in runs)


def _run(run: bytes) -> bytes:
    if len(run) % 4 == 1:
        run = run[:-1]
    try:
        return binascii.a2b_base64(run + b"=" * (-len(run) % 4))
    except binascii.Error:  # more padding than MAX_PADDINGS
        return b""
