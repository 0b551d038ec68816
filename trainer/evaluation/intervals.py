"""How good a classifier is: from arrays of probabilities and truths to figures with intervals.

Strategy: every figure is computed from *weights* of messages, for many weightings at once (weights of one
are the sample itself, and each bootstrap resample is a row of counts). So the point estimate and its
interval come from the same lines, and 2,000 resamples need no loop. A figure that the data cannot define
(precision where nothing was called spam, ROC AUC of one class) is None, never 0.

Percentile bootstrap: Efron and Tibshirani, An Introduction to the Bootstrap (1993), 13.3. Where messages
come in groups of near-duplicates, whole groups are drawn, as the messages of one group are not independent.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from filterd.api import Label, ModelAnswer
from filterd.errors import BadInput
from filterd.scoring.verdict import Thresholds
from filterd_trainer.evaluation.metrics import (
    BINS,
    ROUNDING,
    Figures,
    Floats,
    binary,
    bins,
    classes,
    ranked,
    ratio,
)
from filterd_trainer.tasks.task import Task

RESAMPLES = 2_000  # percentiles at 2.5% and 97.5% then rest on 50 resamples each
SEED = 123
MAX_CELLS = 2_000_000  # weights held at once: 16 MB of float64, whatever the size of the test set

NAMES = {
    "accuracy": "Accuracy",
    "precision": "Precision",
    "recall": "Recall",
    "f1": "F1",
    "mcc": "MCC",
    "fpr": "False-positive rate",
    "roc_auc": "ROC AUC",
    "fpr_at_recall_95": "FPR at recall 95%",
    "fpr_at_recall_99": "FPR at recall 99%",
    "recall_at_fpr_0.1": "Recall at FPR 0.1%",
    "recall_at_fpr_0.5": "Recall at FPR 0.5%",
    "recall_at_fpr_1": "Recall at FPR 1%",
    "ece": "ECE",
    "brier": "Brier score",
    "log_loss": "Log loss (nats)",
    "macro_precision": "Precision, mean of classes",
    "macro_recall": "Recall, mean of classes",
    "macro_f1": "F1, mean of classes",
    "micro_f1": "F1, all messages alike",
    "micro_precision": "Precision, all labels alike",
    "micro_recall": "Recall, all labels alike",
    "exact": "All labels right",
    "hamming": "Labels wrong (Hamming loss)",
    "mae": "Mean absolute error",
    "rmse": "Root mean squared error",
    "pearson": "Pearson correlation",
    "spearman": "Spearman correlation",
    "r2": "R²",
}


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """A figure and its 95% bootstrap interval; None where the data do not define it."""

    value: float | None
    low: float | None = None
    high: float | None = None


class Metrics(msgspec.Struct, frozen=True):
    """Ham against spam.

    confusion: rows truth (ham, spam), columns called (ham, spam) at `threshold`.
    decisions: rows truth (ham, spam), columns verdict (ham, unsure, spam); None without thresholds.
    """

    messages: int
    spam: int
    threshold: float
    confusion: list[list[int]]
    estimates: dict[str, Estimate]
    decisions: list[list[int]] | None = None

    def __getitem__(self, name: str) -> float | None:
        return self.estimates[name].value


class ClassMetrics(msgspec.Struct, frozen=True):
    """Any number of classes, each message called by its most probable one; or what another task counts.

    confusion: rows truth, columns called, both in the order of names; empty where a message may have several.
    by_class: precision, recall and f1 of each class, its number of messages as "support"; none of numbers.
    """

    messages: int
    names: list[str]
    confusion: list[list[int]]
    estimates: dict[str, Estimate]
    by_class: dict[str, dict[str, float | None]]

    def __getitem__(self, name: str) -> float | None:
        return self.estimates[name].value


class Spread(msgspec.Struct, frozen=True, kw_only=True):
    """One figure over several runs; sd is the sample's standard deviation (n - 1)."""

    mean: float
    sd: float
    low: float
    high: float
    runs: int


def evaluate(
    probability: npt.ArrayLike,
    label_is_spam: npt.ArrayLike,
    thresholds: Thresholds | None = None,
    *,
    verdicts: Sequence[Label] | None = None,
    threshold: float = 0.5,
    groups: npt.ArrayLike | None = None,
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> Metrics:
    """All figures of ham against spam for n messages.

    probability: P(spam), [n]; label_is_spam: the truth, [n]; threshold: P(spam) from which accuracy,
    precision, recall, F1, MCC and FPR call a message spam. thresholds (or verdicts, a label a message, where
    they differ between messages) add the table of decisions. groups: a name a message, [n]; whole groups are
    resampled. Raises BadInput where arrays are empty, differ in length or are no probabilities.
    """
    p, spam = _probabilities(probability), np.asarray(label_is_spam).astype(bool)
    _same_length(p, spam, verdicts, groups)
    if thresholds is not None:
        verdicts = decide(p, thresholds)

    def figures(weights: Floats) -> Figures:
        return binary(p, spam, threshold, weights)

    return Metrics(
        messages=len(p),
        spam=int(spam.sum()),
        threshold=threshold,
        confusion=_counts(spam, p >= threshold, 2, 2),
        estimates=_estimates(figures, len(p), groups, resamples, seed),
        decisions=None if verdicts is None else _counts(spam, [list(Label).index(v) for v in verdicts], 2, 3),
    )


def evaluate_classes(
    probabilities: npt.ArrayLike,
    label: npt.ArrayLike,
    names: Sequence[str],
    *,
    groups: npt.ArrayLike | None = None,
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> ClassMetrics:
    """Figures of a classifier of k classes.

    probabilities: [n, k]; label: index of the true class, [n]; names: the k classes. Raises BadInput.
    """
    p, truth = _probabilities(probabilities, dimensions=2), np.asarray(label).astype(np.int64)
    _same_length(p, truth, None, groups)
    k = len(names)
    if p.shape[1] != k or truth.min() < 0 or truth.max() >= k:
        raise BadInput(f"{p.shape[1]} probabilities a message and labels up to {truth.max()} for {k} classes")
    called = p.argmax(axis=1)

    def figures(weights: Floats) -> Figures:
        return classes(p, truth, called, weights)

    confusion = _counts(truth, called, k, k)
    return ClassMetrics(
        messages=len(p),
        names=list(names),
        confusion=confusion,
        estimates=_estimates(figures, len(p), groups, resamples, seed),
        by_class=_by_class(confusion, names),
    )


def evaluate_answers(
    task: Task,
    said: Sequence[ModelAnswer],
    truth: Sequence[ModelAnswer],
    *,
    groups: npt.ArrayLike | None = None,
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> ClassMetrics:
    """Figures of a task whose labels do not exclude one another. Raises BadInput without any message."""
    if not len(said):
        raise BadInput("no messages; give at least one")
    counts = task.counts(said, truth)
    return ClassMetrics(
        messages=len(said),
        names=list(task.labels),
        confusion=[],
        estimates=_estimates(lambda w: task.figures(w @ counts), len(said), groups, resamples, seed),
        by_class=task.by_label(counts.sum(axis=0)),
    )


def mean(
    values: npt.ArrayLike,
    groups: npt.ArrayLike | None = None,
    *,
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> Estimate:
    """The mean of one number a message, [n]: a share where they are 0 or 1. Raises BadInput without any."""
    numbers = np.asarray(values, dtype=np.float64)
    if not len(numbers):
        raise BadInput("the mean of no messages is not defined; give at least one")

    def figures(weights: Floats) -> Figures:
        return {"mean": ratio(weights @ numbers, weights.sum(axis=1))}

    return _estimates(figures, len(numbers), groups, resamples, seed)["mean"]


def decide(probability: Floats, thresholds: Thresholds) -> list[Label]:
    """`filterd.scoring.verdict.label` for an array of P(spam)."""
    bounds = [thresholds.unsure, thresholds.spam]
    return [list(Label)[i] for i in np.searchsorted(bounds, probability, side="right")]


def spread(runs: Sequence[Mapping[str, Estimate]]) -> dict[str, Spread]:
    """Mean and spread of every figure that all runs define."""
    found = {}
    for name in runs[0] if runs else ():
        values = [run[name].value for run in runs if name in run]
        numbers = [v for v in values if v is not None]
        if len(numbers) == len(runs):
            sd = float(np.std(numbers, ddof=1)) if len(numbers) > 1 else 0.0
            found[name] = Spread(
                mean=float(np.mean(numbers)), sd=sd, low=min(numbers), high=max(numbers), runs=len(numbers)
            )
    return found


def roc(probability: npt.ArrayLike, label_is_spam: npt.ArrayLike) -> tuple[Floats, Floats, Floats]:
    """False-positive rate, recall and threshold at every different score, from (0, 0) at infinity on."""
    p, spam = _probabilities(probability), np.asarray(label_is_spam).astype(bool)
    fp, tp = ranked(p, spam, np.ones((1, len(p))))
    thresholds = np.concatenate([[np.inf], np.unique(p)[::-1]])
    with np.errstate(invalid="ignore"):
        return fp[0] / fp[0, -1], tp[0] / tp[0, -1], thresholds


def reliability(probability: npt.ArrayLike, label_is_spam: npt.ArrayLike) -> tuple[Floats, Floats, Floats]:
    """Mean P(spam), share of spam and number of messages in each bin of equal mass that is not empty."""
    p, spam = _probabilities(probability), np.asarray(label_is_spam).astype(bool)
    of_bin = bins(p)
    count = np.bincount(of_bin, minlength=BINS).astype(np.float64)
    full = count > 0
    mean = np.bincount(of_bin, weights=p, minlength=BINS)[full] / count[full]
    share = np.bincount(of_bin, weights=spam, minlength=BINS)[full] / count[full]
    return mean, share, count[full]


def _probabilities(values: npt.ArrayLike, dimensions: int = 1) -> Floats:
    p = np.asarray(values, dtype=np.float64)
    if p.ndim != dimensions or not len(p):
        raise BadInput(f"probabilities of shape {p.shape}; give one row a message and at least one message")
    if not (np.isfinite(p).all() and p.min() >= -ROUNDING and p.max() <= 1 + ROUNDING):
        raise BadInput("probabilities have to lie between 0 and 1")
    return np.clip(p, 0.0, 1.0)


def _same_length(p: Floats, truth: npt.NDArray[Any], verdicts: Sequence[Label] | None, groups: Any) -> None:
    lengths = {len(x) for x in (p, truth, verdicts, groups) if x is not None}
    if len(lengths) != 1:
        raise BadInput(f"arrays of different lengths: {sorted(lengths)}; give one entry a message in each")


def _counts(truth: npt.ArrayLike, called: npt.ArrayLike, rows: int, columns: int) -> list[list[int]]:
    cells = np.asarray(truth).astype(np.int64) * columns + np.asarray(called).astype(np.int64)
    table: list[list[int]] = np.bincount(cells, minlength=rows * columns).reshape(rows, columns).tolist()
    return table


def _estimates(figures: Any, n: int, groups: Any, resamples: int, seed: int) -> dict[str, Estimate]:
    point: Figures = figures(np.ones((1, n)))
    parts = [figures(weights) for weights in resampled(n, groups, resamples=resamples, seed=seed)]
    return {
        name: estimate(float(value[0]), np.concatenate([part[name] for part in parts]) if parts else value)
        for name, value in point.items()
    }


def resampled(n: int, groups: Any, *, resamples: int, seed: int) -> Iterator[Floats]:
    """Rows of counts, [b, n]: how often each resample drew each message."""
    rng = np.random.default_rng(seed)
    codes = np.arange(n) if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
    size = int(codes.max()) + 1
    rows = max(1, MAX_CELLS // max(n, size))
    for start in range(0, resamples, rows):
        b = min(rows, resamples - start)
        drawn = rng.integers(size, size=(b, size)) + np.arange(b)[:, None] * size
        counts = np.bincount(drawn.ravel(), minlength=b * size).reshape(b, size)
        yield counts[:, codes].astype(np.float64)


def estimate(value: float, drawn: Floats) -> Estimate:
    """A figure and its interval from the figures of resamples; None where the sample does not define it."""
    defined = drawn[np.isfinite(drawn)]
    if not np.isfinite(value):
        return Estimate(value=None)
    if 2 * len(defined) < len(drawn):
        return Estimate(value=value)
    low, high = np.quantile(defined, [0.025, 0.975])
    return Estimate(value=value, low=float(low), high=float(high))


def _by_class(confusion: list[list[int]], names: Sequence[str]) -> dict[str, dict[str, float | None]]:
    table = np.asarray(confusion, dtype=np.float64)
    correct, true, named = np.diagonal(table), table.sum(axis=1), table.sum(axis=0)
    columns = {
        "precision": ratio(correct, named),
        "recall": ratio(correct, true),
        "f1": ratio(2 * correct, true + named),
        "support": true,
    }
    return {
        name: {key: float(v[i]) if np.isfinite(v[i]) else None for key, v in columns.items()}
        for i, name in enumerate(names)
    }
