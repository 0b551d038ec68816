"""Every figure of evaluation, for many weightings of the messages at once.

weights is [B, n]: how often each of B samples holds each of n messages; every function gives [B] for it, and
not-a-number where a sample does not define the figure. Weights of one are the sample as it is; counts drawn
with replacement are bootstrap resamples, so that `trainer.evaluation.intervals` needs no loop over 2,000 of
them.
"""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
Figures = dict[str, Floats]

RECALLS = {"fpr_at_recall_95": 0.95, "fpr_at_recall_99": 0.99}
FALSE_POSITIVE_RATES = {"recall_at_fpr_0.1": 0.001, "recall_at_fpr_0.5": 0.005, "recall_at_fpr_1": 0.01}
BINS = 15  # of equal mass, for the expected calibration error (Guo et al. 2017 use 15)
MIN_PROBABILITY = (
    1e-6  # as filterd.scoring.verdict clips, so that one confident error costs at most 13.8 nats
)
ROUNDING = 1e-9  # counts are whole numbers; this keeps 0.001 * 1000 from missing 1


def ratio(above: Floats, below: Floats) -> Floats:
    """above / below, not-a-number where below is 0."""
    undefined = np.full(np.shape(below), np.nan)
    found: Floats = np.divide(above, below, out=undefined, where=np.greater(below, 0))
    return found


def binary(p: Floats, spam: Flags, threshold: float, weights: Floats) -> Figures:
    """Ham against spam. p: P(spam), [n]; spam: the truth, [n]; threshold: P(spam) that calls it spam."""
    confusion = _confusion(spam.astype(np.int64), (p >= threshold).astype(np.int64), 2, weights)
    (tn, fp), (fn, tp) = confusion.transpose(1, 2, 0)
    clipped = np.clip(p, MIN_PROBABILITY, 1 - MIN_PROBABILITY)
    total = weights.sum(axis=1)
    return {
        "accuracy": ratio(tn + tp, total),
        "precision": ratio(tp, tp + fp),
        "recall": ratio(tp, tp + fn),
        "f1": ratio(2 * tp, 2 * tp + fp + fn),
        "mcc": _matthews(confusion),
        "fpr": ratio(fp, fp + tn),
        **ranking(*ranked(p, spam, weights)),
        "ece": _calibration_error(p, spam, weights),
        "brier": ratio(weights @ (p - spam) ** 2, total),
        "log_loss": ratio(weights @ -np.log(np.where(spam, clipped, 1 - clipped)), total),
    }


def classes(p: Floats, truth: Indices, called: Indices, w: Floats) -> Figures:
    """Any number of classes. p: [n, k]; truth, called: indices of the true and the predicted class, [n]."""
    confusion = _confusion(truth, called, p.shape[1], w)
    correct = np.diagonal(confusion, axis1=1, axis2=2)
    true, named = confusion.sum(axis=2), confusion.sum(axis=1)
    of_truth = np.clip(p[np.arange(len(p)), truth], MIN_PROBABILITY, 1.0)
    total = w.sum(axis=1)
    return {
        "accuracy": ratio(correct.sum(axis=1), total),
        "macro_precision": _mean_of_defined(ratio(correct, named)),
        "macro_recall": _mean_of_defined(ratio(correct, true)),
        "macro_f1": _mean_of_defined(ratio(2 * correct, true + named)),
        "micro_f1": ratio(2 * correct.sum(axis=1), (true + named).sum(axis=1)),
        "mcc": _matthews(confusion),
        "log_loss": ratio(w @ -np.log(of_truth), total),
    }


def _confusion(truth: Indices, called: Indices, k: int, weights: Floats) -> Floats:
    """[B, k, k], rows truth."""
    cells = np.eye(k * k)[truth * k + called]
    table: Floats = (weights @ cells).reshape(-1, k, k)
    return table


def _matthews(confusion: Floats) -> Floats:
    """Matthews correlation of [B, k, k] (Gorodkin 2004, R_K)."""
    total = confusion.sum(axis=(1, 2))
    true, named = confusion.sum(axis=2), confusion.sum(axis=1)
    correct = np.trace(confusion, axis1=1, axis2=2)
    covariance = correct * total - (true * named).sum(axis=1)
    return ratio(
        covariance, np.sqrt((total**2 - (true**2).sum(axis=1)) * (total**2 - (named**2).sum(axis=1)))
    )


def _mean_of_defined(values: Floats) -> Floats:
    """Mean over classes, of those that the weighting has."""
    defined = np.isfinite(values)
    return ratio(np.where(defined, values, 0.0).sum(axis=1), defined.sum(axis=1))


def ranked(p: Floats, spam: Flags, weights: Floats) -> tuple[Floats, Floats]:
    """False and true positives, [B, m + 1], at the m different scores from the highest down, from 0 on."""
    order = np.argsort(-p, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(p[order]) != 0, True))
    counted, positive = weights[:, order], spam[order]
    start = np.zeros((len(weights), 1))
    fp = np.cumsum(counted * ~positive, axis=1)[:, ends]
    tp = np.cumsum(counted * positive, axis=1)[:, ends]
    return np.hstack([start, fp]), np.hstack([start, tp])


def ranking(fp: Floats, tp: Floats) -> Figures:
    """ROC AUC, and rates at equal recall and at equal false-positive rate, from `ranked`."""
    ham, spam = fp[:, -1], tp[:, -1]
    area = (np.diff(fp, axis=1) * (tp[:, 1:] + tp[:, :-1]) / 2).sum(axis=1)
    found = {"roc_auc": ratio(area, ham * spam)}
    for name, recall in RECALLS.items():
        enough = tp >= recall * spam[:, None] - ROUNDING
        found[name] = np.where(spam > 0, ratio(np.where(enough, fp, np.inf).min(axis=1), ham), np.nan)
    for name, rate in FALSE_POSITIVE_RATES.items():
        allowed = fp <= rate * ham[:, None] + ROUNDING
        found[name] = np.where(ham > 0, ratio(np.where(allowed, tp, 0.0).max(axis=1), spam), np.nan)
    return found


def bins(p: Floats) -> Indices:
    """Bin of each message, by quantiles of the scores, so that equal scores share one."""
    edges = np.quantile(p, np.linspace(0, 1, BINS + 1))
    return np.searchsorted(edges[1:-1], p).astype(np.int64)


def _calibration_error(p: Floats, spam: Flags, weights: Floats) -> Floats:
    """Expected calibration error over bins of equal mass in the sample, kept for every resample."""
    gaps = np.eye(BINS)[bins(p)] * (p - spam)[:, None]
    return ratio(np.abs(weights @ gaps).sum(axis=1), weights.sum(axis=1))
