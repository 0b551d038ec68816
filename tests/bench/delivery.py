"""A thousand mails through procmail and maildrop while filters are killed at random, and the daemon once.

The daemon is killed after 45% and started again after 55% of the mails; in between each filter loads the
model itself. Kills come within the time that a delivery takes on this machine, measured first. What is
measured is whether each mail arrives once and unchanged; the rate is told too. Size: BENCH_MAILS (1000).
"""

import os
import shutil
import signal
import tempfile
import threading
import time
from pathlib import Path

from rich.table import Table

from tests.filterd.daemon.test_server import Daemon
from tests.peers import delivery
from tests.peers.delivery import MAILDROP, PROCMAIL, Mailbox, Outcome

MAILS = int(os.environ.get("BENCH_MAILS", "1000"))
KILLED_AT, BACK_AT = (
    MAILS * 45 // 100,
    MAILS * 55 // 100,
)  # mails delivered when the daemon is killed and when it is started again
PAUSE_S = 0.1


def run() -> Table:
    """A row for each program."""
    table = Table(
        f"{MAILS:,} mails", "arrived", "missing", "doubled", "changed", "killed", "tagged", "mails/s",
        title_justify="left",
    )  # fmt: skip
    for program in (PROCMAIL, MAILDROP):
        started = time.perf_counter()
        found = deliver(program)
        rate = MAILS / (time.perf_counter() - started)
        lost = (len(found.missing) + len(found.refused), len(found.doubled), len(found.changed))
        numbers = (found.arrived, *lost, found.killed, found.tagged)
        table.add_row(program, *(f"{one:,}" for one in numbers), f"{rate:.1f}")
    return table


def deliver(program: str) -> Outcome:
    """What became of a mailbox whose daemon was killed and came back."""
    folder = Path(tempfile.mkdtemp(dir="/tmp", prefix="filterd-"))
    daemon = Daemon(folder)
    daemon.start()
    longest_s = delivery.undisturbed_s(delivery.make(folder / "first", program, str(daemon.http)))
    mailbox = delivery.make(folder / "box", program, str(daemon.http))
    done = threading.Event()
    trouble = threading.Thread(target=_trouble, args=(daemon, mailbox, done))
    trouble.start()
    try:
        return delivery.run(mailbox, delivery.mails(MAILS), longest_s)
    finally:
        done.set()
        trouble.join()
        daemon.end(signal.SIGTERM)
        shutil.rmtree(folder)


def _trouble(daemon: Daemon, mailbox: Mailbox, done: threading.Event) -> None:
    for arrived, act in ((KILLED_AT, lambda: daemon.end(signal.SIGKILL)), (BACK_AT, daemon.start)):
        while len(list(mailbox.folder.glob("*/new/*"))) < arrived and not done.is_set():
            done.wait(PAUSE_S)
        act()
