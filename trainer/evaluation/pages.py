"""Evaluation and comparison as files: PNGs and one HTML page that holds them all."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from filterd.api import Label
from filterd_trainer.evaluation import plots, report
from filterd_trainer.evaluation.intervals import RESAMPLES, Metrics
from filterd_trainer.evaluation.results import (
    Comparison,
    Evaluation,
    MeasuredOn,
    Result,
    ResultHistory,
    Table,
    classes_table,
    comparison_table,
    confusion_table,
    decisions_table,
    disagreements_table,
    figures_table,
    notes,
    runs_table,
)
from filterd_trainer.evaluation.scores import SplitAnswers, SplitScores
from filterd_trainer.tasks import tasks
from filterd_trainer.tasks.task import Task

SHOWN = 120  # characters of a misjudged message: enough to recognise it
CAPTIONS = {
    "loss": "As logged while training: cross entropy in nats, of numbers the squared error in variances.",
    "accuracy": "Share called rightly, as logged while training.",
    "confusion": "Each message by its most probable class.",
    "labels": "F1 of each label, and how many messages have it.",
    "numbers": "Each message by the number it has and the one it was given; on the line they are the same.",
    "decisions": "The labels that filterd gives, with its two thresholds.",
    "roc": "The inset shows the region that matters for a mail filter: hardly any ham lost.",
    "reliability": "Dots on the diagonal are probabilities that can be taken at their word.",
    "threshold": "The coloured band is the bundle's unsure band, the line its spam threshold.",
    "scores": "Ham above, spam below; probabilities on a log-odds axis.",
}


def drawings(
    scored: SplitScores | SplitAnswers, result: Result, history: ResultHistory | None
) -> dict[str, bytes]:
    """Every plot of one model, PNG by name."""
    found: dict[str, bytes] = {}
    for measure in ("loss", "accuracy") if history else ():
        assert history is not None
        epochs, values = history.curve(measure)
        title = "Loss" if measure == "loss" else _hit(scored)
        found[measure] = plots.learning_curve(title, epochs, values, history.examples_an_epoch, history.best)
    several = next(iter(result.classes.values()), None)
    if isinstance(scored, SplitAnswers):
        return found | _of_answers(scored, result)
    if several:
        found["confusion"] = plots.confusion_matrix(several.confusion, several.names, several.names)
    if not result.parts:
        return found
    whole = next(iter(result.parts.values()))
    if not several:
        found["confusion"] = plots.confusion_matrix(whole.confusion, ["ham", "spam"], ["ham", "spam"])
    if whole.decisions is not None:
        called = [label.value for label in Label]
        found["decisions"] = plots.confusion_matrix(
            whole.decisions, ["ham", "spam"], called, "Decisions of filterd"
        )
    p, spam = scored.probability, scored.spam
    found["roc"] = plots.roc_curve({scored.name: (p, spam)})
    found["reliability"] = plots.reliability_diagram(p, spam)
    found["threshold"] = plots.threshold_curve(p, spam, scored.thresholds)
    found["scores"] = plots.score_histogram(p, spam, scored.thresholds)
    return found


def _hit(scored: SplitScores | SplitAnswers) -> str:
    said = scored.task.hit if isinstance(scored, SplitAnswers) else Task.hit
    return said[0].upper() + said[1:]


def _of_answers(scored: SplitAnswers, result: Result) -> dict[str, bytes]:
    """A plot of F1 by label, or of numbers."""
    if by_label := next(iter(result.classes.values())).by_class:
        return {"labels": plots.by_label(by_label)}
    said, truth = ([one.value or 0.0 for one in of] for of in (scored.said, scored.truth))
    return {"numbers": plots.numbers(truth, said)}


def write_evaluation(
    out: Path,
    record: Evaluation,
    scored: Sequence[SplitScores | SplitAnswers],
    histories: Sequence[ResultHistory | None],
) -> list[Path]:
    """metrics.json, report.html and the PNGs of the first run. Returns their paths. Raises Unwritable."""
    images = drawings(scored[0], record.runs[0], histories[0])
    if len(scored) > 1 and "roc" in images:
        images["roc"] = plots.roc_curve(_curves([one for one in scored if isinstance(one, SplitScores)]))
    files: dict[str, str | bytes] = {f"{name}.png": png for name, png in images.items()}
    files["metrics.json"] = encoded(record)
    files["report.html"] = evaluation_page(record, images)
    return write_files(out, files)


def write_comparison(out: Path, record: Comparison, scored: Sequence[SplitScores]) -> list[Path]:
    """comparison.json, comparison.html and roc.png. Raises Unwritable."""
    images = {"roc": plots.roc_curve(_curves(scored))}
    page = comparison_page(record, images)
    files: dict[str, str | bytes] = {"comparison.json": encoded(record), "comparison.html": page}
    return write_files(out, files | {f"{name}.png": png for name, png in images.items()})


def show_evaluation(record: Evaluation, as_json: bool = False) -> None:
    """Print an evaluation: tables for a terminal, or the record as JSON."""
    if as_json:
        print(encoded(record).decode(), end="")
        return
    first = record.runs[0]
    several = f"{len(record.runs)} runs" if len(record.runs) > 1 else first.model
    tables = {f"{several} on {_lead(record.data)}": figures_table(record)}
    if len(record.runs) > 1:
        tables["Run by run"] = runs_table(record.runs)
    if not first.classes:
        tables |= {f"Confusion, {n}": confusion_table(m) for n, m in first.parts.items()}
    tables |= {f"Decisions, {n}": decisions_table(m) for n, m in first.parts.items() if m.decisions}
    tables |= {f"By class, {n}": classes_table(m) for n, m in first.classes.items() if m.by_class}
    print_tables(tables, [*notes(next(iter(first.figures.values()))), _leak(record.data)])


def show_misjudged(scored: SplitScores | SplitAnswers, texts: Sequence[str], most: int) -> None:
    """The messages that were answered wrong, the surest or largest errors first, a line each."""
    wrong = _wrong_answers(scored) if isinstance(scored, SplitAnswers) else _wrong_classes(scored)
    print(
        f"{len(wrong):,} of {len(scored):,} misjudged{f', the surest {most:,}' if len(wrong) > most else ''}"
    )
    for i, said in wrong[:most]:
        line = " ".join(texts[i].split())
        plain = "".join(c if c.isprintable() else " " for c in line[:SHOWN])
        print(f"  {said}  {plain}{'…' if len(line) > SHOWN else ''}")


def _wrong_classes(scored: SplitScores) -> list[tuple[int, str]]:
    """Places of the messages whose most probable class is not theirs, and what was said; the surest first."""
    called = scored.called
    wrong = [i for i in range(len(scored)) if called[i] != scored.truth[i]]
    wrong.sort(key=lambda i: float(scored.classes[i, scored.truth[i]]))
    of = "P(spam)" if scored.ham else "P"
    return [
        (
            i,
            f"{scored.labels[scored.truth[i]]} called {scored.labels[called[i]]}"
            f"  {of} {scored.probability[i]:.3f}",
        )
        for i in wrong
    ]


def _wrong_answers(scored: SplitAnswers) -> list[tuple[int, str]]:
    misses = [scored.task.misses(*pair) for pair in zip(scored.said, scored.truth, strict=True)]
    wrong = sorted((i for i, miss in enumerate(misses) if miss), key=lambda i: -misses[i])
    return [(i, f"{scored.truth[i].text} answered {scored.said[i].text}") for i in wrong]


def show_comparison(record: Comparison, as_json: bool = False) -> None:
    """Print a comparison: tables for a terminal, or the record as JSON."""
    if as_json:
        print(encoded(record).decode(), end="")
        return
    parts = record.models[0].parts
    tables = {
        f"{name}, {m.messages:,} messages": comparison_table(record.models, name) for name, m in parts.items()
    }
    if record.disagreements:
        tables["Disagreements"] = disagreements_table(record.disagreements)
    print_tables(tables, [_lead(record.data), *notes(next(iter(parts.values()))), _leak(record.data)])


def evaluation_page(record: Evaluation, images: Mapping[str, bytes]) -> str:
    """The report of an evaluation."""
    first = record.runs[0]
    whole = next(iter(first.figures.values()))
    shown = [report.Paragraph(note) for note in notes(whole)]
    sections = [report.Chapter("In short", [_table(figures_table(record)), *shown])]
    if len(record.runs) > 1:
        sections.append(report.Chapter("Run by run", [_table(runs_table(record.runs))]))
    if isinstance(whole, Metrics) and whole.decisions is not None:
        tables = [_table(decisions_table(m), name) for name, m in first.parts.items()]
        sections.append(report.Chapter("Decisions", tables))
    for name, metrics in first.classes.items():
        if metrics.by_class:
            sections.append(report.Chapter(f"By class, {name}", [_table(classes_table(metrics))]))
    training = [name for name in ("loss", "accuracy") if name in images]
    if training:
        sections.append(report.Chapter("Training", [_gallery(images, training)]))
    others = [name for name in images if name not in training]
    sections += [
        report.Chapter("Plots", [_gallery(images, others)]),
        _method(record.data),
    ]
    return report.page(f"Evaluation of {first.model}", sections, _lead(record.data))


def comparison_page(record: Comparison, images: Mapping[str, bytes]) -> str:
    """The report of a comparison."""
    parts = record.models[0].parts
    sections = [
        report.Chapter(f"{name} ({m.messages:,} messages)", [_table(comparison_table(record.models, name))])
        for name, m in parts.items()
    ]
    if record.disagreements:
        sections.append(report.Chapter("Disagreements", [_table(disagreements_table(record.disagreements))]))
    lines = [[name, text] for name, text in record.settings.items()]
    shown = [report.Paragraph(note) for note in notes(next(iter(parts.values())))]
    sections += [
        report.Chapter("ROC", [_gallery(images, ["roc"]), *shown]),
        report.Chapter("Settings", [report.Grid(lines, ["model", "how"])]),
        _method(record.data),
    ]
    return report.page("Comparison", sections, _lead(record.data))


def _leak(data: MeasuredOn) -> str:
    if not data.leaked:
        return "No text of this split occurs verbatim in the training part."
    return (
        f"{data.leaked:,} of the {data.messages:,} texts occur verbatim in the training part; "
        "“not in training” leaves them out."
    )


def print_tables(tables: Mapping[str, Table], lines: Sequence[str]) -> None:
    """Tables below each other, numbers to the right, and lines of plain text."""
    from rich import box
    from rich.console import Console
    from rich.table import Table as Drawn
    from rich.text import Text

    console = Console(highlight=False, markup=False)
    for title, (header, rows) in tables.items():
        drawn = Drawn(title=Text(title), title_justify="left", box=box.SIMPLE_HEAD)
        for i, name in enumerate(header):
            drawn.add_column(Text(name), justify="right" if i else "left", overflow="fold", no_wrap=not i)
        for row in rows:
            drawn.add_row(*map(Text, row))
        console.print(drawn)
    for line in lines:
        console.print(line)


def _method(data: MeasuredOn) -> report.Chapter:
    lines = (
        tasks.kind(data.task).method,
        f"Intervals are 95% percentile bootstrap intervals of {RESAMPLES:,} resamples. A dash is a figure"
        " that these messages do not define.",
        _leak(data),
        f"Fingerprint of the split: {data.fingerprint}",
    )
    return report.Chapter("How it was measured", [report.Paragraph(line) for line in lines])


def _lead(data: MeasuredOn) -> str:
    spam = "" if data.spam is None else f", {data.spam:,} of them spam"
    return f"{data.folder}, split “{data.split}”: {data.messages:,} messages{spam}"


def _table(table: Table, caption: str = "") -> report.Grid:
    header, rows = table
    return report.Grid(rows, header, caption)


def _gallery(images: Mapping[str, bytes], names: Sequence[str]) -> report.Gallery:
    return report.Gallery([report.Picture(images[n], f"{n}: {CAPTIONS[n]}", CAPTIONS[n]) for n in names])


def _curves(scored: Sequence[SplitScores]) -> dict[str, plots.Scored]:
    return {s.name: (s.probability, s.spam) for s in scored}


def encoded(record: object) -> bytes:
    """A record as indented JSON."""
    return msgspec.json.format(msgspec.json.encode(record), indent=1) + b"\n"


def write_files(out: Path, files: Mapping[str, str | bytes]) -> list[Path]:
    """Files of a report by name; returns their paths. Raises Unwritable."""
    for name, content in files.items():
        report.write(out / name, content)
    return [out / name for name in files]
