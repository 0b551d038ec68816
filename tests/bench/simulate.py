"""A replay of a site's days with memory and retraining, beside Bogofilter; then with hostile users.

`trainer simulate` on the SpamAssassin corpus; the page and the plots are left in BENCH_OUT (build/simulate),
and a second call goes on or only prints. BENCH_BUNDLE: by default the bundle that ships, which has learned
from much of this corpus; for figures that mean something name one that has not, or with BENCH_DATA the
dataset that it was trained on. BENCH_MESSAGES (1,500; 0: all, which takes half an hour on two cores).
"""

import os
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.table import Table

from filterd.scoring import bundle
from filterd_trainer.simulation import pages, simulate
from filterd_trainer.simulation.stream import StreamSettings
from tests.conftest import ROOT

ARCHIVE = ROOT.parent / "shared" / "data" / "email_spamassassin" / "email_spamassassin.tar.xz"
INPUT = os.environ.get("BENCH_INPUT", f"spamassassin={ARCHIVE}")
BUNDLE = Path(os.environ.get("BENCH_BUNDLE", bundle.DEFAULT))
DATA = os.environ.get("BENCH_DATA", "")
MESSAGES = int(os.environ.get("BENCH_MESSAGES", "1500"))
OUT = Path(os.environ.get("BENCH_OUT", ROOT / "build" / "simulate"))


def run() -> RenderableType:
    """The tables of the record."""
    if not Path(INPUT.partition("=")[2]).exists():
        return f"simulate: skipped, no {INPUT}; name another with BENCH_INPUT"
    settings = StreamSettings(messages=MESSAGES)
    request = simulate.SimulateRequest([INPUT], BUNDLE, OUT, settings, Path(DATA) if DATA else None)
    record = simulate.simulate(request, Console(stderr=True))
    pages.write(OUT, record)
    parts: list[RenderableType] = []
    for title, (header, rows) in pages.tables(record).items():
        table = Table(*header, title=title)
        for row in rows:
            table.add_row(*row)
        parts.append(table)
    return Group(*parts, *pages.summary(record), str(OUT / "simulate.html"))
