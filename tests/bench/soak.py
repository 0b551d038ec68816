"""Whether the daemon's memory stays flat: many thousand mails and SMS, no two alike, default settings.

Sizes: BENCH_SOAK messages (200,000).
"""

import itertools
import os
from collections import Counter

from rich.table import Table

from tests.bench import _load as load
from tests.bench import _mails as mails
from tests.bench import _peers as peers

MESSAGES = int(os.environ.get("BENCH_SOAK", "200000"))
STEPS = 20  # looks at the memory
CLIENTS = 8
CACHE = {"messages": 10_000}  # the default: a full cache is part of the memory


def run() -> Table:
    """Memory along the way."""
    table = Table(title=f"{MESSAGES:,} varied messages, default settings", title_justify="left")
    for column in ("messages", "memory", "messages/s", "not judged", "clients"):
        table.add_column(column, justify="right")
    stream, outcomes = mails.varied(), Counter[str]()
    with peers.filterd(cache=CACHE) as ours:
        table.add_row("0", f"{peers.rss_mb(ours.pid):.0f} MB")
        ask = _both(ours)
        for step in range(1, STEPS + 1):
            found = load.closed(ask, itertools.islice(stream, MESSAGES // STEPS), CLIENTS)
            outcomes += found.outcomes
            failed = outcomes.total() - outcomes["ok"]
            table.add_row(
                *(f"{step * MESSAGES // STEPS:,}", f"{peers.rss_mb(ours.pid):.0f} MB"),
                *(f"{found.rate:,.0f}", str(failed), f"{100 * found.share:.0f}%"),
            )
    table.caption = f"outcomes: {dict(outcomes)}"
    return table


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
