"""Maildir and Maildir++: which folders and mails there are, and filing or rewriting one so that none is lost.

Rules, from https://cr.yp.to/proto/maildir.html and what Dovecot and Courier make of it:
1. A file never changes; who changes its content gives it another unique name (what is before ":"), since
   servers keep sizes and headers by that name. A compressed one is read and filed, never rewritten. Others
   change flags (after ":2,") at any time, by renaming.
2. A new file is written to `tmp`, synced, and renamed to where it belongs. Each step here is one rename, so a
   kill at any point leaves every mail in exactly one place; what may stay behind is a copy in `tmp`, which
   nobody reads and mail servers remove after 36 hours.
3. `,S=` is the size of a file and `,W=` the same with CRLF line ends; Dovecot trusts both.
"""

import contextlib
import errno
import os
import re
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, TypeVar, cast

from filterd.errors import ConfigError, NotFound, Unwritable
from filterd.kit.disk import sync
from filterd.mailboxes import compressed

MAX_DEPTH = 16  # of folders within folders where they are nested; Dovecot's own limit for names is lower
RENAMED_AT_MOST = 8  # times that a mail is followed under a new name while its flags change
COPY_BYTES = 1 << 20
INBOX = "INBOX"
SUBFOLDER_MARK = "maildirfolder"  # the empty file by which Maildir++ knows its folders

M = TypeVar("M")
T = TypeVar("T")

_SIZE = re.compile(r",S=\d+")
_VIRTUAL_SIZE = re.compile(r",W=\d+")


@dataclass(frozen=True, slots=True)
class Folder:
    """One folder: the name by which a mail client shows it (INBOX, Work, Work.Old), and where it is."""

    name: str
    path: Path


@dataclass(frozen=True, slots=True)
class MailFile:
    """One file of a folder. sub: "cur" or "new"; file: its whole name, flags included."""

    folder: Path
    sub: str
    file: str

    @property
    def path(self) -> Path:
        """Where it is."""
        return self.folder / self.sub / self.file

    @property
    def unique(self) -> str:
        """The part of its name that stays while flags change."""
        return self.file.partition(":")[0]

    @property
    def flags(self) -> str:
        """Its flags, such as "RS" for replied and seen."""
        return self.file.partition(":2,")[2]

    @property
    def deleted(self) -> bool:
        """Whether it is only waiting to be removed (flag T)."""
        return "T" in self.flags

    def read(self, limit: int) -> bytes:
        """Its first bytes, decompressed. Raises OSError, FileNotFoundError where it has a new name by now."""
        with self.open() as stream:
            return compressed.read(stream, limit)

    @property
    def compressed(self) -> bool:
        """Whether a mail server keeps it compressed. Raises as `read`."""
        with self.open() as stream:
            return bool(compressed.kind(stream))

    def open(self) -> BinaryIO:
        """Its content. Raises OSError; a symbolic link is an error, as it may lead anywhere."""
        return os.fdopen(os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb")


def is_maildir(path: Path) -> bool:
    """Whether a folder has what a Maildir has."""
    return all((path / sub).is_dir() and not (path / sub).is_symlink() for sub in ("cur", "new"))


def folders(root: Path) -> list[Folder]:
    """The folder itself as INBOX and all below it, Maildir++ (`.Work`) or nested (`Work/cur`), by name."""
    found = [Folder(INBOX, root)] if is_maildir(root) else []
    found += [Folder(_shown(path.relative_to(root)), path) for path in sorted(_below(root, MAX_DEPTH))]
    if not found:
        raise NotFound(f"{root}: no Maildir, as it has no cur and new; `filterd check` judges single files")
    return found


def _below(folder: Path, depth: int) -> Iterator[Path]:
    try:
        with os.scandir(folder) as entries:
            paths = [Path(e) for e in entries if e.is_dir(follow_symlinks=False)]
    except OSError as error:
        raise NotFound(f"{folder}: {error.strerror}; name a Maildir that can be read") from error
    for path in paths:
        if path.name in ("cur", "new", "tmp"):
            continue
        if is_maildir(path):
            yield path
        if depth > 1:
            yield from _below(path, depth - 1)


def _shown(path: Path) -> str:
    return str(path).removeprefix(".")


def mails(folder: Folder) -> list[MailFile]:
    """The mails of a folder, in the order of their names, which begin with the time of their arrival."""
    try:
        return sorted(
            (
                MailFile(folder.path, sub, entry.name)
                for sub in ("cur", "new")
                for entry in os.scandir(folder.path / sub)
                if not entry.name.startswith(".") and entry.is_file(follow_symlinks=False)
            ),
            key=lambda mail: mail.file,
        )
    except OSError as error:
        raise NotFound(f"{folder.path}: {error.strerror}; name a Maildir that can be read") from error


def following(mail: M, work: Callable[[M], T]) -> T | None:
    """What comes of working on a mail, under its new name where it has one by now; None where it is gone."""
    now: M | None = mail
    for _ in range(RENAMED_AT_MOST):
        if now is None:
            return None
        try:
            return work(now)
        except FileNotFoundError:
            now = cast(M, _find(now)) if isinstance(now, MailFile) else None
    raise OSError(errno.EBUSY, "its name changes all the time; is another program at work on it?")


def _find(mail: MailFile) -> MailFile | None:
    """Where a mail is now that somebody changed its flags or moved it from new to cur; None: it is gone."""
    for sub in ("cur", "new"):
        with os.scandir(mail.folder / sub) as entries:
            for entry in entries:
                if entry.name.partition(":")[0] == mail.unique:
                    return MailFile(mail.folder, sub, entry.name)
    return None


def subfolder(root: Path, name: str) -> Path:
    """Where the folder of this name is, or where it would have to be made. Raises ConfigError."""
    plain = name.removeprefix(".")
    if not plain or plain.startswith(".") or any(c in plain for c in "/\0\r\n") or not plain.isascii():
        raise ConfigError(f"{name!r}: no folder's name; write it as `ls -A` shows it, such as Junk or .Junk")
    if root.name.startswith(".") and is_maildir(root.parent):  # Dovecot marks roots as folders, too
        raise ConfigError(
            f"{root}: a folder of {root.parent}; sweep that one with --folder {_shown(Path(root.name))}"
        )
    nested = is_maildir(root / plain) or (
        any(True for _ in _nested(root)) and not is_maildir(root / f".{plain}")
    )
    return root / (plain if nested else f".{plain}")


def _nested(root: Path) -> Iterator[Path]:
    return (path for path in _below(root, 1) if not path.name.startswith("."))


def make(folder: Path) -> None:
    """Make a folder beside the others, with their owner and mode; nothing where it is there."""
    like = folder.parent.stat()
    try:
        for path in (folder, *(folder / sub for sub in ("cur", "new", "tmp"))):
            if not path.exists():
                path.mkdir(0o700)
                path.chmod(stat.S_IMODE(like.st_mode))
                _give(path, like)
        if folder.name.startswith("."):
            (folder / SUBFOLDER_MARK).touch()
            _give(folder / SUBFOLDER_MARK, like)
    except OSError as error:
        raise Unwritable(f"{folder}: {error.strerror}; it cannot be made") from error


def _give(path: Path | int, like: os.stat_result) -> None:
    """To the owner of what it stands for, where we may (as root); else it is ours, as that one will be."""
    with contextlib.suppress(PermissionError):
        os.chown(path, like.st_uid, like.st_gid)


def move(mail: MailFile, target: Path) -> MailFile:
    """File a mail in another folder, as it is. Raises OSError, FileNotFoundError where it has a new name."""
    moved = replace(mail, folder=target)
    if os.path.lexists(moved.path):  # rename would replace it
        moved = replace(moved, file=_renamed(mail, None))
    mail.path.rename(moved.path)
    return moved


def rewrite(mail: MailFile, change: Callable[[bytes], bytes], head_bytes: int) -> MailFile:
    """Put changed content in a mail's place: flags, times, mode and owner stay, and its size hints are right.

    change: is given the first head_bytes bytes, what follows is copied. Raises OSError, FileNotFoundError
    where the mail has a new name by now; it is untouched then.
    """
    (mail.folder / "tmp").mkdir(exist_ok=True)
    draft = mail.folder / "tmp" / f"{_stamp(mail)}.R{secrets.token_hex(10)}.filterd"
    try:
        sizes = _write(mail, draft, change, head_bytes)
        changed = replace(mail, file=_renamed(mail, sizes))
        mail.path.rename(changed.path)  # the claim: nobody else knows this name, so nobody renames it now
        draft.rename(changed.path)
    finally:
        draft.unlink(missing_ok=True)
    sync(changed.path.parent)
    return changed


def _write(mail: MailFile, draft: Path, change: Callable[[bytes], bytes], head_bytes: int) -> tuple[int, int]:
    """The changed mail, synced; its size, and its size with CRLF line ends."""
    with mail.open() as source, draft.open("xb") as sink:
        if compressed.kind(source):
            raise OSError(errno.ENOTSUP, "compressed by the mail server; it is not written into")
        before = os.fstat(source.fileno())
        sink.write(change(source.read(head_bytes)))
        shutil.copyfileobj(source, sink, COPY_BYTES)
        sink.flush()
        _give(sink.fileno(), before)
        os.fchmod(sink.fileno(), stat.S_IMODE(before.st_mode))
        os.utime(sink.fileno(), ns=(before.st_atime_ns, before.st_mtime_ns))
        os.fsync(sink.fileno())
    return _sizes(draft)


def _sizes(path: Path) -> tuple[int, int]:
    size, bare, last = 0, 0, b""
    with path.open("rb") as stream:
        while part := stream.read(COPY_BYTES):
            size += len(part)
            crlf = part.count(b"\r\n") + (last == b"\r" and part[:1] == b"\n")
            bare += part.count(b"\n") - crlf
            last = part[-1:]
    return size, size + bare


def _renamed(mail: MailFile, sizes: tuple[int, int] | None) -> str:
    """Another unique name with the same time, flags and hints, so that order and state are kept."""
    unique, colon, info = mail.file.partition(":")
    hints = "".join(re.findall(r",[A-Z]=\d+", unique))
    if sizes:
        hints = _SIZE.sub(f",S={sizes[0]}", _VIRTUAL_SIZE.sub(f",W={sizes[1]}", hints))
    host = unique.split(",")[0].split(".")[-1][:64]
    return f"{_stamp(mail)}.R{secrets.token_hex(10)}.{host}{hints}{colon}{info}"


def _stamp(mail: MailFile) -> str:
    """The seconds of its arrival, which its name begins with."""
    stamp = mail.file.split(".")[0]
    return stamp if stamp.isascii() and stamp.isdigit() else str(int(mail.path.stat().st_mtime))
