"""Mailboxes for tests, and what may never change in one, whatever happens."""

import os
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from filterd.api import Kind, Label, Message, Verdict
from filterd.mailboxes import maildir
from filterd.reading.text import GTUBE

ARRIVED = 1_700_000_000  # seconds; also when the files were last changed
MARK = re.compile(rb"mail number (\d+)")


def mail(number: int, *, spam: bool = False, line_end: bytes = b"\n") -> bytes:
    lines = (
        b"From: ann@example.org",
        b"Subject: " + (b"your prize " + GTUBE.encode() if spam else b"lunch"),
        b"X-Spam-Flag: NO",  # forged
        b"",
        b"mail number %d" % number,
        b"the last line",
    )
    return line_end.join(lines) + line_end


def put(folder: Path, number: int, *, spam: bool = False, sub: str = "cur", flags: str = ":2,RS") -> Path:
    """Deliver a mail as Dovecot would."""
    for name in ("cur", "new", "tmp"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    raw = mail(number, spam=spam)
    sizes = f",S={len(raw)},W={len(raw) + raw.count(10)}"
    path = folder / sub / f"{ARRIVED + number}.M{number}P7.host{sizes}{flags if sub == 'cur' else ''}"
    path.write_bytes(raw)
    path.chmod(0o640)
    os.utime(path, (ARRIVED + number, ARRIVED + number))
    return path


def judge(messages: Sequence[Message]) -> list[Verdict]:
    """Spam is what has a prize."""
    return [
        Verdict(
            label=Label.SPAM if b"prize" in message.raw else Label.HAM,
            probability=0.99 if b"prize" in message.raw else 0.01,
            points=7.0 if b"prize" in message.raw else -5.0,
            kind=Kind.MAIL,
            model="fake-1",
            tests=("GPT2",),
        )
        for message in messages
    ]


def check_whole(root: Path, numbers: Sequence[int]) -> dict[int, Path]:
    """Every mail is there exactly once, whole, with its flags, time and mode; returns where each is."""
    where: dict[int, Path] = {}
    count: Counter[int] = Counter()
    for folder in maildir.folders(root):
        for one in maildir.mails(folder):
            raw = one.path.read_bytes()
            number = int(MARK.findall(raw)[0])
            where[number] = one.path
            count[number] += 1
            assert raw.endswith(b"mail number %d\nthe last line\n" % number)
            assert b"From: ann@example.org\n" in raw
            info = one.path.stat()
            assert (int(info.st_mtime), info.st_mode & 0o777) == (ARRIVED + number, 0o640)
            assert one.flags == ("RS" if one.sub == "cur" else "")
            assert one.file.startswith(f"{ARRIVED + number}.")
    assert count == Counter(numbers)
    return where
