"""mbox, read only: where its mails begin and end.

A mail begins with a line that starts with "From ", at the top of the file or after a blank line (mboxrd and
mboxo alike, https://qmail.org/man/man5/mbox.html). Nothing here locks or writes: a delivery while we read is
at worst a mail that is cut short and judged by its beginning.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from filterd.errors import BadInput

START = b"From "
MAX_LINE_BYTES = 1 << 20  # read at a time; a longer line comes in pieces, which changes nothing here


@dataclass(frozen=True, slots=True)
class Span:
    """One mail of an mbox: its bytes from start to end, the "From " line included."""

    path: Path
    start: int
    end: int
    unique: str

    def read(self, limit: int) -> bytes:
        """Its first bytes. Raises OSError."""
        with self.path.open("rb") as stream:
            stream.seek(self.start)
            return stream.read(min(limit, self.end - self.start))


def is_mbox(path: Path) -> bool:
    """Whether a file looks like one; an empty file is one without mails."""
    if not path.is_file():
        return False
    with path.open("rb") as stream:
        return stream.read(len(START)) in (START, b"")


def mails(path: Path) -> Iterator[Span]:
    """The mails in their order. unique: a hash of the content. Raises BadInput where it is no mbox."""
    with path.open("rb") as stream:
        start, position, blank, digest = 0, 0, True, hashlib.sha256()
        whole = True  # the line before ended with a line end
        while line := stream.readline(MAX_LINE_BYTES):
            if blank and whole and line.startswith(START) and position > start:
                yield Span(path, start, position, digest.hexdigest())
                start, digest = position, hashlib.sha256()
            elif position == 0 and not line.startswith(START):
                raise BadInput(f"{path}: neither a Maildir nor an mbox; `filterd check` judges single files")
            digest.update(line)
            blank = whole and line in (b"\n", b"\r\n")
            whole = line.endswith(b"\n")
            position += len(line)
        if position > start:
            yield Span(path, start, position, digest.hexdigest())
