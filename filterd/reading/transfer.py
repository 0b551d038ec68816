"""Content-Transfer-Encodings (RFC 2045 6), read as generously as mail clients do."""

import binascii
import re
from typing import Final

__all__ = ["decoded", "from_base64", "without_uuencoded"]

MAX_PADDINGS: Final = 10_000  # "=" runs within one base64 part; an encoder writes one

MAX_UUENCODED: Final = 50  # files within one text; more are no files

_UUENCODED = re.compile(
    rb"^begin [0-7]{3,4} ([^\r\n]{1,200})\r?\n((?:M[ -`]{60}\r?\n)*+(?:[ -`]{0,61}\r?\n){0,3})", re.MULTILINE
)
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


def without_uuencoded(content: bytes) -> tuple[bytes, list[tuple[bytes, bytes]]]:
    """A text without the files that are uuencoded in it (POSIX uuencode), and their names and bytes."""
    files: list[tuple[bytes, bytes]] = []

    def take(blob: re.Match[bytes]) -> bytes:
        files.append((blob[1], b"".join(map(_from_uu, blob[2].splitlines()))))
        return b""

    return _UUENCODED.sub(take, content, MAX_UUENCODED), files


def _from_uu(line: bytes) -> bytes:
    try:
        return b"" if line == b"end" else binascii.a2b_uu(line)
    except binascii.Error:  # a line that was cut
        return b""
