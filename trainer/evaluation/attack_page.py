"""The figures of `trainer attack` as a table, as one plot a kind of message, and as a page."""

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from filterd.api import Kind
from filterd_trainer.evaluation import pages, report
from filterd_trainer.evaluation.attack import AttackCurve, AttackRecord
from filterd_trainer.evaluation.intervals import Estimate
from filterd_trainer.evaluation.plots import BLUE, DASHED, DPI, LINE, SOFT, STYLE, VERMILION
from filterd_trainer.evaluation.results import Table

COLUMNS = 4  # panels side by side


def by_strength(record: AttackRecord, kind: Kind) -> Table:
    """One row an attack: recall at the spam threshold at every strength."""
    lines = _lines(record, kind)
    header = ["recall at strength", *(f"{point.strength:g}" for point in lines[0].points)]
    return header, [[line.attack, *(_share(p.recall.value) for p in line.points)] for line in lines]


def at_moderate(record: AttackRecord, kind: Kind) -> Table:
    """One row an attack: what it does at the moderate strength, to spam and to ham."""
    header = [
        f"at strength {record.moderate:g}",
        "points lost",
        "95% interval",
        "",
        "spam or unsure",
        "ham called spam",
    ]
    return header, [_row(line) for line in _lines(record, kind)]


def tables(record: AttackRecord) -> dict[str, Table]:
    """All tables by title."""
    found = {}
    for kind in _kinds(record):
        found[f"{kind.value}: recall at the spam threshold"] = by_strength(record, kind)
        found[f"{kind.value}: the moderate strength"] = at_moderate(record, kind)
    return found


def summary(record: AttackRecord) -> list[str]:
    """What was judged and which attacks exceed what is allowed."""
    found = []
    for kind, (spam, ham) in record.messages.items():
        lines = _lines(record, kind)
        over = [line.attack for line in lines if line.marked]
        said = (
            f"more than {record.allowed:.0%} of recall lost to {', '.join(over)}"
            if over
            else "none is marked"
        )
        if lines:
            found.append(f"{kind.value}: {spam:,} spam and {ham:,} ham; of {len(lines)} attacks {said}")
    return found


def show(record: AttackRecord, as_json: bool = False) -> None:
    """Print the record: tables for a terminal, or JSON."""
    if as_json:
        print(pages.encoded(record).decode(), end="")
        return
    marks = "▼ marks a loss above what is allowed"
    pages.print_tables(tables(record), [record.model, *summary(record), marks])


def write(out: Path, record: AttackRecord) -> list[Path]:
    """attack.json, attack.html and a plot for each kind. Raises Unwritable."""
    images = {f"attack-{kind.value}": plot(record, kind) for kind in _kinds(record)}
    sections = [
        report.Chapter(title, [report.Grid(rows, header)]) for title, (header, rows) in tables(record).items()
    ]
    pictures = [report.Picture(png, f"Recall under attack: {name}") for name, png in images.items()]
    sections.append(report.Chapter("Plots", [report.Gallery(pictures)]))
    known = {line.attack: line.what for line in record.lines}
    sections.append(report.Chapter("The attacks", [report.Grid(list(known.items()), ["attack", "strength"])]))
    data = record.data
    lead = f"{data.folder}, split “{data.split}”, fingerprint {data.fingerprint}. " + ". ".join(
        summary(record)
    )
    page = report.page(f"Attacks on {record.model}", sections, lead)
    files: dict[str, str | bytes] = {"attack.json": pages.encoded(record), "attack.html": page}
    return pages.write_files(out, files | {f"{name}.png": png for name, png in images.items()})


def plot(record: AttackRecord, kind: Kind) -> bytes:
    """A panel an attack: recall (and spam or unsure, dashed) over strength, with 95% intervals. PNG."""
    lines = _lines(record, kind)
    rows = -(-len(lines) // COLUMNS)
    with rc_context({**STYLE, "axes.titlesize": 10, "axes.titlepad": 5}):
        figure, png = Figure(figsize=(2.4 * COLUMNS, 1.75 * rows + 0.9)), BytesIO()
        panels = figure.subplots(rows, COLUMNS, sharex=True, sharey=True, squeeze=False).ravel()
        top = 1 - 0.75 / figure.get_figheight()  # by hand: a layout engine takes seconds for twenty panels
        figure.subplots_adjust(0.06, 0.55 / figure.get_figheight(), 0.99, top, 0.12, 0.35)
        for axes, line in zip(panels, lines, strict=False):
            _panel(axes, line, record)
        for axes in panels[len(lines) :]:
            axes.set_visible(False)
        figure.supxlabel("Strength; the dotted line is the moderate one", fontsize=9.5, color=SOFT)
        title = f"Recall of {kind.value} at the spam threshold; dashed: spam or unsure"
        figure.suptitle(title, fontsize=12, weight="bold", x=0.01, ha="left")
        figure.savefig(png, format="png", dpi=DPI, metadata={"Software": None})
    return png.getvalue()


def _panel(axes: Axes, line: AttackCurve, record: AttackRecord) -> None:
    x = [point.strength for point in line.points]
    colour = VERMILION if line.marked else BLUE
    recall = [point.recall for point in line.points]
    axes.axvline(record.moderate, color=SOFT, linewidth=1, linestyle=":")
    axes.axhline(recall[0].value or 0.0, color=LINE, linewidth=1)
    low, high = ([_number(e, end) for e in recall] for end in ("low", "high"))
    axes.fill_between(x, low, high, color=colour, alpha=0.2, linewidth=0)
    axes.plot(x, [e.value or 0.0 for e in recall], color=colour, marker="o", ms=3)
    axes.plot(x, [point.caught.value or 0.0 for point in line.points], color=colour, linestyle=DASHED, lw=1.2)
    axes.set_title(f"{line.attack}{' ▼' if line.marked else ''}", color=colour)
    axes.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.05))
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.tick_params(labelsize=8)


def _kinds(record: AttackRecord) -> Sequence[Kind]:
    return [kind for kind in Kind if any(line.kind is kind for line in record.lines)]


def _lines(record: AttackRecord, kind: Kind) -> list[AttackCurve]:
    return [line for line in record.lines if line.kind is kind]


def _row(line: AttackCurve) -> list[str]:
    drop = line.moderate.drop
    interval = f"{100 * _number(drop, 'low'):.1f} … {100 * _number(drop, 'high'):.1f}"
    ham = " → ".join(_share(e.value) for e in line.fpr) if line.fpr else "–"
    caught = _share(line.moderate.caught.value)
    return [line.attack, f"{100 * (drop.value or 0):.1f}", interval, "▼" if line.marked else "", caught, ham]


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"


def _number(estimate: Estimate, end: str) -> float:
    value = getattr(estimate, end)
    return float(value if value is not None else estimate.value or 0.0)
