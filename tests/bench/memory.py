"""Time of the memory and rate of the corrections store, on messages of the size of a mail.

Synthetic text of 6 KB with headers: the cost depends on its length alone. Nothing is cached between messages.
"""

import random
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.table import Table

from filterd.api import Kind, Label
from filterd.corrections.correction import seen
from filterd.corrections.following import catch_up
from filterd.corrections.store import Correction, Store, correct
from filterd.scoring.memory import Memory, fuse

MESSAGES = 1000
THREADS = 8


def run() -> Table:
    """Milliseconds a message and corrections a second."""
    table = Table("what", "figure", title="memory and corrections", title_justify="left")
    raws = [_mail(random.Random(i)) for i in range(MESSAGES)]
    found = [seen(raw, Kind.MAIL)[1] for raw in raws]
    told = (Label.HAM, Label.SPAM)
    memory = Memory.rebuild((one, told[i % 2], f"user{i % 50}", 0.0) for i, one in enumerate(found))
    for name, work in (
        ("read, and told what it is known by", lambda i: seen(raws[i], Kind.MAIL)),
        ("recollect and fuse", lambda i: fuse(-3.0, memory.recollect(found[i], "user1"))),
        ("learn", lambda i: memory.learn(found[i], Label.SPAM, "user1", -3.0)),
    ):
        table.add_row(name, f"{1000 * _seconds(work) / MESSAGES:.3f} ms")
    corrections = [correct(raw, Kind.MAIL, Label.SPAM, text=raw[:1500].decode("latin-1")) for raw in raws]
    for name, figure in _store(corrections):
        table.add_row(name, figure)
    return table


def _store(corrections: Sequence[Correction]) -> list[tuple[str, str]]:
    half = len(corrections) // 2
    with tempfile.TemporaryDirectory() as folder, Store.open(Path(folder) / "feedback.db") as store:
        single = _rate(corrections[:half], store.learn, 1)
        many = _rate(corrections[half:], store.learn, THREADS)
        started = time.perf_counter()
        catch_up(store, Memory())
        replay = (time.perf_counter() - started) / len(corrections)
    return [
        ("durable learns, one thread (SQLite)", f"{single:,.0f}/s"),
        (f"durable learns, {THREADS} threads (SQLite)", f"{many:,.0f}/s"),
        ("memory rebuilt from the store", f"{1000 * replay:.3f} ms a correction"),
    ]


def _rate(corrections: Sequence[Correction], learn: Callable[[Correction], object], threads: int) -> float:
    def work(first: int) -> None:
        for correction in corrections[first::threads]:
            learn(correction)

    workers = [threading.Thread(target=work, args=(i,)) for i in range(threads)]
    started = time.perf_counter()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return len(corrections) / (time.perf_counter() - started)


def _seconds(work: Callable[[int], object]) -> float:
    started = time.perf_counter()
    for i in range(MESSAGES):
        work(i)
    return time.perf_counter() - started


def _mail(rng: random.Random) -> bytes:
    words = ["".join(rng.choices("etaoinshrdlu", k=rng.randint(2, 9))) for _ in range(400)]
    body = "\n".join(" ".join(rng.choices(words, k=11)) for _ in range(90))
    return (
        f"Received: from a.example by b.example; {rng.random()}\nFrom: {words[0]}@{words[1]}.example\n"
        f"To: you@example.org\nSubject: {words[2]} {words[3]}\n"
        f"Message-ID: <{rng.random()}@a.example>\n\n{body}\n"
    ).encode()
