"""What a retraining costs: time and memory of its own, and the daemon's p99 beside it; a rollback under load.

500 corrections from the templates of `trainer/data/templates.py` (mail and SMS, half of them spam), the
default bundle, the command as the unit runs it, with its own low priority. Targets: 2 minutes and 1.5 GB on
two cores, p99 raised by 20% at most, a rollback within a second. BENCH_CORRECTIONS (500), BENCH_SECONDS of
the daemon alone (30).
"""

import contextlib
import json
import os
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path

import msgspec
from rich.table import Table

from filterd.api import Kind, Label
from filterd.corrections.correction import Correction, correct
from filterd.corrections.store import Store
from filterd.scoring import bundle
from filterd_trainer.data import templates
from tests.bench import _load as load
from tests.bench import _peers as peers

CORRECTIONS = int(os.environ.get("BENCH_CORRECTIONS", "500"))
SECONDS = float(os.environ.get("BENCH_SECONDS", "30"))
RATE = 10.0  # messages a second beside the retraining: a busy site of 900,000 a day
ROLLBACKS = 5


def corrections() -> list[Correction]:
    """As many as the bench takes, none of them twice."""
    made = []
    for one in templates.generate(CORRECTIONS, seed=6):
        text, kind = f"{one.subject}\n\n{one.text}" if one.subject else one.text, Kind(one.kind)
        made.append(correct(text.encode(), kind, Label(one.label), text=text, source="bench"))
    return made


def messages() -> Iterator[bytes]:
    """Mails for the daemon, in turn."""
    made = [
        f"From: a@example.org\nSubject: {one.subject}\n\n{one.text}\n".encode()
        for one in templates.generate(400, seed=7)
        if one.kind == "mail"
    ]
    return cycle(made)


def run() -> Table:
    """The figures beside their targets."""
    table = Table(
        "what", "measured", "target", title=f"Retraining on {CORRECTIONS} corrections, {os.cpu_count()} cores"
    )
    with peers.folder() as where:
        seconds, cpu, gigabytes, last = _retrain(_configured(where))
        table.add_row("alone: seconds", f"{seconds:.0f} ({cpu:.0f} of the CPU)", "120")
        table.add_row("alone: peak memory", f"{gigabytes:.2f} GB", "1.5 GB")
        table.caption = last
    with peers.filterd() as daemon:
        state = daemon.log.parent
        _fill(state / "state")
        ask = load.http(daemon.http, "/v1/check")
        quiet = load.opened(ask, messages(), RATE, SECONDS)
        beside: list[tuple[float, float, float, str]] = []
        worker = threading.Thread(target=lambda: beside.append(_retrain(state / "filterd.yaml")))
        worker.start()
        busy = load.opened(ask, messages(), RATE, SECONDS)
        worker.join()
        table.add_row("p99 of the daemon, alone", f"{1000 * quiet.at(0.99):.0f} ms", "")
        raised = busy.at(0.99) / quiet.at(0.99) - 1
        table.add_row("p99 beside a retraining", f"{1000 * busy.at(0.99):.0f} ms ({raised:+.0%})", "+20%")
        slowest = max(_rollbacks(state, ask))
        table.add_row(f"slowest of {ROLLBACKS} rollbacks under load", f"{slowest:.2f} s", "1 s")
    return table


def _configured(where: Path) -> Path:
    (where / "filterd.yaml").write_text(json.dumps({"state": str(where / "state")}))
    _fill(where / "state")
    return where / "filterd.yaml"


def _fill(state: Path) -> None:
    with Store.open(state / "feedback.sqlite") as store:
        store.learn_many(corrections())


def _retrain(config: Path) -> tuple[float, float, float, str]:
    """Seconds by the clock and of the CPU, peak gigabytes, and the command's verdict."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    command = [
        sys.executable,
        "-m",
        "filterd_trainer.cli",
        "retrain",
        "--config",
        str(config),
        "--promotion",
        "manual",
    ]
    said = subprocess.run(command, capture_output=True, text=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    verdict = next(line for line in said.stdout.splitlines() if "promoted:" in line)
    return time.perf_counter() - started, cpu, after.ru_maxrss / 1e6, verdict


def _rollbacks(state: Path, ask: load.Ask) -> list[float]:
    """Seconds of `filterd bundle rollback`, from typing it to the daemon's judging with the other bundle."""
    store, shipped = state / "state" / "bundles", bundle.read(bundle.DEFAULT)
    bundle.install(shipped, state)
    second = state / shipped.id
    bundle.rewrite_manifest(second, msgspec.structs.replace(shipped.manifest, name="second"))
    bundle.promote(bundle.read(second), store)
    command = [sys.executable, "-m", "filterd", "bundle", "rollback", "--config", str(state / "filterd.yaml")]
    taken: list[float] = []

    def work() -> None:
        for _ in range(ROLLBACKS + 1):  # the first opens a bundle that is not open yet
            started = time.perf_counter()
            said = subprocess.run(command, capture_output=True, text=True, check=True)
            assert "the daemon judges with it" in said.stdout, said
            taken.append(time.perf_counter() - started)

    worker = threading.Thread(target=work)
    worker.start()
    while worker.is_alive():
        with contextlib.suppress(OSError):
            load.closed(ask, (message for message, _ in zip(messages(), range(50), strict=False)), 4)
    return taken[1:]
