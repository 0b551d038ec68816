"""Mail through a Postfix while filterd is killed at random: what became of each mail, in rounds.

A round is a number of mails, each with a number of its own, sent until it is taken or refused for good; it
ends with an empty queue. With BENCH_RESULTS a round's figures are a line of that file, and a round that is in
it is not run again. A daemon lives for a number of mails, not for a time: a slow machine gets on, too.
Sizes: BENCH_CHAOS (10000 mails), BENCH_ROUND (500), BENCH_LIFE (20, deliveries of a daemon's longest life).
"""

import asyncio
import itertools
import json
import os
import random
import re
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table

from tests.bench import _mails as mails
from tests.bench import _smtp as smtp
from tests.bench._forked import Forked
from tests.peers.postfix import Postfix

MAILS = int(os.environ.get("BENCH_CHAOS", "10000"))
ROUND = int(os.environ.get("BENCH_ROUND", "500"))
LIFE = int(os.environ.get("BENCH_LIFE", "20"))
RESULTS = os.environ.get("BENCH_RESULTS", "")
AIM_S = 0.05  # after the last of these a kill comes at any moment of this: about what a mail takes
DOWN_S = 0.2  # the longest time until it is started again
RETRY_S = 0.3  # before a sender tries again
POLL_S = 0.02
NUMBER = re.compile(rb"^X-Number: (\d+)\r?$", re.M)
FIGURES = (
    *(
        "mails",
        "killed",
        "attempts deferred",
        "refused for good",
        "delivered once",
        "lost",
        "delivered twice",
    ),
    *("refused and delivered", "untagged", "seconds"),
)


@dataclass(frozen=True, slots=True)
class Setup:
    """What is tried: mail to a port of a Postfix that has the daemon behind it."""

    name: str
    postfix: Postfix
    daemon: Forked
    port: int


def done(name: str) -> dict[int, Counter[str]]:
    """Figures of the rounds that are in BENCH_RESULTS."""
    lines = Path(RESULTS).read_text("utf-8").splitlines() if RESULTS and Path(RESULTS).exists() else []
    found = (json.loads(line) for line in lines)
    return {one["round"]: Counter(one["figures"]) for one in found if one["name"] == name}


def play(setup: Setup) -> None:
    """Half of the mails (a table has two setups), in rounds, less those that are done."""
    for number in sorted(set(range(-(-MAILS // 2 // ROUND))) - set(done(setup.name))):
        figures = _round(setup, number)
        _memory.setdefault(setup.name, {})[number] = figures
        if RESULTS:
            with Path(RESULTS).open("a", encoding="utf-8") as file:
                file.write(json.dumps({"name": setup.name, "round": number, "figures": figures}) + "\n")


_memory: dict[str, dict[int, Counter[str]]] = {}


def figures(name: str) -> Counter[str]:
    """The sum of all rounds."""
    return sum((done(name) | _memory.get(name, {})).values(), Counter())


def table(title: str, names: Sequence[str]) -> Table:
    """A row for each figure, a column for each setup."""
    found = [figures(name) for name in names]
    made = Table(title, *names, title_justify="left")
    for key in FIGURES:
        made.add_row(key, *(f"{one[key]:,}" for one in found))
    return made


def _round(setup: Setup, number: int) -> Counter[str]:
    rng = random.Random(number)
    for file in smtp.files(setup.postfix):
        file.unlink()
    jobs = list(enumerate(_raw(number), number * ROUND))
    senders = _Senders(setup.port)
    begun = time.monotonic()
    killed = asyncio.run(_under_fire(setup, senders, jobs, rng))
    found = _arrived(setup.postfix)
    numbers = {job[0] for job in jobs}
    return Counter(
        {
            "mails": len(jobs),
            "killed": killed,
            "attempts deferred": senders.deferred,
            "refused for good": len(senders.refused),
            "delivered once": sum(len(copies) == 1 for copies in found.values()),
            "lost": len(numbers - senders.refused - set(found)),
            "delivered twice": sum(len(copies) > 1 for copies in found.values()),
            "refused and delivered": len(senders.refused & set(found)),
            "untagged": sum(not all(copies) for copies in found.values()),
            "seconds": round(time.monotonic() - begun),
        }
    )


def _raw(number: int) -> Iterator[bytes]:
    return itertools.islice(mails.varied(), number * ROUND, (number + 1) * ROUND)


class _Senders:
    """Who sends: each mail until it is taken, or refused for good."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.deferred = 0
        self.refused: set[int] = set()

    async def until_settled(self, job: tuple[int, bytes]) -> None:
        number, raw = job
        data = smtp.lines_of(raw)
        while (code := await smtp.send(self._port, data, "ben@example.org")) != "250":
            if code.startswith("5"):
                self.refused.add(number)
                return
            self.deferred += 1
            await asyncio.sleep(RETRY_S)


async def _under_fire(
    setup: Setup, senders: _Senders, jobs: Sequence[tuple[int, bytes]], rng: random.Random
) -> int:
    """Send everything while the daemon is killed again and again, until nothing waits; how often it was."""
    killed = 0
    sending = asyncio.ensure_future(smtp.by_all(jobs, senders.until_settled))
    while not (sending.done() and not await asyncio.to_thread(setup.postfix.queued)):
        await asyncio.to_thread(setup.daemon.start)
        await _delivered(setup.postfix, rng.randrange(LIFE), sending)
        await asyncio.sleep(rng.uniform(0, AIM_S))
        setup.daemon.kill()
        killed += 1
        await asyncio.sleep(rng.uniform(0, DOWN_S))
    await sending
    return killed


async def _delivered(postfix: Postfix, number: int, sending: "asyncio.Future[None]") -> None:
    """Wait until so many more mails are delivered, or all that there are."""
    wanted = len(list(smtp.files(postfix))) + number
    for poll in range(round(smtp.TIMEOUT_S / POLL_S)):
        if len(list(smtp.files(postfix))) >= wanted:
            return
        if sending.done() and poll % 20 == 0 and not await asyncio.to_thread(postfix.queued):
            return
        await asyncio.sleep(POLL_S)
    raise RuntimeError(f"nothing is delivered any more: {postfix.log[-2000:]}")


def _arrived(postfix: Postfix) -> dict[int, list[bool]]:
    """By number each copy that was delivered, and whether it is tagged."""
    found: dict[int, list[bool]] = {}
    for file in smtp.files(postfix):
        raw = file.read_bytes()
        if match := NUMBER.search(raw):
            found.setdefault(int(match[1]), []).append(b"\nX-Spam-Status: " in raw)
    return found
