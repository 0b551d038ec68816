"""Twice what the daemon can do, for minutes: it has to answer every request, and to be as before afterwards.

Sizes: BENCH_MINUTES (10). Half comes over spamd's protocol, half over HTTP; the answer is a verdict or the
configured one for overload, which spamd's clients see as a mail that passes unjudged.
"""

import itertools
import os

from rich.table import Table

from filterd.commands.client import Daemon
from tests.bench import _load as load
from tests.bench import _mails as mails
from tests.bench import _peers as peers

MINUTES = float(os.environ.get("BENCH_MINUTES", "10"))
CLIENTS = 8
WARM = 400  # mails that tell the peak
TIMES = 2.0


def run() -> Table:
    """What was answered, how fast, and the memory before, during and after."""
    table = Table(title=f"{TIMES:g} times the sustainable load, {MINUTES:g} minutes", title_justify="left")
    for column in ("what", "figure"):
        table.add_column(column, justify="left" if column == "what" else "right")
    with peers.filterd() as ours:
        ways = itertools.cycle((load.spamd(ours.spamd), load.http(ours.http, "/v1/check")))

        async def ask(message: bytes) -> str:
            return await next(ways)(message)

        peak = load.closed(ask, mails.mails(WARM), CLIENTS).rate
        before = peers.rss_mb(ours.pid)
        endless = itertools.cycle(mails.mails(2000))
        steps = [load.opened(ask, endless, TIMES * peak, 60 * MINUTES / 4) for _ in range(4)]
        memory = peers.rss_mb(ours.pid)
        refused = Daemon(ours.http).status()["refused"]
        after = load.closed(ask, mails.mails(WARM), CLIENTS)
        table.add_row("sustainable", f"{peak:,.0f}/s")
        for number, step in enumerate(steps, 1):
            table.add_row(f"quarter {number}: came", f"{step.messages / (15 * MINUTES):,.0f}/s")
            for outcome, count in sorted(step.outcomes.items()):
                table.add_row(f"  answered: {outcome}", f"{count:,}")
            table.add_row("  median, p99", f"{step.at(0.5):.2f} s, {step.at(0.99):.2f} s")
            table.add_row("  clients, of a core", f"{100 * step.share:.0f}%")
        table.add_row("of these by the daemon's count not judged, over both protocols", f"{refused:,}")
        table.add_row("memory before, at the end", f"{before:.0f} MB, {memory:.0f} MB")
        table.add_row("sustainable afterwards", f"{after.rate:,.0f}/s, {dict(after.outcomes)}")
    return table
