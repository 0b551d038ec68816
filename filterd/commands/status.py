"""`filterd status`: what GET /v1/status says as a table, once or every second.

Rates are differences between two answers; a daemon that was restarted in between begins at nothing again.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table

EVERY_S = 1.0
SHIFTED = 0.25  # PSI from which the traffic is another one; see drift.py
Said = Mapping[str, Any]


def show(said: Said) -> None:
    """Print the table."""
    Console().print(table(said))


def watch(ask: Callable[[], Said]) -> None:
    """The table, anew every second until Ctrl-C. Raises what asking raises."""
    before = ask()
    with Live(table(before), auto_refresh=False) as live:
        while True:
            time.sleep(EVERY_S)
            now = ask()
            live.update(table(now, before), refresh=True)
            before = now


def table(said: Said, before: Said | None = None) -> Table:
    """What the daemon says; with the answer before it, also how many messages a second."""
    made = Table(show_header=False, box=None, pad_edge=False)
    for name, shown in _rows(said, before):
        made.add_row(name, shown or "-")
    return made


def _rows(said: Said, before: Said | None) -> list[tuple[str, str]]:
    judged, waiting, shadow = said["judged"], said["waiting"], said["shadow"]
    rows = [
        ("filterd", f"{said['version']}, up {_duration(said['uptime_s'])}"),
        ("model", f"{said['model']}  ({', '.join(said['labels'])})"),
        *([("warning", said["warning"])] if said.get("warning") else []),
        ("judged", "  ".join(f"{name} {count:,}" for name, count in judged.items()) + _rate(said, before)),
        ("took", "  ".join(f"{name} {value:,.1f} ms" for name, value in said["ms"].items())),
        ("waiting", f"{waiting['messages']:,} messages, {waiting['tokens']:,} tokens"),
        ("not judged", f"{said['refused']:,} refused or late, {said['abandoned']:,} whose client left"),
        ("corrections", f"{said['corrections']:,}"),
    ]
    rows += [(f"drift, {kind}", _drift(of)) for kind, of in said["drift"].items()] or [("drift", "")]
    return [*rows, ("shadow", _shadow(shadow) if shadow else "")]


def _rate(said: Said, before: Said | None) -> str:
    if not before:
        return ""
    seconds = said["uptime_s"] - before["uptime_s"]
    fresh = sum(said["judged"].values()) - sum(before["judged"].values())
    return f"  ({fresh / seconds:,.0f}/s)" if seconds > 0 and fresh >= 0 else ""


def _drift(of: Mapping[str, float]) -> str:
    return "  ".join(f"{name} {psi:.2f}{' shifted' if psi > SHIFTED else ''}" for name, psi in of.items())


def _shadow(shadow: Mapping[str, Any]) -> str:
    agreed = 1 - shadow["differs"] / max(1, shadow["seen"])
    return (
        f"{shadow['model']}: {shadow['seen']:,} seen, {agreed:.2%} alike, P(spam) {shadow['gap']:.4f} apart"
    )


def _duration(seconds: float) -> str:
    minutes, hours = int(seconds) // 60, int(seconds) // 3600
    if hours >= 48:
        return f"{hours // 24} days"
    return f"{hours} h {minutes % 60} min" if hours else f"{minutes} min {int(seconds) % 60} s"
