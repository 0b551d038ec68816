"""The daemon against its peers: the same mails, one run, nobody has a cache, 8 clients.

All peers stand ready at once and take turns, so that whatever else the machine does slows each alike; a
figure is the median of the turns. Then what is ours alone: latency at 70% of the peak (open loop), SMS, the
start.
Sizes: BENCH_MAILS (600), BENCH_TURNS (3), BENCH_SECONDS of an open loop (30).
"""

import os
import statistics
from contextlib import AbstractContextManager, ExitStack

from rich.console import Group
from rich.table import Table

from tests.bench import _load as load
from tests.bench import _mails as mails
from tests.bench import _peers as peers

MAILS = int(os.environ.get("BENCH_MAILS", "600"))
TURNS = int(os.environ.get("BENCH_TURNS", "3"))
SECONDS = float(os.environ.get("BENCH_SECONDS", "30"))
CLIENTS = 8
SLOW = 30  # mails a second of the slowest peer: its turns are shorter, on the same mails
SMS = 10_000
SMS_PER_BATCH = 1000
BATCHES_AT_ONCE = 2
LEARNED = 600  # mails that bogofilter learns first; none of those that are judged
OF_PEAK = 0.7
STARTS = 5


def run() -> Group:
    """Messages a second by peer, then latency, SMS and start of ours."""
    with ExitStack() as stack:
        ours = stack.enter_context(peers.filterd())
        whole = stack.enter_context(peers.filterd(model={"fast_path": False}))
        asks = {
            "filterd, spamd protocol": load.spamd(ours.spamd),
            "filterd, HTTP /v1/check": load.http(ours.http, "/v1/check"),
            "filterd, fast path off": load.spamd(whole.spamd),
            "spamd -L -m 2": load.spamd(stack.enter_context(peers.spamassassin())),
            "rspamd, 2 workers": load.http(stack.enter_context(peers.rspamd()), "/checkv2"),
            "bogofilter, a process each": load.program(*stack.enter_context(taught())),
        }
        table = against(asks)
    with peers.filterd() as ours:
        late, short = latency(ours), sms(ours)
    return Group(table, late, short, starts())


def taught() -> AbstractContextManager[list[str]]:
    """bogofilter, with mails learned that nobody judges."""
    known = mails.training(LEARNED)
    return peers.bogofilter([m.raw for m in known if not m.spam], [m.raw for m in known if m.spam])


def against(asks: dict[str, load.Ask], slowest: str = "spamd -L -m 2") -> Table:
    """The table of a run with these peers."""
    judged = mails.mails(MAILS)
    found: dict[str, list[load.Figures]] = {name: [] for name in asks}
    for ask in asks.values():
        load.closed(ask, judged[:CLIENTS], CLIENTS)  # warm; spamd starts its children
    for _ in range(TURNS):
        for name, ask in asks.items():
            some = judged if name != slowest else judged[: max(CLIENTS, MAILS // 4)]
            found[name].append(load.closed(ask, some, CLIENTS))
    rates = {name: statistics.median(one.rate for one in figures) for name, figures in found.items()}
    table = Table(title=f"{MAILS} mails, {CLIENTS} clients, {TURNS} turns, caches off", title_justify="left")
    for column in (
        "peer",
        "messages/s",
        "least",
        "most",
        "x spamd",
        "median",
        "p99",
        "not judged",
        "clients",
    ):
        table.add_column(column, justify="left" if column == "peer" else "right")
    for name, figures in found.items():
        rate = sorted(one.rate for one in figures)
        failed = sum(one.messages - one.outcomes["ok"] for one in figures)
        table.add_row(
            *(name, f"{rates[name]:,.0f}", f"{rate[0]:,.0f}", f"{rate[-1]:,.0f}"),
            f"{rates[name] / rates[slowest]:.1f}",
            *(ms(statistics.median(one.at(q) for one in figures)) for q in (0.5, 0.99)),
            *(str(failed), share(figures[-1])),
        )
    return table


def latency(ours: peers.Filterd) -> Table:
    """Latencies of mails that come at random, at 70% of each way's peak.

    The peak is measured right before each run and once more after it: a machine that others share is not as
    fast in every minute, and a rate taken from another minute is another load.
    """
    table = Table(title=f"open loop at 70% of the peak before it, {SECONDS:g} s", title_justify="left")
    columns = ("way", "peak", "mails/s", "peak after", "median", "p90", "p99", "most", "failed", "clients")
    for column in columns:
        table.add_column(column, justify="left" if column == "way" else "right")
    asks = {"spamd protocol": load.spamd(ours.spamd), "HTTP": load.http(ours.http, "/v1/check")}
    some = mails.mails(MAILS)
    for ask in asks.values():
        load.closed(ask, some, CLIENTS)  # warm
    for _ in range(TURNS):
        for name, ask in asks.items():
            peak = load.closed(ask, some, CLIENTS).rate
            rate = OF_PEAK * peak
            found = load.opened(ask, mails.mails(int(2 * rate * SECONDS) + CLIENTS), rate, SECONDS)
            after = load.closed(ask, some, CLIENTS).rate
            table.add_row(
                *(name, f"{peak:,.0f}", f"{rate:,.0f}", f"{after:,.0f}"),
                *(ms(found.at(q)) for q in (0.5, 0.9, 0.99, 1.0)),
                *(str(found.messages - found.outcomes["ok"]), share(found)),
            )
    return table


def sms(ours: peers.Filterd) -> Table:
    """SMS a second over HTTP, in batches and one by one."""
    texts = (mails.sms() * (SMS // len(mails.sms()) + 1))[:SMS]
    bodies = load.batches(texts, SMS_PER_BATCH)
    table = Table(title="SMS over HTTP", title_justify="left")
    for column in ("way", "SMS/s", "least", "most", "p99 of a request", "not judged", "clients"):
        table.add_column(column, justify="left" if column == "way" else "right")
    as_json = load.http(ours.http, "/v1/check", "application/json")
    raw = load.http(ours.http, "/v1/check?kind=sms", "text/plain")
    singles = [text.encode() for text in texts[: SMS // 4]]
    ways = (
        (f"batches of {SMS_PER_BATCH}, {BATCHES_AT_ONCE} at once", as_json, bodies, BATCHES_AT_ONCE),
        (f"single requests, {CLIENTS} clients", raw, singles, CLIENTS),
    )
    for name, ask, requests, clients in ways:
        found = [load.closed(ask, requests, clients) for _ in range(TURNS)]
        each = SMS_PER_BATCH if ask is as_json else 1
        rates = sorted(each * one.rate for one in found)
        table.add_row(
            *(name, f"{statistics.median(rates):,.0f}", f"{rates[0]:,.0f}", f"{rates[-1]:,.0f}"),
            ms(statistics.median(one.at(0.99) for one in found)),
            *(str(sum(one.messages - one.outcomes["ok"] for one in found)), share(found[-1])),
        )
    return table


def starts() -> Table:
    """Seconds from the start of the process to ready, and its memory then."""
    seconds, memory = [], []
    for _ in range(STARTS):
        with peers.filterd() as ours:
            seconds.append(ours.ready_s)
            memory.append(peers.rss_mb(ours.pid))
    table = Table("start of the daemon, default bundle", "median", "least", "most", title_justify="left")
    table.add_row(
        "to ready", *(f"{x:.2f} s" for x in (statistics.median(seconds), min(seconds), max(seconds)))
    )
    table.add_row(
        "memory then", *(f"{x:.0f} MB" for x in (statistics.median(memory), min(memory), max(memory)))
    )
    return table


def ms(seconds: float) -> str:
    """For a table."""
    return f"{1000 * seconds:,.1f} ms"


def share(found: load.Figures) -> str:
    """Of one core, what the clients took."""
    return f"{100 * found.share:.0f}%"
