"""From logits to a verdict. Pure functions of numbers: no I/O, no model, no text.

The trainer fits `Calibration` and `Thresholds` on held-out data and stores them in the bundle; the engine
applies them here, so that evaluation and serving cannot differ.
"""

import math
from collections.abc import Sequence

import msgspec

from filterd.api import Label
from filterd.scoring.points import POINTS_AT_SPAM

# Log-odds are clipped here (p = 1e-6 … 1 - 1e-6): no held-out set is large enough to tell smaller
# probabilities apart, and headers stay readable.
LEAST_OVER = 1e-6  # survives the way to log-odds and back
MAX_LOG_ODDS = math.log((1 - 1e-6) / 1e-6)


class Calibration(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Platt scaling of a margin: log-odds of spam = slope * margin + offset (Platt 1999)."""

    slope: float = 1.0
    offset: float = 0.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.slope) and math.isfinite(self.offset) and self.slope > 0):
            raise ValueError("slope has to be positive and both numbers finite")


class Thresholds(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """P(spam) from which a message is called unsure, and from which spam."""

    unsure: float
    spam: float

    def __post_init__(self) -> None:
        if not 0.0 < self.unsure <= self.spam < 1.0:
            raise ValueError("thresholds have to be 0 < unsure <= spam < 1")


def margin(logits: Sequence[float], ham: Sequence[int]) -> float:
    """Log-odds of "no ham class" against "a ham class" for one message's logits, n classes.

    ham: the indices of the classes that count as ham. With two classes it is logit(spam) - logit(ham).
    """
    return _log_sum_exp([x for i, x in enumerate(logits) if i not in ham]) - _log_sum_exp(
        [logits[i] for i in ham]
    )


def probability(margin: float, calibration: Calibration) -> float:
    """Calibrated P(spam), in [1e-6, 1 - 1e-6]."""
    return sigmoid(calibration.slope * margin + calibration.offset)


def label(probability: float, thresholds: Thresholds) -> Label:
    """The decision by two thresholds, each belonging to the upper side."""
    if probability >= thresholds.spam:
        return Label.SPAM
    return Label.UNSURE if probability >= thresholds.unsure else Label.HAM


def at_least_unsure(probability: float, thresholds: Thresholds) -> float:
    """The probability, or the least that is called unsure; as it is where nothing is called that."""
    least = thresholds.unsure + LEAST_OVER
    return max(probability, least) if least < thresholds.spam else probability


def points(probability: float, thresholds: Thresholds) -> float:
    """SpamAssassin-like score: 5.0 at the spam threshold, one point a nat of log-odds, monotone."""
    return POINTS_AT_SPAM + log_odds(probability) - log_odds(thresholds.spam)


def log_odds(probability: float) -> float:
    """Natural logarithm of p / (1 - p), clipped to ±MAX_LOG_ODDS."""
    if probability <= 0.0:
        return -MAX_LOG_ODDS
    if probability >= 1.0:
        return MAX_LOG_ODDS
    return max(-MAX_LOG_ODDS, min(MAX_LOG_ODDS, math.log(probability / (1.0 - probability))))


def sigmoid(log_odds: float) -> float:
    """The inverse of `log_odds`, clipped likewise."""
    clipped = max(-MAX_LOG_ODDS, min(MAX_LOG_ODDS, log_odds))
    return 1.0 / (1.0 + math.exp(-clipped))


def softmax(logits: Sequence[float]) -> list[float]:
    """Probabilities of the model's classes, uncalibrated."""
    top = max(logits)
    powers = [math.exp(x - top) for x in logits]
    total = sum(powers)
    return [x / total for x in powers]


def _log_sum_exp(values: Sequence[float]) -> float:
    top = max(values)
    return top + math.log(sum(math.exp(x - top) for x in values))
