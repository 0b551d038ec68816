"""How the daemon's cores are best shared out: threads of a model's turn times turns at once.

All stand ready and take turns. Sizes: BENCH_MAILS (600), BENCH_TURNS (3). `ms` is CPU time of the daemon.
"""

import os
import statistics
from contextlib import ExitStack
from pathlib import Path

from rich.table import Table

from tests.bench import _load as load
from tests.bench import _mails as mails
from tests.bench import _peers as peers
from tests.bench.daemon import CLIENTS, MAILS, TURNS

SHARES: dict[str, dict[str, int]] = {
    "default (a turn a core, 1 thread each)": {},
    "1 turn, 1 thread": {"workers": 1},
    "1 turn, 2 threads": {"workers": 1, "threads": 2},
    "2 turns, 2 threads each": {"workers": 2, "threads": 2},
}
TICKS = os.sysconf("SC_CLK_TCK")


def run() -> Table:
    """Mails and single SMS a second, and CPU time of each."""
    raws, texts = mails.mails(MAILS), [text.encode() for text in mails.sms()[: 2 * MAILS]]
    table = Table(title=f"{CLIENTS} clients, medians of {TURNS} turns", title_justify="left")
    for heading in ("model", "mails/s", "ms", "SMS/s", "ms"):
        table.add_column(heading, justify="left" if heading == "model" else "right")
    with ExitStack() as stack:
        found: dict[str, tuple[list[float], ...]] = {name: ([], [], [], []) for name in SHARES}
        running = {name: stack.enter_context(peers.filterd(model=given)) for name, given in SHARES.items()}
        for turn in range(TURNS + 1):
            for name, ours in running.items():
                sms = load.http(ours.http, "/v1/check?kind=sms", "text/plain")
                figures = (*_one(ours, load.spamd(ours.spamd), raws), *_one(ours, sms, texts))
                for column, figure in zip(found[name], figures if turn else (), strict=bool(turn)):
                    column.append(figure)  # the first turn warms up
    for name, columns in found.items():
        mail, mail_ms, sms_rate, sms_ms = map(statistics.median, columns)
        table.add_row(name, f"{mail:,.0f}", f"{mail_ms:.2f}", f"{sms_rate:,.0f}", f"{sms_ms:.2f}")
    return table


def _one(ours: peers.Filterd, ask: load.Ask, messages: list[bytes]) -> tuple[float, float]:
    """Messages a second, and milliseconds of the daemon's CPU time for each."""
    before = _cpu_s(ours.pid)
    found = load.closed(ask, messages, CLIENTS)
    return found.rate, 1000 * (_cpu_s(ours.pid) - before) / found.messages


def _cpu_s(pid: int) -> float:
    """User and system time of a process, proc(5)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS
