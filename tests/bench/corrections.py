"""100,000 corrections by 1,000 owners: memory, CPU time a message, and a restart; no store, no model.

Made mails of 1.5 KB, which many owners meet. `BENCH_CORRECTIONS` is another number of corrections. CPU times,
as the machine may be busy.
"""

import os
import random
import resource
import tempfile
import time
from pathlib import Path

from rich.table import Table

from filterd.api import Kind, Label, Message
from filterd.reading.text import read
from filterd.scoring.memory import Memory, fuse
from filterd.scoring.saved import load, save
from filterd.scoring.traits import Traits, of_message

OWNERS = 1_000
EACH = 2_000  # kinds of mail; more would only take longer to make
ASKED = 2_000


def run() -> Table:
    """Megabytes, milliseconds, seconds."""
    corrections = int(os.environ.get("BENCH_CORRECTIONS", "100_000"))
    rng = random.Random(18)
    known = [_traits(rng, n) for n in range(EACH)]
    memory, before = Memory(), _megabytes()
    started = time.process_time()
    for n in range(corrections):
        one = known[rng.randrange(EACH)]._replace(content_hash=f"{n:064x}")
        label = Label.SPAM if int(one.words[0]) % 2 else Label.HAM
        memory.learn(one, label, f"user{n % OWNERS}", -2.0)
    learned, grown = time.process_time() - started, _megabytes() - before
    started = time.process_time()
    for n in range(ASKED):
        fuse(-2.0, memory.recollect(known[n % EACH], f"user{rng.randrange(OWNERS)}"))
    asked = time.process_time() - started
    table = Table(
        "what", "figure", title=f"{corrections:,} corrections, {OWNERS:,} owners", title_justify="left"
    )
    table.add_row("memory more", f"{grown:.0f} MB")
    table.add_row("learn", f"{1000 * learned / corrections:.3f} ms a correction")
    table.add_row("recollect and fuse", f"{1000 * asked / ASKED:.3f} ms a message")
    table.add_row("owners without a table", f"{sum(who.table is None for who in memory.owners.values()):,}")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "memory.bin"
        save(memory).write(file)
        size, started = file.stat().st_size / 1e6, time.process_time()
        load(file)
        table.add_row(
            "restart from the saved memory", f"{time.process_time() - started:.2f} s, {size:.0f} MB"
        )
    return table


def _traits(rng: random.Random, n: int) -> Traits:
    words = ["".join(rng.choices("abcdefghijklmnop", k=rng.randint(3, 8))) for _ in range(200)]
    raw = f"From: a{n % 50}@s{n % 20}.example\nTo: me@example.org\nSubject: {words[0]}\n\n{' '.join(words)}\n"
    return of_message(raw.encode(), read(Message(raw.encode(), kind=Kind.MAIL))[0])


def _megabytes() -> float:
    """The most that this process has had so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
