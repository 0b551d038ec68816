"""Three filterd behind HAProxy with a PostgreSQL between them, each restarted in turn while mails come.

BENCH_CLUSTER (20000): mails at least; there are as many rounds of restarts as these take. With
BENCH_SERVING=tests.filterd.serving the model is left out.
"""

import os

from rich.table import Table

from tests.bench import _mails as mails
from tests.bench import _peers as peers
from tests.peers import cluster

MAILS = int(os.environ.get("BENCH_CLUSTER", "20000"))


def run() -> Table:
    """What was asked, answered and restarted, and how soon a correction was in force on all three."""
    with cluster.running(peers.SERVING) as made:
        found = made.prove(mails.varied(), 1, MAILS)
    seconds = sorted(found.seconds)
    table = Table("three daemons, HAProxy, PostgreSQL", "", title_justify="left")
    for name, value in (
        ("mails", f"{found.messages:,} in {found.wall_s:,.0f} s"),
        ("without a verdict", f"{found.lost:,}"),
        ("answers", "  ".join(f"{outcome} {count:,}" for outcome, count in found.outcomes.most_common())),
        ("restarts", "  ".join(f"{name} {count}" for name, count in found.restarts.items())),
        (
            "a correction is in force on all",
            f"median {seconds[len(seconds) // 2]:.2f} s, worst {seconds[-1]:.2f} s",
        ),
    ):
        table.add_row(name, value)
    return table
