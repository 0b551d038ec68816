"""Mails that a mail server keeps compressed, as Dovecot's zlib plugin does: read through, never written into.

A compressed file begins with a mark that no mail begins with. What is compressed in a way that Python cannot
read is an error rather than a mail full of noise.
"""

import bz2
import errno
import gzip
import lzma
import zlib
from collections.abc import Callable
from typing import Any, BinaryIO, Final

# By what a file begins with: its name, and what opens it. Dovecot writes gz, bz2, xz, zstd and lz4.
KINDS: Final[dict[bytes, tuple[str, Callable[..., Any] | None]]] = {
    b"\x1f\x8b": ("gzip", gzip.open),
    b"BZh": ("bzip2", bz2.open),
    b"\xfd7zXZ\x00": ("xz", lzma.open),
    b"\x28\xb5\x2f\xfd": ("zstd", None),
    b"Dovecot-LZ4": ("lz4", None),
}
LONGEST: Final = max(map(len, KINDS))


def kind(stream: BinaryIO) -> str:
    """How a file is compressed, "" for a plain mail; it is at its beginning before and after."""
    begins = stream.read(LONGEST)
    stream.seek(0)
    return next((name for mark, (name, _) in KINDS.items() if begins.startswith(mark)), "")


def read(stream: BinaryIO, limit: int) -> bytes:
    """The first bytes of a mail, decompressed where it is compressed; never more, however it is built.

    Raises OSError for what cannot be read.
    """
    begins = stream.read(LONGEST)
    stream.seek(0)
    for mark, (name, opened) in KINDS.items():
        if not begins.startswith(mark):
            continue
        if opened is None:
            raise OSError(errno.ENOTSUP, f"compressed with {name}, which cannot be read here")
        try:
            with opened(stream) as plain:
                return bytes(plain.read(limit))
        except (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile) as error:
            raise OSError(errno.EIO, f"damaged: {name}: {error}") from error
    return stream.read(limit)
