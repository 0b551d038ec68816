"""What a judgement costs: time, memory, place, energy."""

import os
import resource
import sys
import time
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import TypeVar

import msgspec
import numpy as np

from filterd.api import Kind, Message
from filterd.scoring.engine import Engine
from filterd_trainer.data import templates
from filterd_trainer.evaluation.energy import EnergyMeter
from filterd_trainer.evaluation.results import Table

MESSAGES = 200  # of each kind: the 99th percentile is then the second or third slowest
SEED = 123  # of the messages; always the same ones
BATCH = 64  # messages at once, for the throughput
WARM = 5  # messages before the clock counts
MEGA = 1e6

T = TypeVar("T")
NOTES = (
    "Messages are of our own, always the same; alone: one after the other, from its bytes to its verdict.",
    "A dash: this machine does not tell its energy (RAPL), or not to this user.",
)


class MessageCost(msgspec.Struct, frozen=True, kw_only=True):
    """Of one message alone: milliseconds at the median and the 99th percentile. messages_per_second: of many
    at once. joules: of the whole machine a message, alone; None where it does not tell.
    """

    messages: int
    median_ms: float
    p99_ms: float
    messages_per_second: float
    joules: float | None = None


class BundleCost(msgspec.Struct, frozen=True, kw_only=True):
    """A bundle's costs by kind. bytes: on disk; load_seconds: until it judges; memory_bytes: at most, of this
    process, and what of that came with the bundle.
    """

    bundle: str
    threads: int
    bytes: int
    load_seconds: float
    memory_bytes: int
    bundle_memory_bytes: int
    by_kind: dict[str, MessageCost]


def of_messages(judge: Callable[[Sequence[T]], object], messages: Sequence[T]) -> MessageCost:
    """Judge messages one by one and then in batches."""
    for one in messages[:WARM]:
        judge([one])
    taken = np.empty(len(messages))

    def alone() -> None:
        for i, one in enumerate(messages):
            started = time.perf_counter()
            judge([one])
            taken[i] = time.perf_counter() - started

    joules = EnergyMeter.find().joules(alone)
    started = time.perf_counter()
    for i in range(0, len(messages), BATCH):
        judge(messages[i : i + BATCH])
    seconds = time.perf_counter() - started
    median, high = (1000 * float(np.percentile(taken, q)) for q in (50, 99))
    return MessageCost(
        messages=len(messages),
        median_ms=median,
        p99_ms=high,
        messages_per_second=len(messages) / seconds,
        joules=None if joules is None else joules / len(messages),
    )


def of_bundle(path: Path, *, threads: int = 0, messages: int = MESSAGES) -> BundleCost:
    """A bundle as filterd would use it, on messages of our own. threads: 0 for one a core.

    Raises BundleError, RuntimeMissing.
    """
    made = _messages(messages)
    before, started = peak_memory(), time.perf_counter()
    engine = Engine.open(path, threads=threads or None, fast_path=True)
    load_seconds = time.perf_counter() - started
    by_kind = {kind.value: of_messages(engine.judge, some) for kind, some in made.items()}
    most = peak_memory()
    return BundleCost(
        bundle=f"{engine.bundle.manifest.name} {engine.bundle.id}",
        threads=threads or len(os.sched_getaffinity(0)),
        bytes=size(path),
        load_seconds=load_seconds,
        memory_bytes=most,
        bundle_memory_bytes=most - before,
        by_kind=by_kind,
    )


def size(path: Path) -> int:
    """Bytes of a file, or of a folder's files."""
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in files)


def peak_memory() -> int:
    """The most that this process has held so far, in bytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def tables(cost: BundleCost) -> dict[str, Table]:
    """For a person: what a message costs, and what the bundle does."""
    rows = [
        [
            kind,
            f"{one.messages:,}",
            f"{one.median_ms:.2f}",
            f"{one.p99_ms:.2f}",
            f"{one.messages_per_second:,.0f}",
            joules(one.joules),
        ]
        for kind, one in cost.by_kind.items()
    ]
    header = ["kind", "messages", "median, ms", "99%, ms", f"a second, {BATCH} at once", "J a message"]
    whole = [
        ["on disk", f"{cost.bytes / MEGA:.1f} MB"],
        ["until it judges", f"{cost.load_seconds:.2f} s"],
        ["memory of this process", f"{cost.memory_bytes / MEGA:.0f} MB"],
        ["of it with the bundle", f"{cost.bundle_memory_bytes / MEGA:.0f} MB"],
        ["threads", str(cost.threads)],
    ]
    return {cost.bundle: (header, rows), "": (["", ""], whole)}


def joules(value: float | None) -> str:
    """For a table; a dash where nobody tells."""
    return "–" if value is None else f"{value:.3f}"


def _messages(count: int) -> dict[Kind, list[Message]]:
    found: dict[Kind, list[Message]] = {}
    for kind in Kind:
        some = (one for one in templates.generate(20 * count, SEED) if one.kind == kind.value)
        found[kind] = [Message(templates.as_typed(one).encode(), kind=kind) for one in islice(some, count)]
    return found
