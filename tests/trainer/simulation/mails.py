"""Folders of mails for tests: `ham` and `spam`, of our own wording, each mail once."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

HAM = ("minutes of the choir", "figures for the board", "keys to the allotment", "photos of the hike")
SPAM = ("cheap pills by post", "claim the lottery prize", "loan without questions", "watches at half price")
WORDS = ("amber", "birch", "cedar", "delta", "ember", "fjord", "grove", "heron", "inlet", "jetty", "knoll")


def folders(where: Path, count: int, *, dated: bool = False) -> Path:
    """`count` mails of each label, no two of them near-duplicates. dated: an hour after one another."""
    for label, subjects in (("ham", HAM), ("spam", SPAM)):
        (where / label).mkdir(parents=True)
        for i in range(count):
            sent = datetime(2024, 1, 1, tzinfo=UTC) + timedelta(hours=2 * i + (label == "spam"))
            said = f"Date: {format_datetime(sent)}\n" if dated else ""
            (where / label / f"{i:03d}.eml").write_text(said + mail(label, subjects[i % len(subjects)], i))
    return where


def mail(label: str, subject: str, number: int) -> str:
    """One of them; its words follow from its number."""
    state, words = number * 7919 + len(subject), []
    for _ in range(30):
        state = (state * 1103515245 + 12345) % (1 << 31)
        words.append(WORDS[(state >> 8) % len(WORDS)] + str(number))
    body = " ".join(words)
    return (
        f"From: {label}{number}@example.org\nTo: you@example.net\nSubject: {subject}\n"
        f"Message-ID: <{number}@{label}.example>\n\n{subject}: {body}\n"
    )
