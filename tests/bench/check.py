"""`filterd check` as people run it: the whole process, cold, and a thousand SMS in one call.

The SMS are the first thousand of the UCI collection where `../shared` is there, else our own examples over
and over (a score cache would profit from that; `filterd check` in-process has none).
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.table import Table

from tests.conftest import ROOT, SHARED

MESSAGES = 1000
REPEATS = 5


def run() -> Table:
    """Median seconds of the process and messages a second, over 5 runs."""
    table = Table("filterd check, default bundle", "median", "least", "most", title_justify="left")
    mail = ROOT / "examples/ham/mail-work.eml"
    one = [_seconds(["check", str(mail)]) for _ in range(REPEATS)]
    table.add_row(
        "one mail, whole process", *(f"{x:.3f} s" for x in (statistics.median(one), min(one), max(one)))
    )
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


def _seconds(arguments: list[str]) -> float:
    started = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "filterd.cli", *arguments],
        check=True,
        stdout=subprocess.DEVNULL,
        env={**os.environ, "FILTERD_SOCKET": ""},
    )
    return time.perf_counter() - started
