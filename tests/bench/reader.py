"""CPU of the reader on raw mails, beside an older one: FILTERD_OLD names a checkout of it.

Mails are those of `tests.filterd.mails`, of 3 to 15 KB. Old and new take turns, each in a process of its own;
CPU of the process is counted, and the ratio is what holds on a machine that others use as well.
"""

import os
import subprocess
import sys
from pathlib import Path

from rich.table import Table

from tests.conftest import ROOT

TURNS = 3
MEASURE = """
import sys, time
sys.path.insert(0, sys.argv[2])
from tests.filterd.mails import raw_mails
sys.path[0] = sys.argv[1]
try:
    from filterd.reading import text
except ImportError:
    from filterd import text
from filterd.api import Kind, Message
mails = [Message(raw, kind=Kind.MAIL) for raw in raw_mails(800) if 3000 < len(raw) < 15000]
for mail in mails[:20]:
    text.read(mail)
started = time.process_time()
for mail in mails:
    text.read(mail)
print((time.process_time() - started) / len(mails) * 1000)
"""


def run() -> Table:
    """The least CPU milliseconds a mail of each reader."""
    table = Table("reader", "CPU ms a mail")
    old = os.environ.get("FILTERD_OLD")
    checkouts = {"new": ROOT, **({"old": Path(old)} if old else {})}
    least = {name: min(_milliseconds(path) for _ in range(TURNS)) for name, path in checkouts.items()}
    for name, milliseconds in least.items():
        table.add_row(name, f"{milliseconds:.2f}")
    if "old" in least:
        table.add_row("new / old", f"{least['new'] / least['old']:.2f}")
    return table


def _milliseconds(checkout: Path) -> float:
    command = [sys.executable, "-W", "ignore", "-c", MEASURE, str(checkout), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd="/")
    return float(done.stdout)
