"""Between a mail on stdin and a mail on stdout: all of it comes out, or an error says that it did not.

Rule: nothing here trusts a stream of the interpreter to write everything. Unbuffered (PYTHONUNBUFFERED, as
containers set it) `sys.stdout.buffer.write` returns after part of the bytes where a disk fills up, without an
error; a stream that was closed from the start is None, and what is printed to stderr goes to stdout then.
"""

import contextlib
import os
import sys
from typing import BinaryIO

STDOUT = 1
CHUNK_BYTES = 1 << 20
# With this status the program before us in the pipe keeps the mail that it has: procmail and maildrop do.
LOST = os.EX_IOERR


def streams() -> tuple[BinaryIO, BinaryIO]:
    """stdin and stdout as bytes. Raises OSError where one of them was closed from the start."""
    if sys.stdin is None or sys.stdout is None:
        raise OSError(f"{'stdout' if sys.stdin else 'stdin'} is closed")
    return sys.stdin.buffer, sys.stdout.buffer


def pass_on(first: bytes, source: BinaryIO, sink: BinaryIO) -> None:
    """Write these bytes and then what is left of the source. Raises OSError where not all came out."""
    _write_all(sink, first)
    while chunk := source.read(CHUNK_BYTES):
        _write_all(sink, chunk)
    sink.flush()


def _write_all(sink: BinaryIO, data: bytes) -> None:
    left = memoryview(data)
    while left:
        written = sink.write(left)
        if not written:  # None: a stdout that does not block, and that is full
            raise OSError("not everything was taken")
        left = left[written:]


def give_up(error: Exception) -> int:
    """Say that the mail did not come out whole; returns the exit status that makes others keep theirs."""
    said = getattr(error, "strerror", None) or str(error) or type(error).__name__
    complain(f"{said}; the mail did not come out whole")
    with contextlib.suppress(OSError):  # or the interpreter flushes a broken stdout again as it ends
        os.dup2(os.open(os.devnull, os.O_WRONLY), STDOUT)
    return LOST


def complain(what: str) -> None:
    """One line on stderr where it can be written; a full or closed one is no reason to keep a mail."""
    with contextlib.suppress(OSError):
        print(f"filterd: {what}", file=sys.stderr)
    settle_stderr()


def settle_stderr() -> None:
    """Replace a stderr that was closed from the start, or that what was said does not fit into.

    With the first, print() writes to stdout, into the mail; with the second, the exit status is 120.
    """
    try:
        if sys.stderr:
            sys.stderr.flush()
            return
    except OSError:
        pass
    sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123 (as cheap as it gets)
