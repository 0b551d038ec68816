"""Whether the daemon stays flat: many thousand mails and SMS, no two alike, memory and descriptors looked at.

Sizes: BENCH_SOAK messages (200,000), or BENCH_MINUTES instead. BENCH_SERVING=tests.filterd.serving leaves the
model out, so that ten times as many messages go through all the rest.
"""

import itertools
import os
import time
from collections import Counter
from collections.abc import Iterator

from rich.table import Table

from tests.bench import _load as load
from tests.bench import _mails as mails
from tests.bench import _peers as peers

MESSAGES = int(os.environ.get("BENCH_SOAK", "200000"))
MINUTES = float(os.environ.get("BENCH_MINUTES", "0"))
STEPS = 20  # looks at memory and descriptors
CLIENTS = 8
CACHE = {"messages": 10_000}  # the default: a full cache is part of the memory


def run() -> Table:
    """Memory and descriptors along the way."""
    size = f"{MINUTES:g} minutes" if MINUTES else f"{MESSAGES:,} messages"
    table = Table(title=f"{size}, varied, default settings, {peers.SERVING}", title_justify="left")
    for column in ("messages", "memory", "descriptors", "messages/s", "not judged", "clients"):
        table.add_column(column, justify="right")
    stream, outcomes = mails.varied(), Counter[str]()
    with peers.filterd(cache=CACHE) as ours:

        def look() -> tuple[str, str, str]:
            return (
                f"{outcomes.total():,}",
                f"{peers.rss_mb(ours.pid):.0f} MB",
                str(peers.descriptors(ours.pid)),
            )

        table.add_row(*look())
        ask = _both(ours)
        for _ in range(STEPS):
            found = load.closed(ask, _step(stream), CLIENTS)
            outcomes += found.outcomes
            failed = outcomes.total() - outcomes["ok"]
            table.add_row(*look(), f"{found.rate:,.0f}", str(failed), f"{100 * found.share:.0f}%")
    table.caption = f"outcomes: {dict(outcomes)}"
    return table


def _step(stream: Iterator[bytes]) -> Iterator[bytes]:
    """The messages of one step."""
    if not MINUTES:
        return itertools.islice(stream, MESSAGES // STEPS)
    until = time.monotonic() + 60 * MINUTES / STEPS
    return itertools.takewhile(lambda _: time.monotonic() < until, stream)


def _both(ours: peers.Filterd) -> load.Ask:
    """Mails over both protocols in turn, and the beginning of each fourth as an SMS."""
    turns = itertools.cycle(
        (
            load.spamd(ours.spamd),
            load.http(ours.http, "/v1/check"),
            load.http(ours.http, "/v1/check?kind=sms", "text/plain"),
            load.http(ours.http, "/checkv2"),
        )
    )

    async def ask(message: bytes) -> str:
        return await next(turns)(message)

    return ask
