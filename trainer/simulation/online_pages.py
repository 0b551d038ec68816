"""`trainer simulate --online` as a table for a terminal, a page and a picture."""

from io import BytesIO
from pathlib import Path
from typing import Final

from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from filterd_trainer.evaluation import pages, report
from filterd_trainer.evaluation.plots import BLUE, DASHED, DPI, GREEN, SOFT, STYLE, VERMILION
from filterd_trainer.evaluation.results import Table
from filterd_trainer.simulation import online
from filterd_trainer.simulation.online import (
    BOGOFILTER,
    FUSED,
    LEARNER,
    MODEL,
    SETTLED,
    OnlineRecord,
    OnlineRun,
    OnlineSettings,
)

COLOURS: Final = {MODEL: SOFT, LEARNER: GREEN, FUSED: BLUE, BOGOFILTER: VERMILION}
FORMATS: Final = ("png", "svg")


def tables(record: OnlineRecord) -> dict[str, Table]:
    """A table a mode, by its title."""
    header = ["", "1-ROCA", "recall at 0.1%", "ham lost", f"from {SETTLED:,} on", "missed", "unsure", "said"]
    modes = dict.fromkeys(run.mode for run in record.runs)
    return {
        f"corrected: {_said(mode, record.settings)}": (
            header,
            [_row(run) for run in record.runs if run.mode == mode],
        )
        for mode in modes
    }


def summary(record: OnlineRecord) -> list[str]:
    """What was replayed, in sentences."""
    lines = [
        f"{record.bundle} on {record.messages:,} mails ({record.spam:,} spam) of {', '.join(record.inputs)},"
        f" {record.first} to {record.last}, in the order of their dates.",
        "1-ROCA in percent, smaller is better; recall: of spam, where 0.1% of ham is lost; ham lost: called"
        " spam; missed: spam called ham; said: corrections heard.",
    ]
    lines += [f"{count:,} left out: {why}" for why, count in record.lost.items()]
    return lines + [f"{name}: skipped, {why}" for name, why in record.skipped.items()]


def show(record: OnlineRecord, as_json: bool = False) -> None:
    """Print the record: tables for a terminal, or JSON."""
    if as_json:
        print(pages.encoded(record).decode(), end="")
        return
    pages.print_tables(tables(record), summary(record))


def write(out: Path, record: OnlineRecord) -> list[Path]:
    """online.json, online.html and the picture. Raises Unwritable."""
    images = {form: drawing(record, form) for form in FORMATS}
    files: dict[str, str | bytes] = {f"online.{form}": image for form, image in images.items()}
    files |= {"online.json": pages.encoded(record), "online.html": page(record, images["png"])}
    return pages.write_files(out, files)


def page(record: OnlineRecord, picture: bytes) -> str:
    """The report."""
    caption = "Ham called spam (line) and spam called ham (dashed) since the beginning."
    sections = [
        report.Chapter("In short", [report.Paragraph(line) for line in summary(record)]),
        report.Chapter("Errors", [report.Gallery([report.Picture(picture, caption, caption)])]),
    ]
    for title, (header, rows) in tables(record).items():
        sections.append(report.Chapter(title.capitalize(), [report.Grid(rows, header)]))
    return report.page("Learning mail by mail", sections, f"fingerprint of the mails: {record.fingerprint}")


def drawing(record: OnlineRecord, form: str) -> bytes:
    """Errors so far, a panel a mode."""
    modes = list(dict.fromkeys(run.mode for run in record.runs)) or ["all"]
    with rc_context({**STYLE, "svg.hashsalt": "filterd"}):
        figure = Figure(figsize=(7.2, 2.6 * len(modes) + 0.8), layout="constrained")
        panels = figure.subplots(len(modes), 1, sharex=True, squeeze=False)[:, 0]
        for mode, axes in zip(modes, panels, strict=True):
            axes.set_title(_said(mode, record.settings))
            for run in (one for one in record.runs if one.mode == mode):
                colour = COLOURS[run.filter]
                axes.plot(record.at, run.lost_by, color=colour, label=run.filter)
                axes.plot(record.at, run.missed_by, color=colour, linestyle=DASHED)
            axes.set_yscale("symlog", linthresh=10)
            axes.set_ylim(bottom=0)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            axes.set_ylabel("Mails")
        if record.runs:
            panels[0].legend(fontsize=9, ncols=len(online.FILTERS))
        panels[-1].set_xlabel("Mails judged")
        buffer = BytesIO()
        about = {"Software": None} if form == "png" else {"Date": None, "Creator": None}
        figure.savefig(buffer, format=form, dpi=DPI, metadata=about)
        return buffer.getvalue()


def _said(mode: str, settings: OnlineSettings) -> str:
    return {
        "all": "every mail, at once",
        "errors": "errors, at once",
        "late": f"{settings.corrects:.0%} of errors, {settings.day} mails later",
        "wrong": f"every mail, {settings.wrong:.0%} wrongly",
    }[mode]


def _row(run: OnlineRun) -> list[str]:
    late = "–" if run.late_share is None else f"{run.late_lost} ({run.late_share:.3f}%)"
    area = "–" if run.one_less_area is None else f"{run.one_less_area:.4f}"
    recall = "–" if run.recall is None else f"{run.recall:.1f}"
    return [
        run.filter,
        area,
        recall,
        str(run.lost),
        late,
        str(run.missed),
        str(run.unsure),
        f"{run.corrections:,}",
    ]


def run(request: online.OnlineRequest, as_json: bool) -> None:
    """The command: simulate, write the files, print the tables."""
    from rich.console import Console

    record = online.simulate(request, Console(stderr=True, highlight=False))
    write(request.out, record)
    show(record, as_json)
