"""Whether bytes are a mail or the text of an SMS, by their beginning.

Apart from `text.py`, which reads messages, because `filterd check` in a pipe asks a daemon to do that: what
this module imports is paid once a mail.
"""

import re
import zlib
from typing import Final

from filterd.api import Kind

__all__ = ["BOM", "GZIP", "detect", "header_block", "opened"]

DETECTED: Final = 16_384  # bytes looked at; trace headers of a long journey are shorter
GZIP: Final = b"\x1f\x8b\x08"  # RFC 1952 2.3.1; no mail and no SMS begins so
MAX_OPENED: Final = 33_554_432  # bytes of a compressed mail; what is further is not looked at
BOM: Final = b"\xef\xbb\xbf"  # of UTF-8, which some editors put in front of saved mails

# RFC 5322 2.2 with its folding; no blank before the colon except where MIME clients accept one.
_HEAD = re.compile(
    rb"(?:(?:[!-9;-~]++:(?!//)|content-[a-z-]++[ \t]++:|>?From )[^\n]*+(?:\n|\Z)"
    rb"(?:[ \t][^\n]*+(?:\n|\Z))*+)*+",
    re.IGNORECASE,
)
_WELL_KNOWN = re.compile(
    rb"^(?:from|to|cc|subject|date|sender|reply-to|received|return-path|delivered-to|message-id|mime-version"
    rb"|content-type|dkim-signature|envelope-to|list-id|x-mailer|x-spam-[a-z-]+)[ \t]*+:",
    re.IGNORECASE | re.MULTILINE,
)


def opened(raw: bytes, most: int = MAX_OPENED) -> bytes:
    """A mail as it was before Dovecot's zlib plugin compressed its file; any other bytes as they are."""
    if not raw.startswith(GZIP):
        return raw
    try:
        return zlib.decompressobj(wbits=31).decompress(raw, most)
    except zlib.error:  # begins like gzip, and is not
        return raw


def detect(raw: bytes) -> Kind:
    """MAIL where the bytes begin like a mail's headers, with one that every mail has; else SMS."""
    raw = opened(raw, DETECTED)
    start = len(BOM) if raw.startswith(BOM) else 0
    beginning = raw[start : start + DETECTED]
    end = header_block(beginning)
    is_mail = b"\n" in beginning[:end] and _WELL_KNOWN.search(beginning, 0, end)
    return Kind.MAIL if is_mail else Kind.SMS


def header_block(raw: bytes, start: int = 0) -> int:
    """Where the headers that begin at `start` end; `start` itself where there are none."""
    match = _HEAD.match(raw, start)
    return match.end() if match else start
