"""A simulation as tables, as curves (PNG and SVG) and as one page that holds everything."""

from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from filterd_trainer.evaluation import pages, report
from filterd_trainer.evaluation.intervals import RESAMPLES, Estimate
from filterd_trainer.evaluation.plots import (
    BLUE,
    DASHED,
    DPI,
    GREEN,
    ORANGE,
    PURPLE,
    SKY,
    SOFT,
    STYLE,
    VERMILION,
)
from filterd_trainer.evaluation.results import Table
from filterd_trainer.simulation.metrics import (
    BOTH,
    COMPARED,
    WINDOW,
    ArmMetrics,
    ArmPartMetrics,
    HostileRun,
    NightCheck,
    SimulationRecord,
)

COLOURS = (SOFT, GREEN, ORANGE, BLUE, VERMILION, PURPLE, SKY)
FORMATS = ("png", "svg")
Images = dict[str, dict[str, bytes]]  # by name, by format


def tables(record: SimulationRecord, wide: bool = True) -> dict[str, Table]:
    """All tables by title. wide: with every interval, as a page has room for; else for a terminal."""
    found: dict[str, Table] = {}
    for part in record.arms[0].parts if record.arms else ():
        some = [(arm, arm.parts[part]) for arm in record.arms if part in arm.parts]
        found[f"{part}, {some[0][1].messages:,} mails, {some[0][1].spam:,} spam"] = _arms(some, wide)
    for part in dict.fromkeys(one.part for one in record.differences):
        found[f"{BOTH} less the others, {part} (below 0: {BOTH} is better)"] = _differences(
            record, part, wide
        )
    for run in record.hostile:
        for name, checks in (("the model on duty", run.alone), ("with the memory", run.whole)):
            found[f"hostile: {run.name}, {name} against the frozen one, on clean mail"] = _checks(checks)
    return found


def summary(record: SimulationRecord) -> list[str]:
    """What was replayed and what came out, in sentences."""
    data, how = record.data, record.settings
    lines = [
        f"{record.bundle} on {data.messages:,} mails ({data.spam:,} spam) of {', '.join(data.inputs)};"
        f" {data.clean:,} more ({data.clean_spam:,} spam) set aside, no near-duplicate of which is streamed.",
        f"A user corrects {how.corrects:.0%} of what is labelled otherwise than it is, unsure included,"
        f" {how.day} messages later, {how.wrong:.0%} of them wrongly; a night every {how.every} messages.",
        "An error is ham called spam, or spam in the inbox, as unsure too.",
    ]
    lines += [f"{name}: skipped, {why}" for name, why in record.skipped.items()]
    return lines + [_hostile_line(run) for run in record.hostile]


def show(record: SimulationRecord, as_json: bool = False) -> None:
    """Print the record: tables for a terminal, or JSON."""
    if as_json:
        print(pages.encoded(record).decode(), end="")
        return
    pages.print_tables(tables(record, wide=False), summary(record))


def write(out: Path, record: SimulationRecord) -> list[Path]:
    """simulate.json, simulate.html and the curves. Raises Unwritable."""
    images = drawings(record)
    files: dict[str, str | bytes] = {
        f"{name}.{form}": content for name, forms in images.items() for form, content in forms.items()
    }
    files |= {"simulate.json": pages.encoded(record), "simulate.html": page(record, images)}
    return pages.write_files(out, files)


def page(record: SimulationRecord, images: Images) -> str:
    """The report."""
    pictures = [
        report.Picture(forms["png"], CAPTIONS[name], CAPTIONS[name]) for name, forms in images.items()
    ]
    sections = [
        report.Chapter("In short", [report.Paragraph(line) for line in summary(record)]),
        report.Chapter("Curves", [report.Gallery(pictures)]),
    ]
    for title, (header, rows) in tables(record).items():
        sections.append(report.Chapter(title, [report.Grid(rows, header)]))
    sections.append(report.Chapter("Nights", [*_nights(record.arms), report.Paragraph(METHOD)]))
    return report.page("Simulation", sections, f"fingerprint of the mails: {record.data.fingerprint}")


METHOD = (
    f"Intervals: 95% percentile bootstrap of {RESAMPLES:,} resamples over groups of near-duplicates;"
    " differences are paired. At equal recall each arm's scores are cut where it catches that share of the"
    " spam. A filter is worse than the frozen one where the one-sided 95% lower bound of its labels'"
    " additional cost (1 wrong, ½ unsure) lies above 0; each look is a test of its own, without a correction"
    " for their number."
)
SHORT = {
    "errors": "errors",
    "not right": "errors, unsure ham",
    "fpr_at_recall_95": "FP at recall 95%",
    "fpr_at_recall_99": "FP at recall 99%",
}
CAPTIONS = {
    "errors": f"Share of errors among the last {WINDOW} messages.",
    "false_positives": "Ham called spam since the beginning.",
    "sum_of_errors": "Errors since the beginning.",
    "hostile": "Cost of labels beyond the frozen one's, on clean mail, after each night; 95% intervals.",
}


# ---- Tables ----------------------------------------------------------------------------------------------


def _arms(some: Sequence[tuple[ArmMetrics, ArmPartMetrics]], wide: bool) -> Table:
    header = ["", "errors", "ham lost", "spam missed", "unsure ham", "FP at 95%", "FP at 99%"]
    rows = []
    for arm, part in some:
        rates = [part.estimates[name] for name in ("errors", "fpr_at_recall_95", "fpr_at_recall_99")]
        errors, *at_recall = [f"{_share(one.value)}{_interval(one, brackets=True)}" for one in rates]
        if not wide:
            errors, *at_recall = [_share(one.value) for one in rates]
        lost = part.false_positives
        missed = f"{part.missed} ({part.unsure_spam} unsure)" if wide else str(part.missed)
        total = f"{lost + part.missed}, {errors}"
        rows.append([arm.name, total, str(lost), missed, str(part.unsure_ham), *at_recall])
    return header, rows


def _differences(record: SimulationRecord, part: str, wide: bool) -> Table:
    names = [name for name in COMPARED if wide or name != "not right"]
    rows = [
        [one.other, *(_signed(one.estimates[name], 2 if wide else 1) for name in names)]
        for one in record.differences
        if one.part == part
    ]
    return ["points, against", *(SHORT[name] for name in names)], rows


def _checks(checks: Sequence[NightCheck]) -> Table:
    header = ["after", "promoted", "more cost", "95% interval", "lower bound", "ham lost (frozen)", "worse"]
    rows = [
        [
            f"{one.at:,}",
            "yes" if one.promoted else "",
            f"{one.more.value or 0.0:+.4f}",
            _interval(one.more, "+.4f", 1),
            f"{one.bound:+.4f}",
            f"{one.false_positives[1]} ({one.false_positives[0]})",
            "YES" if one.worse else "no",
        ]
        for one in checks
    ]
    return header, rows


def _nights(several: Sequence[ArmMetrics]) -> list[report.Grid]:
    counts: list[list[report.Cell]] = [
        [arm.name, arm.corrections, arm.wrong, arm.nights, arm.promoted] for arm in several
    ]
    whys: list[list[report.Cell]] = [
        [arm.name, number, why or "promoted"]
        for arm in several
        for number, why in enumerate(arm.reasons, start=1)
    ]
    header = ["", "corrections", "of them wrong", "nights", "promotions"]
    return [report.Grid(counts, header), report.Grid(whys, ["", "night", "what became of it"])]


def _hostile_line(run: HostileRun) -> str:
    def worse(checks: Sequence[NightCheck]) -> str:
        return f"{sum(one.worse for one in checks)} of {len(checks)} looks"

    return (
        f"hostile, {run.name}: {run.hostile} of {run.honest + run.hostile} corrections; the model on duty is"
        f" worse than the frozen one beyond chance at {worse(run.alone)}, with the memory at"
        f" {worse(run.whole)}"
    )


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.2%}"


def _interval(one: Estimate, form: str = ".2f", scale: float = 100, *, brackets: bool = False) -> str:
    if one.low is None or one.high is None:
        return "" if brackets else "–"
    found = f"{scale * one.low:{form}} … {scale * one.high:{form}}"
    return f" ({found})" if brackets else found


def _signed(one: Estimate, digits: int) -> str:
    if one.value is None:
        return "–"
    form = f"+.{digits}f"
    return f"{100 * one.value:{form}}{_interval(one, form, brackets=True)}"


# ---- Curves ----------------------------------------------------------------------------------------------


def drawings(record: SimulationRecord) -> Images:
    """Every plot."""
    found: Images = {}
    if record.arms:
        found["errors"] = _drawn("Errors among the last messages", lambda axes: _rolling(axes, record))
        found["false_positives"] = _drawn(
            "Ham called spam so far",
            lambda axes: _sums(axes, record, lambda arm: arm.curve.false_positives),
        )
        found["sum_of_errors"] = _drawn(
            "Errors so far", lambda axes: _sums(axes, record, lambda arm: arm.curve.sum_of_errors)
        )
    if record.hostile:
        found["hostile"] = _drawn(
            "Hostile corrections: cost on clean mail", lambda axes: _hostile(axes, record)
        )
    return found


def _drawn(title: str, draw: Callable[[Axes], None]) -> dict[str, bytes]:
    with rc_context({**STYLE, "svg.hashsalt": "filterd"}):
        figure = Figure(figsize=(7.2, 4.4), layout="constrained")
        axes = figure.subplots()
        axes.set_title(title)
        draw(axes)
        axes.set_xlabel("Messages")
        axes.legend(fontsize=9)
        found = {}
        for form in FORMATS:
            buffer, about = (
                BytesIO(),
                {"Software": None} if form == "png" else {"Date": None, "Creator": None},
            )
            figure.savefig(buffer, format=form, dpi=DPI, metadata=about)
            found[form] = buffer.getvalue()
    return found


def _rolling(axes: Axes, record: SimulationRecord) -> None:
    for arm, colour in zip(record.arms, COLOURS, strict=False):
        axes.plot(arm.curve.at, arm.curve.errors, color=colour, linestyle=_style(arm.name), label=arm.name)
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))


def _sums(axes: Axes, record: SimulationRecord, of: Callable[[ArmMetrics], list[int]]) -> None:
    for arm, colour in zip(record.arms, COLOURS, strict=False):
        axes.plot(arm.curve.at, of(arm), color=colour, linestyle=_style(arm.name), label=arm.name)
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))


def _hostile(axes: Axes, record: SimulationRecord) -> None:
    axes.axhline(0, color=SOFT, linewidth=1)
    lines = [(run, name) for run in record.hostile for name in ("alone", "whole")]
    for (run, name), colour in zip(lines, (BLUE, SKY, VERMILION, ORANGE), strict=False):
        checks = run.alone if name == "alone" else run.whole
        x, y = [one.at for one in checks], [one.more.value or 0.0 for one in checks]
        low, high = ([_end(one.more, end) for one in checks] for end in ("low", "high"))
        label = f"{run.name}, {'model alone' if name == 'alone' else 'with the memory'}"
        axes.plot(
            x, y, color=colour, marker="o", ms=3, linestyle="-" if name == "alone" else DASHED, label=label
        )
        axes.fill_between(x, low, high, color=colour, alpha=0.12, linewidth=0)


def _end(one: Estimate, end: str) -> float:
    value = getattr(one, end)
    return float(value if value is not None else one.value or 0.0)


def _style(name: str) -> object:
    return DASHED if name.startswith("bogofilter") else "-"
