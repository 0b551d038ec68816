"""How long each page of the console takes over 100,000 messages: `python -m tests.bench.console_pages`.

CPU time of this process beside wall clock, the median of ten; the machine of a build is never quiet.
"""

import asyncio
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from filterd.api import Kind, Label
from filterd.history.record import at
from filterd.history.store import HistoryStore
from filterd.policy.policy import Policy
from filterd.quarantine import index
from filterd.quarantine.store import QuarantineStore
from tests.filterd.console.made import console_of
from tests.filterd.history.made import row

PAGES = [
    "",
    "?range=week",
    "?range=month",
    "messages",
    "messages?text=nothing+like+it",
    "messages?label=unsure",
]
PAGES += [
    "messages?to=r7@example.org",
    "learn",
    "lists",
    "lists?kind=mail&unsure=0.5&spam=0.95",
    "models",
    "status",
    "quarantine",
    "quarantine?text=nothing+like+it",
    "quarantine?to=r7@example.org",
    "quarantine?state=all",
]
BATCH = 2_000


def fill(history: HistoryStore, keys: list[str], messages: int) -> None:
    """Messages of the last 30 days, with subjects and addresses."""
    chance = random.Random(1)
    now = time.time()
    times = sorted(now - chance.random() * 30 * 86_400 for _ in range(messages))
    made = []
    for i, when in enumerate(times):
        number = at(when) + i % 4096
        changes: dict[str, Any] = {
            "label": chance.choice(list(Label)),
            "kind": chance.choice(list(Kind)),
            "name": f"q{i}",
        }
        changes |= {
            "probability": chance.random(),
            "subject": f"Subject number {i} of a usual length",
            "time": when,
        }
        made.append((row(**changes, number=number, recipient_keys=(keys[i % len(keys)],)), None))
        if len(made) == BATCH or i == messages - 1:
            history.add(made)
            made = []
            while history.catch_up():  # as the daemon's recorder does
                pass


def hold(quarantine: QuarantineStore, messages: int) -> None:
    """As many held messages, in the index alone: no page of a list reads their files."""
    rows, people = [], []
    for i in range(messages):
        number = at(time.time() - 86_400.0) + i
        row = {"number": number, "time": time.time(), "host": "here", "listener": "milter", "name": f"q{i}"}
        row |= {"sender": f"s{i}@bad.example", "subject": f"Subject number {i} of a usual length"}
        rows.append(row | {"kind": "mail", "label": "spam", "points": 7.0, "size": 5_000, "kept": True})
        (key,) = quarantine.keys(f"r{i % 50}@example.org") or ()
        waiting = {"key": key, "number": number, "address": f"r{i % 50}@example.org"}
        people.append(waiting | {"state": "held", "by": ""})
    with quarantine.index._database.writing() as connection:
        connection.execute(index._ROWS.insert(), rows)
        connection.execute(index._PEOPLE.insert(), people)


async def measure(messages: int) -> str:
    """A line for each page."""
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        async with console_of(Path(folder)) as made:
            made.service.policy = Policy.open(made.service.config)
            assert made.desk.history
            fill(
                made.desk.history, [made.desk.keys.address(f"r{i}@example.org") for i in range(50)], messages
            )
            made.service.quarantine = quarantine = QuarantineStore.open(made.service.config)
            hold(quarantine, messages)
            lines.append(f"{made.desk.history.size():,} messages, as many held")
            async with made.sign_in() as client:
                for page in PAGES:
                    wall, cpu = [], []
                    for _ in range(10):
                        started = time.perf_counter(), time.process_time()
                        answer = await client.get(f"/console/{page}")
                        assert answer.status_code == 200, answer.text
                        wall.append(1000 * (time.perf_counter() - started[0]))
                        cpu.append(1000 * (time.process_time() - started[1]))
                    lines.append(
                        f"{statistics.median(cpu):7.1f} ms CPU {statistics.median(wall):7.1f} ms  /{page}"
                    )
            made.service.policy.close()
            quarantine.close()
    return "\n".join(lines)


def run(messages: int = 100_000) -> str:
    """Measure every page."""
    return asyncio.run(measure(messages))


if __name__ == "__main__":
    print(run(*map(int, sys.argv[1:])))
