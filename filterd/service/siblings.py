"""Workers of one daemon that answer for all of them: counts, latest verdicts and metrics, added up.

Each worker writes what it knows, as JSON, to whoever connects to its socket in a folder of their own; whoever
is asked by a client asks the others. One that does not answer in ASK_S is left out, and is missed in
`filterd_workers`. In a daemon of one process there is nobody to ask.
"""

import asyncio
import contextlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.samples import Sample

ASK_S = 1.0
LARGEST = {"filterd_drift_psi", "filterd_bundle_info"}  # of these the largest counts, of the others the sum

State = dict[str, Any]


class Siblings:
    """The other workers. folder: "" for a worker that is alone."""

    def __init__(self, folder: str = "", number: int = 0, of: int = 1) -> None:
        self._folder, self._number, self._of = folder, number, of
        self._server: asyncio.Server | None = None

    async def start(self, own: Callable[[], State]) -> None:
        """Answer the others with what this one knows."""

        async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            state = own()
            writer.write(await asyncio.to_thread(lambda: json.dumps(state).encode()))
            with contextlib.suppress(OSError):
                await writer.drain()
            writer.close()

        if self._folder:
            path = self._path(self._number)
            path.unlink(missing_ok=True)
            self._server = await asyncio.start_unix_server(answer, path)

    def close(self) -> None:
        """Answer nobody any more."""
        if self._server:
            self._server.close()

    async def states(self) -> list[State]:
        """What the others know."""
        others = (self._ask(number) for number in range(self._of) if number != self._number)
        return [state for state in await asyncio.gather(*others) if state]

    def _path(self, number: int) -> Path:
        return Path(self._folder) / f"{number}.sock"

    async def _ask(self, number: int) -> State | None:
        try:
            async with asyncio.timeout(ASK_S):
                reader, writer = await asyncio.open_unix_connection(self._path(number))
                try:
                    data = await reader.read()
                finally:
                    writer.close()
            return dict(json.loads(data))
        except (OSError, ValueError):  # TimeoutError is an OSError
            return None


def samples(registry: CollectorRegistry) -> list[Any]:
    """All of a registry's metrics as plain lists: name, text, type and samples."""
    return [
        [
            family.name,
            family.documentation,
            family.type,
            [[s.name, s.labels, s.value] for s in family.samples],
        ]
        for family in registry.collect()
    ]


def exposition(of_each: Sequence[list[Any]]) -> bytes:
    """Metrics of several workers as one page (text format 0.0.4)."""
    families: dict[str, Metric] = {}
    values: dict[str, dict[tuple[str, frozenset[tuple[str, str]]], float]] = {}
    for metrics in of_each:
        for name, text, kind, found in metrics:
            families.setdefault(name, Metric(name, text, kind))
            merged = values.setdefault(name, {})
            for sample, labels, value in found:
                key = sample, frozenset(labels.items())
                if sample in LARGEST or sample.endswith("_created"):
                    merged[key] = max(merged.get(key, value), value)
                else:
                    merged[key] = merged.get(key, 0.0) + value
    for name, merged in values.items():
        families[name].samples = [Sample(one, dict(labels), value) for (one, labels), value in merged.items()]
    return generate_latest(_Merged(list(families.values())))


class _Merged:
    """What `generate_latest` asks of a registry."""

    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> list[Metric]:
        return self._families


def status(of_each: Sequence[State]) -> State:
    """The status of a daemon from those of its workers, the first of which is the one that was asked."""
    first = dict(of_each[0])
    for other in of_each[1:]:
        first["judged"] = {label: n + other["judged"].get(label, 0) for label, n in first["judged"].items()}
        first["waiting"] = {name: n + other["waiting"][name] for name, n in first["waiting"].items()}
        for name in ("refused", "abandoned"):
            first[name] += other[name]
        first["warning"] = first["warning"] or other["warning"]
        for name in ("shadow", "trial"):  # of all workers the first has one
            first[name] = first[name] or other[name]
        first["drift"] = _largest(first["drift"], other["drift"])
        first["uptime_s"] = max(first["uptime_s"], other["uptime_s"])
    return first


def _largest(one: State, other: State) -> State:
    """Drift by kind and distribution, of each the larger: a worker that sees strange mail is to be seen."""
    return {
        kind: {of: max(d[kind][of] for d in (one, other) if kind in d) for of in (one | other)[kind]}
        for kind in one | other
    }
