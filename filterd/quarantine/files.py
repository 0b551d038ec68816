"""The folder of held messages: one file each, 0600, on the disk before anybody is told that it is kept.

    quarantine/2026-11-30/01JDXYZ….held      a line of JSON (who, to whom, verdict), then the message

A file is written beside its place, synced, renamed, and its folder synced. So at its place there is a whole
file or none, and each says all that the index needs to know of it: an index that lost a row gets it back.
"""

import os
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec

from filterd.api import Kind, Label
from filterd.errors import NotFound, StoreError
from filterd.history import record
from filterd.kit.disk import sync

FOLDER: Final = "quarantine"
SUFFIX: Final = ".held"
PART: Final = ".part"  # of a file that is being written
STALE_S: Final = 3600.0  # a part of this age was left by a crash; writing takes seconds
DAY: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")  # what our folders are called
MAX_HEAD: Final = 16 << 20  # bytes of the first line: 10,000 recipients of the milter, each 1 KB


class HeldMail(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a held message. sender, recipients: the envelope. Times: seconds since 1970."""

    number: int
    time: float
    listener: str
    name: str
    sender: str
    recipients: tuple[str, ...]
    kind: Kind
    label: Label
    points: float
    subject: str
    size: int

    @property
    def id(self) -> str:
        """What people call it by: the same as in the history."""
        return record.encode(self.number)


class HeldFiles:
    """The folder. Its methods may be called from many threads and processes; all raise StoreError."""

    def __init__(self, state: Path) -> None:
        self._root = state / FOLDER

    def keep(self, held: HeldMail, raw: bytes) -> None:
        """Write a message; on the disk when this returns, and nothing of it there when it raises."""
        place = self._path(held.number)
        try:
            _make_folder(place.parent)
            part = place.with_suffix(PART)
            descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            try:
                with os.fdopen(descriptor, "wb") as stream:
                    stream.write(msgspec.json.encode(held) + b"\n")
                    stream.write(raw)
                    stream.flush()
                    os.fsync(stream.fileno())
                part.rename(place)
                sync(place.parent)
            except OSError:
                for left in (part, place):
                    left.unlink(missing_ok=True)
                raise
        except OSError as error:
            raise _failed(place, error) from error

    def read(self, number: int) -> tuple[HeldMail, bytes]:
        """A message with what is known of it. Raises NotFound too."""
        place = self._path(number)
        try:
            with place.open("rb") as stream:
                return _head(stream.readline(MAX_HEAD), place), stream.read()
        except FileNotFoundError as error:
            raise NotFound(
                f"{record.encode(number)}: its message is not on this machine, or not any more"
            ) from error
        except OSError as error:
            raise _failed(place, error) from error

    def head(self, number: int) -> HeldMail:
        """What is known of a message, without reading it. Raises NotFound too."""
        place = self._path(number)
        try:
            with place.open("rb") as stream:
                return _head(stream.readline(MAX_HEAD), place)
        except FileNotFoundError as error:
            raise NotFound(f"{record.encode(number)}: no such file") from error
        except OSError as error:
            raise _failed(place, error) from error

    def remove(self, number: int) -> None:
        """Delete a message; nothing happens where there is none."""
        place = self._path(number)
        try:
            place.unlink(missing_ok=True)
        except OSError as error:
            raise _failed(place, error) from error

    def numbers(self) -> Iterator[int]:
        """Of all messages that are there whole. Removes what a crash left half written, and empty folders.

        Other folders are a person's: what he moved away is not looked at.
        """
        try:
            for day in sorted(self._root.iterdir()) if self._root.is_dir() else ():
                if DAY.fullmatch(day.name):
                    yield from self._of_day(day)
        except OSError as error:
            raise _failed(self._root, error) from error

    def _of_day(self, day: Path) -> Iterator[int]:
        left = False
        for path in day.iterdir():
            number = record.decode(path.stem)
            left = True
            if number is not None and path == self._path(number):
                yield number
            elif path.suffix == PART and path.stat().st_mtime < datetime.now(UTC).timestamp() - STALE_S:
                path.unlink(missing_ok=True)
        if not left and day.name < f"{datetime.now(UTC):%Y-%m-%d}":  # somebody may be writing into today's
            day.rmdir()

    def _path(self, number: int) -> Path:
        day = datetime.fromtimestamp((number >> record.COUNT_BITS) / 1000, UTC)
        return self._root / f"{day:%Y-%m-%d}" / f"{record.encode(number)}{SUFFIX}"


def _make_folder(folder: Path) -> None:
    if folder.is_dir():
        return
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for one in (folder.parent, folder.parent.parent):
        sync(one)


def _head(line: bytes, place: Path) -> HeldMail:
    try:
        return msgspec.json.decode(line, type=HeldMail)
    except msgspec.MsgspecError as error:
        raise StoreError(f"{place}: damaged; move it away") from error


def _failed(place: Path, error: OSError) -> StoreError:
    return StoreError(f"{place}: {error.strerror}; check its folder's owner, mode and space")
