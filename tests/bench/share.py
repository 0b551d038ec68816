"""Processor time of a message, of us and of the peers: true on a busy machine, too.

The event loop's share is that of the daemon's first thread: what it takes, everybody waits for. A message of
the second table is an SMS. Sizes: BENCH_MAILS (300), BENCH_TURNS (3); which mails: `_mails`.
"""

import os
import resource
import statistics
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Group
from rich.table import Table

from tests.bench import _load as load
from tests.bench import _mails as mails
from tests.bench import _peers as peers
from tests.bench.daemon import BATCHES_AT_ONCE, CLIENTS, SMS_PER_BATCH, taught

MAILS = int(os.environ.get("BENCH_MAILS", "300"))
TURNS = int(os.environ.get("BENCH_TURNS", "3"))
TICK_S = 1 / os.sysconf("SC_CLK_TCK")


def run() -> Group:
    """Milliseconds of one core a message, by way."""
    with peers.filterd() as ours:
        tables = [_mail(ours), _sms(ours)]
    return Group(*tables, _others())


def _mail(ours: peers.Filterd) -> Table:
    some = mails.mails(MAILS)
    ways = {
        "spamd protocol": load.spamd(ours.spamd),
        "HTTP": load.http(ours.http, "/v1/check"),
    }
    table = _table(f"filterd, {MAILS} mails")
    for name, ask in ways.items():
        _row(table, name, ours.pid, ask, some, CLIENTS, 1)
    return table


def _sms(ours: peers.Filterd) -> Table:
    texts = (mails.sms() * (10 * MAILS // len(mails.sms()) + 1))[: 10 * MAILS]
    raw = load.http(ours.http, "/v1/check?kind=sms", "text/plain")
    table = _table(f"filterd, {len(texts):,} SMS")
    _row(table, "single requests", ours.pid, raw, [text.encode() for text in texts], CLIENTS, 1)
    as_json = load.http(ours.http, "/v1/check", "application/json")
    bodies = load.batches(texts, SMS_PER_BATCH)
    _row(table, f"batches of {SMS_PER_BATCH}", ours.pid, as_json, bodies, BATCHES_AT_ONCE, SMS_PER_BATCH)
    return table


def _table(title: str) -> Table:
    table = Table("way", title=title, title_justify="left")
    for column in ("event loop", "all", "messages/s of a core", "not judged"):
        table.add_column(column, justify="right")
    return table


def _row(
    table: Table, name: str, pid: int, ask: load.Ask, messages: list[bytes], clients: int, each: int
) -> None:
    load.closed(ask, messages[:clients], clients)  # warm
    loop, whole, failed = [], [], 0
    for _ in range(TURNS):
        before = _spent(Path(f"/proc/{pid}/task/{pid}/stat")), _tree(pid)
        found = load.closed(ask, messages, clients)
        after = _spent(Path(f"/proc/{pid}/task/{pid}/stat")), _tree(pid)
        loop.append(1000 * (after[0] - before[0]) / len(messages) / each)
        whole.append(1000 * (after[1] - before[1]) / len(messages) / each)
        failed += found.messages - found.outcomes["ok"]
    one = statistics.median(whole)
    table.add_row(
        name, f"{statistics.median(loop):.3f} ms", f"{one:.3f} ms", f"{1000 / one:,.0f}", str(failed)
    )


def _others() -> Table:
    """The peers, one after another, each alone: all of its processes."""
    some = mails.mails(MAILS)
    table = Table("peer", title=f"all processes, {MAILS} mails", title_justify="left")
    for column in ("a mail", "mails/s of a core", "not judged"):
        table.add_column(column, justify="right")
    for name, started in {
        "filterd, spamd protocol": _filterd,
        "spamd -L -m 2": _spamassassin,
        "rspamd, 2 workers": _rspamd,
        "bogofilter, a process each": _bogofilter,
    }.items():
        with started() as ask:
            load.closed(ask, some[:CLIENTS], CLIENTS)
            before = _children()
            found = load.closed(ask, some, CLIENTS)
            one = 1000 * (_children() - before) / len(some)
        table.add_row(name, f"{one:.2f} ms", f"{1000 / one:,.0f}", str(found.messages - found.outcomes["ok"]))
    return table


@contextmanager
def _filterd() -> Iterator[load.Ask]:
    with peers.filterd() as ours:
        yield load.spamd(ours.spamd)


@contextmanager
def _spamassassin() -> Iterator[load.Ask]:
    with peers.spamassassin() as path:
        yield load.spamd(path)


@contextmanager
def _rspamd() -> Iterator[load.Ask]:
    with peers.rspamd() as path:
        yield load.http(path, "/checkv2")


@contextmanager
def _bogofilter() -> Iterator[load.Ask]:
    with taught() as command:
        yield load.program(*command)


def _spent(stat: Path) -> float:
    """Seconds of processor time of a thread or process, with those of its children that have ended."""
    fields = stat.read_text("ascii", "replace").rpartition(")")[2].split()
    return TICK_S * sum(map(int, fields[11:15]))


def _tree(pid: int) -> float:
    """The same of a process and all that it has started."""
    try:
        listed = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return _spent(Path(f"/proc/{pid}/stat")) + sum(_tree(int(child)) for child in listed)
    except FileNotFoundError:  # it has just ended, and its parent has its time
        return 0.0


def _children() -> float:
    """Of all that this process has started, ended or not."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    listed = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return ended.ru_utime + ended.ru_stime + sum(_tree(int(child)) for child in listed)
