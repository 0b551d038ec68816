"""What the peers judge: mails that the model never saw, and SMS; made-up ones without `../shared`.

A model is fast on what it was trained on, since its first look settles that; so figures are of other mails.
BENCH_FOLDER names a folder of mails (a file each), else BENCH_SOURCES names sources of `../shared/data/more`
that the bundle was not trained on. Without both it is UNSEEN. The default bundle read none of its
`mail_fixtures2` and some of the others; it has no fast path, so that makes no mail quicker.
"""

import base64
import itertools
import json
import lzma
import os
import random
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

from tests.conftest import SHARED

MORE = SHARED / "more"
UNSEEN = "nazario1,phishing_pot,mail_list_ham,mail_bounces,mail_fixtures2"
A_SOURCE = 600  # mails of one, so that the largest does not outweigh all others
SMS = SHARED / "sms_uci" / "SMSSpamCollection"
SEED = 4


class Mail(NamedTuple):
    """One mail of the corpus."""

    raw: bytes
    spam: bool


@cache
def corpus() -> tuple[Mail, ...]:
    """All mails, in an order that mixes the folders and is always the same."""
    if folder := os.environ.get("BENCH_FOLDER"):
        found = [Mail(file.read_bytes(), "spam" in str(file).lower()) for file in _files(Path(folder))]
    elif MORE.is_dir():
        sources = os.environ.get("BENCH_SOURCES", UNSEEN).split(",")
        found = [mail for name in sources for mail in itertools.islice(_source(name), A_SOURCE)]
    else:
        found = [Mail(_made_up(i), i % 3 == 0) for i in range(2000)]
    random.Random(SEED).shuffle(found)
    return tuple(found)


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _source(name: str) -> Iterator[Mail]:
    """The whole mails of one source of `more`."""
    with lzma.open(MORE / f"{name}.jsonl.xz", "rt", encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            if "raw" in row:
                yield Mail(base64.b64decode(row["raw"]), row.get("label") == "spam")


def mails(count: int) -> list[bytes]:
    """The first `count` mails, over and over where there are fewer."""
    return [mail.raw for mail in itertools.islice(itertools.cycle(corpus()), count)]


def training(count: int) -> list[Mail]:
    """The last `count` mails, for a peer that has to learn before it can judge."""
    return list(corpus()[-count:])


@cache
def sms() -> tuple[str, ...]:
    """Texts of SMS in their natural mix."""
    if SMS.is_file():
        return tuple(line.split("\t", 1)[1] for line in SMS.read_text("utf-8").splitlines())
    return tuple(f"meet me at {i} o'clock, then we go {'on ' * (i % 20)}home" for i in range(5000))


def varied() -> Iterator[bytes]:
    """Mails without end, no two alike: those of the corpus, with a header and words that nobody else has."""
    rng = random.Random(SEED)
    words = " ".join(sms()[:2000]).split()
    for number, mail in enumerate(itertools.cycle(corpus())):
        line = " ".join(rng.choices(words, k=rng.randint(1, 60))).encode("utf-8", "replace")
        head, gap, body = mail.raw.partition(b"\n\n")
        yield b"X-Number: %d\n" % number + head + gap + line + b"\n" + body


def _made_up(number: int) -> bytes:
    rng = random.Random(number)
    words = ["".join(rng.choices("etaoinshrdlu", k=rng.randint(2, 9))) for _ in range(400)]
    body = "\n".join(" ".join(rng.choices(words, k=11)) for _ in range(rng.randint(5, 90)))
    return (
        f"Received: from a.example by b.example\nFrom: {words[0]}@a.example\nTo: you@example.org\n"
        f"Subject: {words[2]} {words[3]}\nMessage-ID: <{number}@a.example>\n\n{body}\n"
    ).encode()
