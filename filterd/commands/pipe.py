"""Between a mail on stdin and a mail on stdout: all of it comes out, or an error says that it did not.

Rule: nothing here trusts a stream of the interpreter to write everything. Unbuffered (PYTHONUNBUFFERED, as
containers set it) `sys.stdout.buffer.write` returns after part of the bytes where a disk fills up, without an
error; a stream that was closed from the start is None, and what is printed to stderr goes to stdout then.
"""

import contextlib
import errno
import io
import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, BinaryIO

from filterd.errors import FilterdError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer as Buffer

STDOUT = 1
READER_GONE = 141  # as a shell says of a program that SIGPIPE has ended
CHUNK_BYTES = 1 << 20
# With this status the program before us in the pipe keeps the mail that it has: procmail and maildrop do.
LOST = os.EX_IOERR


class CommandExit(SystemExit):
    """A command has done its work, with this status; typer's own SystemExit says how its options were."""


class StdoutLost(FilterdError):
    """What was to be printed cannot be: no space, a closed stdout, a file system that fails."""

    exit_status = LOST


class Stdout(io.TextIOWrapper):
    """stdout for what people read: any letter can be printed, and what cannot be written is an error of ours.

    Without it a subject that the locale has no letters for ends the command, and so does a full disk, with a
    traceback and status 1, which `check --exit-code` says of spam. Raises StdoutLost; where the reader has
    seen enough, as in `filterd check … | head`, it ends the command.
    """

    def write(self, text: str) -> int:
        """Write it."""
        with self._errors():
            return super().write(text)

    def flush(self) -> None:
        """Hand it all over."""
        with self._errors():
            super().flush()

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            discard_stdout()
            if isinstance(error, BrokenPipeError):
                raise SystemExit(READER_GONE) from None
            raise StdoutLost(f"stdout: {error.strerror}; not all of the answer was written") from error


class _Closed(io.RawIOBase):
    """A stdout that was closed from the start: an error once, and then, as the interpreter ends, nothing."""

    told = False

    def writable(self) -> bool:
        return True

    def write(self, data: "Buffer") -> int:
        if self.told:
            return memoryview(data).nbytes
        self.told = True
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))


def occupy() -> None:
    """Put nothing in the place of standard streams that are closed, or the next file would become one."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free


def settle_stdout() -> None:
    """Replace the interpreter's own stdout by `Stdout`, also where it was closed from the start."""
    now = sys.stdout
    if now is None:
        closed = io.BufferedWriter(_Closed())
        sys.stdout = Stdout(closed, "utf-8", "backslashreplace", write_through=True)
    elif now is sys.__stdout__ and isinstance(now, io.TextIOWrapper):  # not what a test has put there
        lines, encoding = now.line_buffering, now.encoding
        now.flush()
        sys.stdout = Stdout(now.detach(), encoding, "backslashreplace", line_buffering=lines)


def discard_stdout() -> None:
    """Let the interpreter flush into nothing as it ends, or it fails at that once more."""
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), STDOUT)


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
    discard_stdout()
    return LOST


def printable(said: str) -> str:
    """On one line: the line end in a file's name would begin a line that looks like a verdict."""
    return said if said.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in said)


def complain(what: str) -> None:
    """One line on stderr where it can be written; a full or closed one is no reason to keep a mail."""
    with contextlib.suppress(OSError):
        print(f"filterd: {printable(what)}", file=sys.stderr)
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
