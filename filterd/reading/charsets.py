"""Bytes in a declared charset as text, as mail clients and browsers do; RFC 2047 encoded words.

The names are WHATWG's (Encoding Standard 4.2, by the package webencodings) and Python's own for what that
list lacks, in one table: a look-up by `codecs` would import modules by the sender's choice, remember every
name for ever, and offer codecs that are no charsets (zlib, idna, unicode_escape, rot13).
"""

import binascii
import re
from encodings.aliases import aliases
from functools import lru_cache
from typing import Final

from webencodings.labels import LABELS  # type: ignore[import-untyped]

from filterd.reading.transfer import from_base64

__all__ = ["charset_of_words", "codec_of", "decode", "decode_words"]

MAX_WORDS: Final = 4_096  # bytes of a header value before its encoded words are decoded
MAX_CHARSET: Final = 64  # characters of a name; the longest on WHATWG's list has 19

_ENCODED_WORD = re.compile(
    rb"=\?([^?\s*]{1,40})(?:\*[^?\s]{0,40})?\?([bq])\?((?:[^?]|\?(?!=))*+)\?=", re.IGNORECASE
)
_FOLD = re.compile(rb"[\r\n]+[ \t]*")
# No charsets at all, and EBCDIC, which no mail client reads: bytes in it are shown as something else.
_NO_CHARSETS: Final = frozenset(
    [
        *(
            "base64_codec",
            "bz2_codec",
            "hex_codec",
            "quopri_codec",
            "rot_13",
            "uu_codec",
            "zlib_codec",
            "mbcs",
        ),
        *("tactis", "cp037", "cp273", "cp424", "cp500", "cp875", "cp1026", "cp1140"),
    ]
)
# Python's codec for an encoding of WHATWG's, where its name is another or the codec knows too little.
_CODECS: Final = {
    "gbk": "gb18030", "big5": "big5hkscs", "euc-kr": "cp949", "shift_jis": "cp932", "macintosh": "mac_roman",
    "x-mac-cyrillic": "mac_cyrillic", "ibm866": "cp866", "iso-8859-8-i": "iso8859_8",
    "x-user-defined": "latin_1", "windows-874": "cp874",
}  # fmt: skip
_MAY_SHIFT = re.compile(
    rb"[\x00+\x1b~]"
)  # what stands for more than itself in ISO 2022, HZ, UTF-7 and UTF-16
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1f]")
# Declared by programs that do not know: the bytes tell better.
_VAGUE: Final = frozenset(["ascii", "latin_1", "cp1252", "utf_8"])


def _plain(name: str) -> str:
    return re.sub("[^a-z0-9]", "", name.lower())


def _python_name(encoding: str) -> str:
    """Python's codec for a name of WHATWG's list."""
    name = _CODECS.get(encoding, encoding).replace("windows-", "cp")
    return aliases.get(name.replace("-", "_"), name.replace("-", "_"))


_CHARSETS: Final[dict[str, str]] = {
    _plain(name): codec
    for alias, codec in aliases.items()
    if codec not in _NO_CHARSETS
    for name in (alias, codec)
} | {
    _plain(label): _python_name(encoding)
    for label, encoding in LABELS.items()
    if encoding != "replacement"  # browsers refuse these; mail clients read HZ and ISO-2022-KR
} | {
    **dict.fromkeys(["hz", "hzgb2312"], "hz"),
    **dict.fromkeys(["ucs2", "iso10646ucs2", "csunicode", "unicode", "utf16"], "utf_16"),
    **dict.fromkeys(["euccn", "xgbk"], "gb18030"),
    **dict.fromkeys(["xxbig5", "cnbig5"], "big5hkscs"),
    "windows31j": "cp932",
    "xmacroman": "mac_roman",
}  # fmt: skip


@lru_cache(maxsize=256)
def codec_of(charset: bytes) -> str:
    """Python's name of a charset, "" where no client knows it."""
    name = charset.decode("ascii", "replace").partition("'")[0]
    return _CHARSETS.get(_plain(name), "")


def decode(content: bytes, *, charset: bytes = b"", nearby: bytes = b"") -> str:
    """Bytes as text in a declared charset; where it is unknown or vague, UTF-8 if they are, else cp1252.

    nearby: of the rest of the mail, which holds in place of cp1252 where none is declared.
    """
    codec = codec_of(charset[:MAX_CHARSET]) if charset else ""
    if codec.startswith(("utf_16", "utf_32")):
        codec = _wide(content, codec)
    elif content.isascii() and (codec in _VAGUE or not codec or not _MAY_SHIFT.search(content)):
        return content.decode("ascii")
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return content.decode("utf-16", "replace")
    if not codec or codec in _VAGUE:
        return _undeclared(content, codec, codec_of(nearby[:MAX_CHARSET]) if nearby and not charset else "")
    try:
        return content.decode(codec, "replace")
    except (UnicodeError, LookupError):  # a codec that refuses its input whole, or one this Python lacks
        return content.decode("cp1252", "replace")


def _wide(content: bytes, codec: str) -> str:
    """ASCII that claims wide characters looks like garbage to filters, and clients show it.

    Without a byte order mark UTF-16 is big-endian (RFC 2781 4.3), unless most zeros say otherwise.
    """
    if content.isascii() and not _CONTROL.search(content):
        return "ascii"
    if codec != "utf_16":
        return codec
    beginning = content[:1_024]
    return "utf_16_le" if beginning[1::2].count(0) > beginning[::2].count(0) else "utf_16_be"


def _undeclared(content: bytes, codec: str, nearby: str) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        # Cut within a character; a Latin-1 text that ends in an accent has no UTF-8 before it.
        cut_off = error.reason == "unexpected end of data" and not content[: error.start].isascii()
        other = "cp1252" if not nearby or nearby in _VAGUE or nearby.startswith("utf") else nearby
        return content.decode("utf_8" if codec == "utf_8" or cut_off else other, "replace")


def charset_of_words(value: bytes) -> bytes:
    """The charset of a header's first encoded word, "" where there is none."""
    word = _ENCODED_WORD.search(value[:MAX_WORDS]) if b"=?" in value else None
    return word[1] if word else b""


def decode_words(value: bytes, charset: bytes = b"") -> str:
    """A header's text with its encoded words (RFC 2047); a character may be cut between two words.

    charset: of 8-bit bytes that no encoded word declares, the body's.
    """
    value = value[:MAX_WORDS]
    if b"=?" not in value:
        return _one_line(decode(value, charset=charset))
    pieces: list[tuple[bytes, bytes]] = []  # charset and bytes
    at = 0
    for word in _ENCODED_WORD.finditer(value):
        between = value[at : word.start()]
        if between.strip() or not pieces or not pieces[-1][0]:
            pieces.append((b"", between))
        inside = _FOLD.sub(b"", word[3])
        text = from_base64(inside) if word[2] in b"bB" else binascii.a2b_qp(inside, header=True)
        named = word[1].lower()
        if pieces and pieces[-1][0] == named:
            text = pieces.pop()[1] + text
        pieces.append((named, text))
        at = word.end()
    pieces.append((b"", value[at:]))
    return _one_line("".join(decode(text, charset=named or charset) for named, text in pieces))


def _one_line(text: str) -> str:
    return text.replace("\r", "").replace("\n", "")
