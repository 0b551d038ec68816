"""An evaluation's figures as a record (JSON) and as rows of a table, for the terminal and the page alike."""

from collections.abc import Mapping, Sequence

import msgspec
import numpy as np
import numpy.typing as npt

from filterd.api import Label
from filterd_trainer.evaluation.calibrate import rate_bound
from filterd_trainer.evaluation.intervals import (
    NAMES,
    ClassMetrics,
    Estimate,
    Metrics,
    Spread,
    evaluate,
    evaluate_answers,
    evaluate_classes,
    spread,
)
from filterd_trainer.evaluation.scores import SplitAnswers, SplitScores, part, some_of
from filterd_trainer.tasks.task import Task

Row = list[str]
Table = tuple[Row, list[Row]]  # header and rows

NUMBERS = (  # shown as they are; all others are shares, in %
    *("mcc", "roc_auc", "ece", "brier", "log_loss"),
    *("mae", "rmse", "pearson", "spearman", "r2"),
)
COMPARED = ("accuracy", "f1", "mcc", "roc_auc", "recall_at_fpr_0.1", "recall_at_fpr_1", "ece")
CLASSES_COMPARED = (
    *("accuracy", "macro_f1", "micro_f1", "mcc", "log_loss"),
    *("exact", "mae", "rmse", "pearson", "spearman"),
)
UNSEEN = "not in training"


class MeasuredOn(msgspec.Struct, frozen=True, kw_only=True):
    """What was measured on. leaked: messages whose text occurs verbatim in the training part.

    spam: None where no class is ham. fingerprint: sha256 over the split's labels and texts, in order.
    task: what its labels are. only: in words, which of it; "" for all.
    """

    folder: str
    split: str
    messages: int
    spam: int | None
    leaked: int
    fingerprint: str
    only: str = ""
    task: str = "spam"


class Result(msgspec.Struct, frozen=True):
    """One model on one split.

    parts: by name, the whole split first, then (where some leaked) the messages that are not in training;
    none where no class is ham. classes: the same for each class, where there are more than two, or no ham;
    of several labels, numbers and words what their task counts.
    """

    model: str
    parts: dict[str, Metrics]
    classes: dict[str, ClassMetrics]
    fit_seconds: float | None = None
    messages_per_second: float | None = None

    @property
    def figures(self) -> "Mapping[str, Metrics | ClassMetrics]":
        """By part, what tells most: ham against spam, or the classes where none is ham."""
        return self.parts or self.classes


class Evaluation(msgspec.Struct, frozen=True):
    """`metrics.json`: the runs of one evaluation, and over several their mean and spread by part."""

    data: MeasuredOn
    runs: list[Result]
    spread: dict[str, dict[str, Spread]]


class Disagreement(msgspec.Struct, frozen=True):
    """Two models on the same messages: how many only the one or the other got right, McNemar's exact p."""

    model: str
    other: str
    only_model: int
    only_other: int
    p: float


class Comparison(msgspec.Struct, frozen=True):
    """`comparison.json`: models on one split, how each was made, and where they disagree."""

    data: MeasuredOn
    settings: dict[str, str]
    models: list[Result]
    disagreements: list[Disagreement]


def assess(
    scored: SplitScores | SplitAnswers,
    split: str,
    leaked: npt.NDArray[np.bool_],
    groups: npt.ArrayLike | None = None,
    task: Task | None = None,
) -> Result:
    """All figures of a model. leaked: [n]; groups: name of each message's near-duplicates, [n]. task: of the
    model, where its labels have a level above them.

    Raises BadInput for an empty split.
    """
    parts, classes = {}, {}
    for name, chosen in {split: np.ones(len(scored), dtype=bool), UNSEEN: ~leaked}.items():
        if name == UNSEEN and (chosen.all() or not chosen.any()):
            continue
        of = None if groups is None else np.asarray(groups)[chosen]
        if isinstance(scored, SplitAnswers):
            answered = some_of(scored, chosen)
            classes[name] = evaluate_answers(scored.task, answered.said, answered.truth, groups=of)
            continue
        some = part(scored, chosen)
        if scored.ham:
            parts[name] = evaluate(some.probability, some.spam, verdicts=some.verdicts, groups=of)
        if len(scored.labels) > 2 or not scored.ham:
            classes[name] = evaluate_classes(some.classes, some.truth, scored.labels, groups=of)
        if task and (above := task.coarser(some.classes, some.truth)):
            found = evaluate_classes(above.shares, above.truth, above.names, groups=of)
            classes[f"categories, {name}"] = found
    return Result(scored.name, parts, classes, scored.fit_seconds, scored.messages_per_second)


def evaluation(data: MeasuredOn, runs: Sequence[Result]) -> Evaluation:
    """The record of one or several runs."""
    parts = runs[0].figures if len(runs) > 1 else {}
    return Evaluation(data, list(runs), {p: spread([r.figures[p].estimates for r in runs]) for p in parts})


def figures_table(record: Evaluation) -> Table:
    """Every figure of each part: of one run with its 95% interval, of several with their spread."""
    first = record.runs[0]
    header = ["", *(f"{name} ({m.messages:,})" for name, m in first.figures.items())]
    rows = []
    for name in next(iter(first.figures.values())).estimates:
        if record.spread:
            cells = [_spread(name, spreads.get(name)) for spreads in record.spread.values()]
        else:
            cells = [_estimate(name, m.estimates[name]) for m in first.figures.values()]
        rows.append([NAMES[name], *cells])
    return header, rows


def runs_table(runs: Sequence[Result]) -> Table:
    """The accuracy, F1, … of each of several runs on the whole split."""
    there = next(iter(runs[0].figures.values())).estimates
    compared = [name for name in (COMPARED if runs[0].parts else CLASSES_COMPARED) if name in there]
    rows = [[run.model, *_brief(next(iter(run.figures.values())), compared)] for run in runs]
    return ["run", *(NAMES[name] for name in compared)], rows


def confusion_table(metrics: Metrics) -> Table:
    """Truth in rows, what was called in columns, at P(spam) = `threshold`."""
    rows = [
        [name, *(f"{n:,}" for n in row)] for name, row in zip(("ham", "spam"), metrics.confusion, strict=True)
    ]
    return ["truth", "called ham", "called spam"], rows


def decisions_table(metrics: Metrics) -> Table:
    """What filterd's own labels did with ham and with spam. Needs `decisions`."""
    rows = []
    for truth, counts in zip(("ham", "spam"), metrics.decisions or [], strict=False):
        total = max(1, sum(counts))
        rows.append([truth, *(f"{n:,} ({n / total:.1%})" for n in counts)])
    return ["truth", *(f"called {label.value}" for label in Label)], rows


def classes_table(metrics: ClassMetrics) -> Table:
    """Precision, recall and F1 of each class, and their mean."""
    rows = [
        [name, *(_share(row[key]) for key in ("precision", "recall", "f1")), f"{row['support']:,.0f}"]
        for name, row in metrics.by_class.items()
    ]
    mean = [_share(metrics[f"macro_{key}"]) for key in ("precision", "recall", "f1")]
    return ["class", "precision", "recall", "F1", "messages"], [
        *rows,
        ["mean of classes", *mean, f"{metrics.messages:,}"],
    ]


def comparison_table(results: Sequence[Result], split: str) -> Table:
    """Models beside each other on one part."""
    parts = [result.parts[split] for result in results]
    rows = [[NAMES[name], *(_figure(name, m[name]) for m in parts)] for name in COMPARED]
    rows.insert(1, ["  95% interval", *(_interval("accuracy", m.estimates["accuracy"]) for m in parts)])
    if any(split in r.classes for r in results):
        rows.append([NAMES["macro_f1"], *(_share(r.classes[split]["macro_f1"]) for r in results)])
    paces = [r.messages_per_second for r in results]
    rows.append(["Time to train, s", *(_number(r.fit_seconds, 2) for r in results)])
    rows.append(["Messages a second", *("–" if pace is None else f"{pace:,.0f}" for pace in paces)])
    return ["", *(r.model for r in results)], rows


def disagreements_table(pairs: Sequence[Disagreement]) -> Table:
    """Where two models differ, and whether that is more than chance."""
    rows = [[f"{d.model}, {d.other}", str(d.only_model), str(d.only_other), f"{d.p:.3f}"] for d in pairs]
    return ["two models", "only the first right", "only the second right", "McNemar p"], rows


def notes(metrics: Metrics | ClassMetrics) -> list[str]:
    """What a reader has to know about the resolution of these figures."""
    if isinstance(metrics, ClassMetrics):
        return []
    ham, lines = metrics.messages - metrics.spam, []
    if 0 < ham < 1000:
        lines.append(
            f"{ham:,} ham: one of them is {1 / ham:.2%}, so recall at FPR 0.1% is recall with no ham lost."
        )
    if metrics.decisions and ham:
        lost = metrics.decisions[0][list(Label).index(Label.SPAM)]
        lines.append(
            f"{lost:,} of {ham:,} ham called spam: a false-positive rate below {rate_bound(lost, ham):.2%}"
            " with 95% confidence."
        )
    return lines


def _brief(metrics: Metrics | ClassMetrics, names: Sequence[str]) -> Row:
    return [_figure(name, metrics[name]) for name in names]


def _figure(name: str, value: float | None) -> str:
    return _number(value, 4) if name in NUMBERS else _share(value)


def _estimate(name: str, estimate: Estimate) -> str:
    interval = _interval(name, estimate)
    return _figure(name, estimate.value) + (f" [{interval}]" if interval else "")


def _interval(name: str, estimate: Estimate) -> str:
    if estimate.low is None or estimate.high is None:
        return ""
    return f"{_figure(name, estimate.low).rstrip('%')}–{_figure(name, estimate.high)}"


def _spread(name: str, over: Spread | None) -> str:
    if over is None:
        return "–"
    mean, sd, low, high = (_figure(name, v) for v in (over.mean, over.sd, over.low, over.high))
    return f"{mean} ± {sd.rstrip('%')} ({low.rstrip('%')}–{high})"


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.2%}"


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


class ResultHistory(msgspec.Struct, frozen=True):
    """Training as it went: epochs done at each row of the log, the rows, messages an epoch, epoch kept."""

    epochs: list[float]
    rows: list[Mapping[str, float]]
    examples_an_epoch: float
    best: float | None

    def curve(self, measure: str) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
        """Epochs and values of "training" and "validation"; measure: "loss" or "accuracy"."""
        values = {
            "training": [row[f"train_{measure}"] for row in self.rows],
            "validation": [row[f"validation_{measure}"] for row in self.rows],
        }
        return dict.fromkeys(values, self.epochs), values


def history(rows: Sequence[Mapping[str, float]], keep: str = "best") -> ResultHistory | None:
    """The curves in log.jsonl's rows (`train.Evaluation`); None where no epoch was finished.

    keep: the recipe's: whether the best or the last state became the model, or none of the two (`halfway`).
    """
    ends = [row for row in rows if row["epoch_end"]]
    if not ends:
        return None
    per_epoch = ends[-1]["seen"] / ends[-1]["epoch"]
    chosen = {"best": [row for row in rows if row["best"]], "last": list(rows)}.get(keep, [])
    kept = [row["seen"] / per_epoch for row in chosen]
    return ResultHistory(
        [row["seen"] / per_epoch for row in rows], list(rows), per_epoch, kept[-1] if kept else None
    )
