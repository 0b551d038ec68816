"""Mail through Postfix while filterd is killed at random times: is every mail delivered exactly once?

Half of the mails go in where `milter_default_action` is `tempfail`: their sender tries again until they are
taken. The other half goes in where it is `accept`: none of them may be refused. Root only.
Sizes: BENCH_CHAOS (10000 mails), BENCH_KILL_S (3, the longest life of a daemon that is ready).
"""

import asyncio
import itertools
import os
import random
import re
import signal
import time

from rich.table import Table

from filterd import bundle
from tests.bench import _mails as mails
from tests.bench import _smtp as smtp
from tests.plugins.milter.filter import Filter, made
from tests.postfix import Postfix, free_port, running

MAILS = int(os.environ.get("BENCH_CHAOS", "10000"))
LONGEST_S = float(os.environ.get("BENCH_KILL_S", "3"))
RETRY_S = 0.3  # before a sender tries again
DOWN_S = 1.0  # the longest time until it is started again
SEED = 5
NUMBER = re.compile(rb"^X-Number: (\d+)\r?$", re.M)


def run() -> Table:
    """What became of the mails. Raises RuntimeError where one is lost, doubled or refused for no reason."""
    accepting, port = free_port(), free_port()
    with made(listen=[f"tcp:127.0.0.1:{port}"], on_error="tempfail") as filter_:
        filter_.configure(model={"bundle": str(bundle.DEFAULT), "threads": 1})
        filter_.start()
        with running(
            [f"127.0.0.1:{accepting} inet n - n - - smtpd -o milter_default_action=accept"],
            smtpd_milters=f"inet:127.0.0.1:{port}",
            milter_default_action="tempfail",
        ) as postfix:
            senders = _Senders((postfix.port, accepting))
            begun = time.monotonic()
            kills = asyncio.run(_under_fire(senders, filter_))
            seconds = time.monotonic() - begun
            postfix.wait_for(lambda: not postfix.queued(), timeout_s=smtp.TIMEOUT_S)
            return _table(senders, kills, seconds, _arrived(postfix))


class _Senders:
    """Who sends: mail n goes to port n % 2 (`tempfail`, `accept`) until it is taken or refused for good."""

    def __init__(self, ports: tuple[int, int]) -> None:
        self._ports = ports
        self.deferred = [0, 0]  # attempts, by port
        self.refused: set[int] = set()  # for good: 5xx

    async def send_all(self) -> None:
        raw = itertools.islice(mails.varied(), MAILS)
        await smtp.by_all(enumerate(raw), self._until_settled)

    async def _until_settled(self, job: tuple[int, bytes]) -> None:
        number, raw = job
        data, side = smtp.lines_of(raw), number % 2
        while (code := await smtp.send(self._ports[side], data, "ben@example.org")) != "250":
            if code.startswith("5"):
                self.refused.add(number)
                return
            self.deferred[side] += 1
            await asyncio.sleep(RETRY_S)


async def _under_fire(senders: _Senders, filter_: Filter) -> int:
    """Send everything while the daemon is killed again and again; how often it was."""
    rng, kills = random.Random(SEED), 0
    sending = asyncio.ensure_future(senders.send_all())
    while not sending.done():
        await asyncio.wait({sending}, timeout=rng.uniform(0, LONGEST_S))
        if not sending.done():
            await asyncio.to_thread(filter_.end, signal.SIGKILL)
            kills += 1
            await asyncio.sleep(rng.uniform(0, DOWN_S))
            await asyncio.to_thread(filter_.start)
    await sending
    return kills


def _arrived(postfix: Postfix) -> dict[int, list[bool]]:
    """By number each copy that was delivered, and whether it is tagged."""
    found: dict[int, list[bool]] = {}
    for file in smtp.files(postfix):
        raw = file.read_bytes()
        if match := NUMBER.search(raw):
            found.setdefault(int(match[1]), []).append(b"\nX-Spam-Status: " in raw)
    return found


def _table(senders: _Senders, kills: int, seconds: float, arrived: dict[int, list[bool]]) -> Table:
    taken = set(range(MAILS)) - senders.refused
    figures = {
        "mails sent": MAILS,
        "daemon killed": kills,
        "attempts deferred, tempfail / accept": " / ".join(map(str, senders.deferred)),
        "refused for good": len(senders.refused),
        "delivered exactly once": sum(len(copies) == 1 for copies in arrived.values()),
        "lost": len(taken - set(arrived)),
        "doubled": sum(len(copies) > 1 for copies in arrived.values()),
        "refused and delivered": len(senders.refused & set(arrived)),
        "untagged, tempfail / accept": " / ".join(str(_untagged(arrived, side)) for side in (0, 1)),
        "seconds": f"{seconds:.0f}",
    }
    if figures["lost"] or figures["doubled"] or figures["refused and delivered"] or _untagged(arrived, 0):
        raise RuntimeError(f"mail lost, doubled or not judged: {figures}")
    table = Table(f"{MAILS:,} mails, filterd killed at random", "")
    for name, figure in figures.items():
        table.add_row(name, str(figure))
    return table


def _untagged(arrived: dict[int, list[bool]], side: int) -> int:
    return sum(not all(tagged) for number, tagged in arrived.items() if number % 2 == side)
