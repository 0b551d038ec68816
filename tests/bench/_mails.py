"""What the peers judge: real mails and SMS where `../shared` is there, else made-up ones of their sizes."""

import itertools
import random
import tarfile
from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

from tests.conftest import SHARED

MAILS = SHARED / "email_spamassassin" / "email_spamassassin.tar.xz"
SMS = SHARED / "sms_uci" / "SMSSpamCollection"
SEED = 4


class Mail(NamedTuple):
    """One mail of the corpus."""

    raw: bytes
    spam: bool


@cache
def corpus() -> tuple[Mail, ...]:
    """All mails, in an order that mixes the folders and is always the same."""
    found: list[Mail] = []
    if MAILS.is_file():
        with tarfile.open(MAILS) as archive:
            for member in archive:
                stream = archive.extractfile(member)
                if stream and member.name.endswith(".txt"):
                    found.append(Mail(stream.read(), "spam" in member.name.split("/")[-2]))
    else:
        found = [Mail(_made_up(i), i % 3 == 0) for i in range(2000)]
    random.Random(SEED).shuffle(found)
    return tuple(found)


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
