"""What a sweep has judged and done, so that the next one goes on from there: a file of JSON lines.

The first line names the format and the mailbox; each other one is a `JournalLine` as a list. Lines are only
added; a last line that a kill cut short is dropped. The file is locked while it is in use.
"""

import fcntl
import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple, Self

from filterd.api import Label
from filterd.config import STATE_HOME, own_folder
from filterd.errors import ConfigError, Overloaded, Unwritable

FORMAT = 1


class JournalLine(NamedTuple):
    """What became of one mail.

    acted: it was filed or tagged, and wherever it is now, people put it. content: a hash of what is to be
    known again under another name, "" for the rest.
    """

    key: str
    label: Label
    acted: bool
    content: str = ""


def default_path(mailbox: Path) -> Path:
    """A file of the user's own state folder (XDG Base Directory Specification), by the mailbox's path."""
    name = hashlib.sha256(os.fsencode(mailbox.resolve())).hexdigest()[:16]
    return own_folder(*STATE_HOME) / "sweep" / f"{name}.jsonl"


class Journal:
    """The journal of one mailbox, open and locked."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor = descriptor
        self._known: dict[str, JournalLine] = {}
        self._put_back: set[str] = set()  # contents that an earlier run has acted upon

    @classmethod
    def open(cls, path: Path, mailbox: Path, *, anew: bool = False) -> Self:
        """Open or begin one; anew: forget what it says. Raises Unwritable, ConfigError, Overloaded."""
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            journal = cls(path, os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600))
        except OSError as error:
            raise Unwritable(f"{path}: {error.strerror}; name another file with --state") from error
        try:
            journal._begin(str(mailbox.resolve()), anew)
        except BaseException:
            journal.close()
            raise
        return journal

    def get(self, key: str) -> JournalLine | None:
        """What is known of a mail."""
        return self._known.get(key)

    def acted_before(self, content: str) -> bool:
        """Whether an earlier run has filed or tagged a mail of this content, under whatever name."""
        return content in self._put_back

    def add(self, entries: Iterable[JournalLine]) -> None:
        """Remember. Raises Unwritable."""
        new = [one for one in entries if self._known.get(one.key) != one]
        self._known.update((one.key, one) for one in new)
        try:
            self._write("".join(json.dumps(one) + "\n" for one in new))
        except OSError as error:
            raise Unwritable(f"{self.path}: {error.strerror}; the sweep cannot go on from here") from error

    def close(self) -> None:
        """Unlock and close."""
        os.close(self._descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _begin(self, mailbox: str, anew: bool) -> None:
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Overloaded(f"{self.path}: another sweep is under way; wait until it has ended") from None
        if anew:
            os.ftruncate(self._descriptor, 0)
        content = self.path.read_bytes()
        whole = content.rfind(b"\n") + 1
        os.ftruncate(self._descriptor, whole)
        lines = content[:whole].splitlines()
        if not lines:
            self._write(json.dumps({"filterd-sweep": FORMAT, "mailbox": mailbox}) + "\n")
            return
        self._load(lines, mailbox)

    def _load(self, lines: list[bytes], mailbox: str) -> None:
        try:
            head = json.loads(lines[0])
            if head["filterd-sweep"] != FORMAT or head["mailbox"] != mailbox:
                raise ValueError("of another mailbox or format")
            for line in lines[1:]:
                key, label, acted, content = json.loads(line)
                self._known[key] = JournalLine(key, Label(label), bool(acted), content)
                if acted:
                    self._put_back.add(content)
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise ConfigError(
                f"{self.path}: no journal of {mailbox} ({error}); name another with --state, or remove it"
            ) from error

    def _write(self, lines: str) -> None:
        data = lines.encode("ascii")
        while data:
            data = data[os.write(self._descriptor, data) :]
