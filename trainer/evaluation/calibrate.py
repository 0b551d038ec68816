"""From raw margins on held-out messages to a calibrated probability and the two thresholds of a bundle.

Everything here is fitted on validation data, never on the test part; `filterd.scoring.verdict` applies it.
"""

import math

import numpy as np
import numpy.typing as npt

from filterd.errors import BadInput
from filterd.scoring.verdict import MAX_LOG_ODDS, Calibration, Thresholds

Floats = npt.NDArray[np.float64]

MAX_FALSE_POSITIVE_RATE = 0.001  # share of held-out ham that may be called spam: the product's promise
MAX_UNSURE_RATE = 0.01  # share of held-out ham that may reach "unsure": a person looks at these
MIN_SPAM = 0.5  # what is more likely ham than spam is never called spam, however few ham reach it
ABOVE_ALL = 1 - 5e-7  # above any probability that filterd.scoring.verdict gives: "never spam"
STEP = 1.0  # nats added above the highest ham where no spam lies above it
MAX_STEPS = 100  # of Newton's method; it takes about ten
TOLERANCE = 1e-10  # of its gradient, a message
MIN_SLOPE = 1e-6  # Calibration wants a positive slope; less means that the model ranks backwards


def fit_platt(
    margin: npt.ArrayLike, label_is_spam: npt.ArrayLike, *, prior: float | None = None
) -> Calibration:
    """Slope and offset of the log-odds (Platt 1999, targets and Newton steps of Lin, Lin and Weng 2007).

    margin: [n] log-odds as `filterd.scoring.verdict.margin` gives them, of held-out messages of both classes.
    prior: the share of spam to expect in use, where the held-out part was balanced. Raises BadInput.
    """
    x, spam = _held_out(margin, label_is_spam)
    slope, offset = _newton(np.column_stack([x, np.ones_like(x)]), _targets(spam), np.array([1.0, 0.0]))
    return _calibration(slope, offset + _shift(spam, prior))


def fit_temperature(
    margin: npt.ArrayLike, label_is_spam: npt.ArrayLike, *, prior: float | None = None
) -> Calibration:
    """One temperature and no offset (Guo et al. 2017): slope 1/T. Takes and raises as `fit_platt`."""
    x, spam = _held_out(margin, label_is_spam)
    (slope,) = _newton(x[:, None], _targets(spam), np.array([1.0]))
    return _calibration(slope, _shift(spam, prior))


def apply(margin: npt.ArrayLike, calibration: Calibration) -> Floats:
    """`filterd.scoring.verdict.probability` for an array of margins, [n]."""
    odds = calibration.slope * np.asarray(margin, dtype=np.float64) + calibration.offset
    return 1 / (1 + np.exp(-np.clip(odds, -MAX_LOG_ODDS, MAX_LOG_ODDS)))


def margins(logits: npt.ArrayLike, ham: tuple[int, ...]) -> Floats:
    """`filterd.scoring.verdict.margin` for logits of n messages and k classes, [n, k] -> [n]."""
    rows = np.asarray(logits, dtype=np.float64)
    is_ham = np.isin(np.arange(rows.shape[1]), ham)
    spam, other = (np.logaddexp.reduce(rows[:, part], axis=1) for part in (~is_ham, is_ham))
    return np.asarray(spam - other)


def choose_thresholds(
    probability: npt.ArrayLike,
    label_is_spam: npt.ArrayLike,
    *,
    max_fpr: float = MAX_FALSE_POSITIVE_RATE,
    max_unsure: float = MAX_UNSURE_RATE,
) -> Thresholds:
    """Thresholds so that at most max_fpr of this ham is called spam and at most max_unsure unsure or spam.

    probability: calibrated P(spam) of held-out messages, [n]. Each threshold lies half way (in log-odds)
    between the highest ham that has to stay below and the next message above it. `spam` is at least 0.5.
    With fewer than 1/max_fpr ham no ham at all may be called spam; `rate_bound` says what that proves.
    Raises BadInput without ham.
    """
    p, spam = np.asarray(probability, dtype=np.float64), np.asarray(label_is_spam).astype(bool)
    if p.shape != spam.shape or not (~spam).any():
        raise BadInput("thresholds need held-out ham, and one probability a label")
    at_spam = max(MIN_SPAM, _lowest(p, spam, max_fpr))
    return Thresholds(unsure=min(at_spam, _lowest(p, spam, max_unsure)), spam=at_spam)


def rate_bound(hits: int, of: int, confidence: float = 0.95) -> float:
    """Highest rate that `hits` of `of` messages leaves open, one-sided (Clopper and Pearson 1934).

    No false positive among 150 ham still allows a rate of 2.0%.
    """
    from scipy.stats import beta  # type: ignore[import-untyped]

    return 1.0 if hits >= of else float(beta.ppf(confidence, hits + 1, of - hits))


def _held_out(margin: npt.ArrayLike, label_is_spam: npt.ArrayLike) -> tuple[Floats, npt.NDArray[np.bool_]]:
    x, spam = np.asarray(margin, dtype=np.float64), np.asarray(label_is_spam).astype(bool)
    if x.ndim != 1 or x.shape != spam.shape or not np.isfinite(x).all():
        raise BadInput(f"calibration needs one finite margin a label; got shapes {x.shape} and {spam.shape}")
    if spam.all() or not spam.any():
        raise BadInput("calibration needs held-out messages of both ham and spam")
    return x, spam


def _targets(spam: npt.NDArray[np.bool_]) -> Floats:
    """Platt's smoothed truths: they keep a perfectly separated set from an infinite slope."""
    positives, negatives = int(spam.sum()), int((~spam).sum())
    targets: Floats = np.where(spam, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    return targets


def _newton(features: Floats, targets: Floats, start: Floats) -> Floats:
    """Minimise the cross-entropy of a logistic model by Newton's method, halving steps that do not help."""
    weights, n = start, len(targets)
    for _ in range(MAX_STEPS):
        odds = features @ weights
        p = 1 / (1 + np.exp(-np.clip(odds, -500, 500)))
        gradient = features.T @ (p - targets) / n
        if np.abs(gradient).max() < TOLERANCE:
            break
        hessian = (features * (p * (1 - p))[:, None]).T @ features / n + 1e-12 * np.eye(len(weights))
        weights = _descend(features, targets, weights, np.linalg.solve(hessian, gradient).astype(np.float64))
    return weights


def _descend(features: Floats, targets: Floats, weights: Floats, step: Floats) -> Floats:
    before = _cross_entropy(features @ weights, targets)
    for halvings in range(30):
        candidate: Floats = weights - step / 2**halvings
        if _cross_entropy(features @ candidate, targets) <= before:
            return candidate
    return weights


def _cross_entropy(odds: Floats, targets: Floats) -> float:
    return float(np.mean(np.logaddexp(0, odds) - targets * odds))


def _shift(spam: npt.NDArray[np.bool_], prior: float | None) -> float:
    """What a different share of spam adds to the log-odds (Saerens, Latinne and Decaestecker 2002)."""
    if prior is None:
        return 0.0
    if not 0 < prior < 1:
        raise BadInput(f"prior {prior}: give the expected share of spam, between 0 and 1")
    was = float(spam.mean())
    return math.log(prior / (1 - prior)) - math.log(was / (1 - was))


def _calibration(slope: float, offset: float) -> Calibration:
    if slope < MIN_SLOPE:
        raise BadInput(
            "spam scores no higher than ham on the held-out part; train the model before calibrating"
        )
    return Calibration(slope=float(slope), offset=float(offset))


def _lowest(p: Floats, spam: npt.NDArray[np.bool_], rate: float) -> float:
    """The threshold that at most `rate` of the ham reaches."""
    ham = np.sort(p[~spam])[::-1]
    allowed = math.floor(rate * len(ham) + 1e-9)
    if allowed >= len(ham):
        return float(np.clip(ham[-1], 1e-6, ABOVE_ALL))
    below = ham[allowed]
    above = p[p > below]
    odds = _log_odds(below) + STEP if not len(above) else (_log_odds(below) + _log_odds(above.min())) / 2
    between = 1 / (1 + math.exp(-odds))
    return between if below < between < ABOVE_ALL else ABOVE_ALL


def _log_odds(p: float) -> float:
    clipped = min(max(float(p), 1e-9), 1 - 1e-9)
    return math.log(clipped / (1 - clipped))
