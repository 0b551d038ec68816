"""The record of a retraining as JSON, and as one page that says what was done and what changed.

Messages are named by the beginnings of their hashes only: the page may lie where people's mail may not.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from filterd.api import Kind, Label
from filterd.scoring.bundle import Bundle
from filterd_trainer.evaluation import judge, plots, report
from filterd_trainer.evaluation.report import Cell
from filterd_trainer.evaluation.results import Result, ResultHistory, Table
from filterd_trainer.evaluation.scores import SplitScores
from filterd_trainer.retraining.gate import Evidence, Finding, HeldOutMail
from filterd_trainer.retraining.material import Material
from filterd_trainer.retraining.recalibrate import CalibrationChoice
from filterd_trainer.retraining.run_folder import RetrainPlan

RECORD, PAGE = "record.json", "report.html"
ID_CHARACTERS = 16  # of a content hash, as `filterd feedback list` shows it
SHOWN_FIGURES = ("accuracy", "recall", "fpr", "roc_auc", "brier", "log_loss")
MAX_FLIPS = 500  # listed in the record; the page shows fewer
MAX_FLIPS_SHOWN = 60


class RetrainFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What went in. sides: messages by role and side; left_out: by reason; calibration: how, by kind."""

    champion: str
    strategy: str
    plan: RetrainPlan
    new: dict[str, int]
    dropped: dict[str, int]
    left_out: dict[str, int]
    sides: dict[str, dict[str, int]]
    calibration: dict[str, str]


class LabelFlip(msgspec.Struct, frozen=True, kw_only=True):
    """A held-out message that the two models label differently."""

    message: str
    truth: Label
    role: str
    before: Label
    after: Label
    probability_before: float
    probability_after: float


class RetrainRecord(msgspec.Struct, frozen=True):
    """`record.json`. models: champion and challenger on what was held out; flips: where they differ."""

    facts: RetrainFacts
    gate: list[Finding]
    models: list[Result] = []
    flips: list[LabelFlip] = []
    flipped: int = 0
    history: ResultHistory | None = None
    promoted: bool = False
    reason: str = ""
    challenger: str | None = None
    plots: dict[str, bytes] = {}


def facts(
    plan: RetrainPlan,
    found: Material,
    strategy: str,
    champion: Bundle,
    choices: Mapping[Kind, CalibrationChoice],
) -> RetrainFacts:
    """What a run was made from."""
    sides: dict[str, dict[str, int]] = {}
    for role, rows in found.frame.groupby("Role", sort=True):
        sides[str(role)] = {str(side): int(n) for side, n in rows["Side"].value_counts().items()}
    return RetrainFacts(
        champion=champion.id,
        strategy=strategy,
        plan=plan,
        new=found.new,
        dropped=dict(found.dropped),
        left_out=dict(found.left_out),
        sides=sides,
        calibration={kind.value: one.how for kind, one in choices.items()},
    )


def without_challenger(about: RetrainFacts, findings: Sequence[Finding]) -> RetrainRecord:
    """The record of a run that had too little to learn from."""
    return RetrainRecord(about, list(findings))


def record(
    about: RetrainFacts,
    findings: Sequence[Finding],
    evidence: Evidence,
    subject: judge.EvaluationSplit,
    scored: tuple[SplitScores, SplitScores],
    run: Path,
) -> RetrainRecord:
    """The record of a comparison. scored: champion and challenger on `subject`."""
    flips = _flips(evidence.compared(), subject)
    results = [subject.assess(one) for one in scored]
    drawn = {
        f"decisions_{one.model}": plots.confusion_matrix(
            _decisions(one), ["ham", "spam"], [x.value for x in Label], f"Decisions of the {one.model}"
        )
        for one in results
    }
    history = judge.read_log(run)
    if history:
        epochs, values = history.curve("loss")
        values = {"training": values["training"], "held-out corrections": values["validation"]}
        epochs = dict.fromkeys(values, epochs["training"])
        drawn["loss"] = plots.learning_curve("Loss", epochs, values, history.examples_an_epoch)
    return RetrainRecord(about, list(findings), results, flips[:MAX_FLIPS], len(flips), history, plots=drawn)


def _flips(held: HeldOutMail, subject: judge.EvaluationSplit) -> list[LabelFlip]:
    frame = subject.frame
    ids, roles = frame["Id"].astype(str), frame["Role"].astype(str)
    return [
        LabelFlip(
            message=ids[i][:ID_CHARACTERS],
            truth=Label.SPAM if held.is_spam[i] else Label.HAM,
            role=roles[i],
            before=held.champion.labels[i],
            after=held.challenger.labels[i],
            probability_before=round(float(held.champion.probability[i]), 6),
            probability_after=round(float(held.challenger.probability[i]), 6),
        )
        for i in range(len(frame))
        if held.champion.labels[i] is not held.challenger.labels[i]
    ]


def summary(record: RetrainRecord) -> dict[str, Any]:
    """What a bundle's manifest keeps of it: the figures of both models, and the gate's findings."""
    figures: dict[str, dict[str, Any]] = {}
    for one in record.models:
        (metrics,) = list(one.parts.values())[:1]
        figures[one.model] = {name: metrics[name] for name in SHOWN_FIGURES} | {
            "messages": metrics.messages,
            "spam": metrics.spam,
            "decisions": metrics.decisions,
        }
    return {
        "figures": figures,
        "gate": {one.rule: one.found for one in record.gate},
        "corrections": record.facts.new,
    }


def _decisions(result: Result) -> list[list[int]]:
    return next(iter(result.parts.values())).decisions or [[0] * 3, [0] * 3]


# ---- Files -----------------------------------------------------------------------------------------------


def write(folder: Path, record: RetrainRecord) -> None:
    """record.json and report.html. Raises Unwritable."""
    plain = msgspec.structs.replace(record, plots={})
    report.write(folder / RECORD, msgspec.json.format(msgspec.json.encode(plain), indent=1) + b"\n")
    report.write(folder / PAGE, page(record))


def page(record: RetrainRecord) -> str:
    """The whole page."""
    sections = [report.Chapter("What became of it", [report.Paragraph(verdict(record)), _gate(record)])]
    sections.append(report.Chapter("Data", _data(record.facts)))
    if record.models:
        sections += [
            report.Chapter("Both models on what was held out", [_figures(record), _gallery(record)]),
            report.Chapter("Messages that flip", _flip_table(record)),
        ]
    return report.page(
        "Retraining", sections, f"from {record.facts.champion}, strategy {record.facts.strategy}"
    )


def verdict(record: RetrainRecord) -> str:
    """The outcome in one line."""
    if record.promoted:
        return f"promoted: {record.challenger} judges from now on"
    return f"not promoted: {record.reason}"


def _gate(record: RetrainRecord) -> report.Grid:
    rows: list[list[Cell]] = [
        [one.rule, "yes" if one.passed else "NO", one.found, one.asked] for one in record.gate
    ]
    return report.Grid(rows, ["rule", "passed", "found", "wanted"], "The gate: every rule has to pass.")


def _data(about: RetrainFacts) -> list[report.Block]:
    names = sorted({side for sides in about.sides.values() for side in sides})
    rows: list[list[Cell]] = [
        [role, *(sides.get(name, 0) for name in names)] for role, sides in about.sides.items()
    ]
    sources: list[list[Cell]] = [[name, n, about.dropped.get(name, 0)] for name, n in about.new.items()]
    left: list[list[Cell]] = [[why, n] for why, n in about.left_out.items()]
    calibration: list[list[Cell]] = [[kind, how] for kind, how in about.calibration.items()]
    parts: list[report.Block] = [
        report.Paragraph(
            f"Corrections number {about.plan.since + 1} to {about.plan.until} are new; the last word on a"
            " message counts, near-duplicates stay together, and the newest are held out."
        ),
        report.Grid(rows, ["messages", *names]),
        report.Grid(sources, ["new corrections from", "used", "left out by the quota"]),
    ]
    if left:
        parts.append(report.Grid(left, ["left out because", "messages"]))
    if calibration:
        parts.append(report.Grid(calibration, ["kind", "calibration and thresholds"]))
    return parts


def _figures(record: RetrainRecord) -> report.Grid:
    header, rows = figures_table(record)
    return report.Grid(rows, header)


def figures_table(record: RetrainRecord) -> Table:
    """Figures of champion and challenger beside each other, for the page and the terminal."""
    parts = [next(iter(one.parts.values())) for one in record.models]
    rows = []
    for name in SHOWN_FIGURES:
        values = [m[name] for m in parts]
        rows.append([name, *("–" if v is None else f"{v:.4f}" for v in values)])
    return ["", *(one.model for one in record.models)], rows


def _gallery(record: RetrainRecord) -> report.Gallery:
    captions = {"loss": "Nothing was chosen by the held-out corrections; the last state is what was judged."}
    return report.Gallery(
        [report.Picture(png, name, captions.get(name, "")) for name, png in record.plots.items()]
    )


def _flip_table(record: RetrainRecord) -> list[report.Block]:
    rows: list[list[Cell]] = [
        [f.message or "–", f.role, f.truth, f.before, f.after, f.probability_before, f.probability_after]
        for f in record.flips[:MAX_FLIPS_SHOWN]
    ]
    more = record.flipped - len(rows)
    header = ["message", "role", "truth", "was", "is", "P(spam) was", "is"]
    said = [report.Paragraph(f"and {more} more")] if more > 0 else []
    return [report.Grid(rows, header), *said]
