"""`filterd check` as people run it: the whole process with a daemon and without; 1,000 SMS in one call.

The daemon is a real one with the default bundle, its cache off. The SMS are the first thousand of the UCI
collection where `../shared` is there, else our own examples over and over (a score cache would profit from
that; `filterd check` in-process has none).
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from rich.table import Table

from tests.bench import _peers as peers
from tests.conftest import ROOT, SHARED

MESSAGES = 1000
REPEATS = 5
ASKED = 40  # of the daemon: 2 s, and the median of as many is steady


def run() -> Table:
    """Median seconds of the process and messages a second, over 5 runs."""
    table = Table("filterd check, default bundle", "median", "least", "most", title_justify="left")
    mail = ROOT / "examples/ham/mail-work.eml"
    one = [_seconds(["check", str(mail)]) for _ in range(REPEATS)]
    table.add_row(
        "one mail, whole process", *(f"{x:.3f} s" for x in (statistics.median(one), min(one), max(one)))
    )
    for name, seconds in _asking(mail):
        figures = (statistics.median(seconds), min(seconds), max(seconds))
        table.add_row(name, *(f"{1000 * x:.0f} ms" for x in figures))
    with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as file:
        file.write("\n".join(_texts()) + "\n")
        file.flush()
        many = [MESSAGES / _seconds(["check", "--sms", "--lines", file.name]) for _ in range(REPEATS)]
    rates = (statistics.median(many), min(many), max(many))
    table.add_row("1,000 SMS in one call, whole process", *(f"{x:,.0f} messages/s" for x in rates))
    return table


def _texts() -> list[str]:
    collection = SHARED / "sms_uci" / "SMSSpamCollection"
    if collection.exists():
        lines = collection.read_text("utf-8").splitlines()[:MESSAGES]
        return [line.split("\t", 1)[1] for line in lines]
    own = [path.read_text("utf-8").strip() for path in sorted(Path(ROOT, "examples").glob("*/sms-*.txt"))]
    return (own * (MESSAGES // len(own) + 1))[:MESSAGES]


def _asking(mail: Path) -> Iterator[tuple[str, list[float]]]:
    """Seconds of whole processes that ask a daemon, by what they ask, and of Python doing nothing."""
    with peers.filterd() as daemon:
        for arguments in (["check"], ["check", "--tag"], ["check", "--json"], ["learn", "--ham"]):
            seconds = [_seconds(arguments, mail, daemon.http) for _ in range(ASKED)]
            yield f"{' '.join(arguments)}, asking a daemon", seconds
    nothing = [_timed([sys.executable, "-c", ""], mail, "") for _ in range(ASKED)]
    yield "python -c '', for comparison", nothing


def _seconds(arguments: list[str], stdin: Path = Path(os.devnull), socket: str = "") -> float:
    return _timed([sys.executable, "-m", "filterd", *arguments], stdin, socket)


def _timed(command: list[str], stdin: Path, socket: str) -> float:
    started = time.perf_counter()
    with stdin.open("rb") as stream:
        subprocess.run(
            command,
            check=True,
            stdin=stream,
            stdout=subprocess.DEVNULL,
            env={**os.environ, "FILTERD_SOCKET": socket},
        )
    return time.perf_counter() - started
