"""Fits the fast path of a bundle (filterd/fastpath.py) to the answers of its own model.

Strategy: a linear model in hashed n-grams learns the full model's calibrated log-odds on training texts and
on changed ones (trainer/augment.py), so that what it is certain of does not hang on undisguised words. The
two limits of each kind come from validation texts, again as they are and changed: as far out as the worst
disagreement there, and further by a margin. What then holds is measured on texts that neither has seen; where
less than AGREEMENT can be shown a wider margin is tried, and a kind where the widest fails gets no fast path.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Final

import numpy as np
from numpy.typing import NDArray

from filterd import verdict
from filterd.api import Kind, Label
from filterd.bundle import FAST_PATH, Certainty, FastPathEntry, Manifest
from filterd.fastpath import BITS, TABLE, beyond
from filterd.grams import Grams, grams, pieces
from filterd.verdict import Thresholds
from trainer.augment import augment
from trainer.calibrate import rate_bound

AGREEMENT: Final = 0.999  # of labels, over all held-out messages of a kind
# Nats that a limit lies beyond the worst disagreement of validation; the next where one does not hold.
MARGINS: Final = (0.25, 0.5, 1.0)
CONFIDENCE: Final = 1 - 0.05 / len(MARGINS)  # of each look at the test part, for 95% together (Bonferroni)
PASSES: Final = 4
RATE: Final = 0.6  # of the first pass; each message's squares sum to about 1
BEYOND: Final = 3.0  # nats past a threshold; how much further the model is certain does not matter
MAX_FITTED: Final = 15_000  # training texts; each is judged by the model, and half of them once more, changed
SEED: Final = 123

Floats = NDArray[np.float64]
Judge = Callable[[Sequence[str], Sequence[Kind]], Sequence[float]]  # margins of texts, as Engine.margins


@dataclass(frozen=True)
class Texts:
    """Canonical texts of one kind and the full model's calibrated log-odds of each, [n]."""

    texts: list[str]
    log_odds: Floats


@dataclass(frozen=True)
class Split:
    """Canonical texts with their kinds, [n] each."""

    texts: Sequence[str]
    kinds: Sequence[Kind]

    def of(self, kind: Kind) -> list[str]:
        """The texts of a kind."""
        return [t for t, k in zip(self.texts, self.kinds, strict=True) if k is kind]


def write(manifest: Manifest, judge: Judge, splits: dict[str, Split], folder: Path) -> FastPathEntry:
    """Fit, choose limits, measure, and write `fastpath.int8`.

    splits: train, validation and test (held-out, nothing fitted to it).
    """
    fits: dict[Kind, Certainty] = {}
    tables = []
    for kind in Kind:
        weights, fit = _fit_kind(manifest, judge, splits, kind)
        fits[kind] = fit
        tables.append(weights)
    (folder / FAST_PATH).write_bytes(b"".join(table.tobytes() for table in tables))
    return FastPathEntry(manifest.max_tokens, manifest.max_windows, fits)


def _fit_kind(
    manifest: Manifest, judge: Judge, splits: dict[str, Split], kind: Kind
) -> tuple[NDArray[np.int8], Certainty]:
    thresholds = manifest.thresholds[kind]

    def judged(texts: list[str]) -> Texts:
        fit = manifest.calibration[kind]
        margins = np.asarray(judge(texts, [kind] * len(texts)), dtype=np.float64) if texts else np.zeros(0)
        return Texts(texts, fit.slope * margins + fit.offset)

    train, validation, test = (splits[name].of(kind) for name in ("train", "validation", "test"))
    train = _some(train, MAX_FITTED)
    if not (train and validation and test):
        return np.zeros(TABLE, np.int8), Certainty(1.0, 0.0, None, None)
    fitted = judged(train + changed(train[::2], kind, SEED))
    weights, scale, offset = fit_linear(fitted, thresholds, manifest)
    estimates = Estimator(weights, scale, offset, manifest)
    held = judged(validation + changed(validation, kind, SEED + 1))
    unseen = judged(test)
    known = estimates(held.texts), _labels(held, thresholds)
    new = estimates(unseen.texts), _labels(unseen, thresholds)
    for margin in MARGINS:
        fit = measure(*new, Certainty(scale, offset, *limits(*known, margin)))
        if fit.ham is not None or fit.spam is not None:
            break
    return weights, fit


def changed(texts: Sequence[str], kind: Kind, seed: int) -> list[str]:
    """The texts as training changes them, disguises included."""
    rng = Random(seed)  # noqa: S311 (chance that can be repeated, no secret)
    return [augment(t, kind, rng) for t in texts]


class Estimator:
    """Estimates as filterd makes them, of many texts."""

    def __init__(self, weights: NDArray[np.int8], scale: float, offset: float, manifest: Manifest) -> None:
        self._weights, self._scale, self._offset, self._manifest = weights, scale, offset, manifest

    def __call__(self, texts: Sequence[str]) -> Floats:
        """Log-odds of each text, [n]."""
        found = (_grams(t, self._manifest) for t in texts)
        totals = [int(self._weights[g].sum(dtype=np.int32)) / len(g) ** 0.5 for g in found]
        return self._offset + self._scale * np.array(totals)


def _grams(canonical: str, manifest: Manifest) -> Grams:
    return grams(pieces(canonical, manifest.max_tokens, manifest.max_windows), BITS)


def fit_linear(
    data: Texts, thresholds: Thresholds, manifest: Manifest
) -> tuple[NDArray[np.int8], float, float]:
    """Weights in 8 bits, their scale, and the offset: censored least squares by plain descent.

    Log-odds are cut BEYOND the thresholds, and an estimate past the cut is no error: what is far on its side
    may go further, and the weights are spent on what lies between.
    """
    low, high = verdict.log_odds(thresholds.unsure) - BEYOND, verdict.log_odds(thresholds.spam) + BEYOND
    targets = np.clip(data.log_odds, low, high)
    offset = float(targets.mean())
    weights = np.zeros(TABLE, np.float32)
    order = np.random.default_rng(SEED)
    steps, total = 0, PASSES * len(data.texts)
    for _ in range(PASSES):
        for i in order.permutation(len(data.texts)).tolist():
            found = _grams(data.texts[i], manifest)
            root = len(found) ** 0.5
            estimate = offset + float(weights[found].sum()) / root
            steps += 1
            if (targets[i] <= low and estimate <= low) or (targets[i] >= high and estimate >= high):
                continue
            weights[found] += np.float32(RATE * (1 - steps / total) * (targets[i] - estimate) / root)
    largest = float(np.quantile(np.abs(weights[weights != 0]), 0.9995)) if weights.any() else 1.0
    scale = largest / 127
    return np.clip(np.round(weights / scale), -127, 127).astype(np.int8), scale, offset


def limits(estimates: Floats, labels: Sequence[Label], margin: float) -> tuple[float | None, float | None]:
    """As near to each other as the disagreements let them be; None where nothing lies beyond.

    Each side may have as many as leave AGREEMENT to be shown for both together, and is `margin` further out.
    """
    called = np.array([str(label) for label in labels])
    others = np.sort(estimates[called != Label.HAM.value])
    no_spam = np.sort(estimates[called != Label.SPAM.value])[::-1]
    spared = allowed(len(estimates)) // 2
    ham = float(others[min(spared, len(others) - 1)] if len(others) else estimates.max()) - margin
    spam = float(no_spam[min(spared, len(no_spam) - 1)] if len(no_spam) else estimates.min()) + margin
    return (
        ham if (estimates <= ham).any() else None,
        spam if (estimates >= spam).any() else None,
    )


def allowed(messages: int) -> int:
    """Most disagreements among so many messages that still show AGREEMENT; 0 also where none would."""
    count = 0
    while rate_bound(count + 1, messages, CONFIDENCE) <= 1.0 - AGREEMENT:
        count += 1
    return count


def measure(estimates: Floats, labels: Sequence[Label], fit: Certainty) -> Certainty:
    """The fit with its figures on held-out messages; without limits where AGREEMENT cannot be shown."""
    settled = [beyond(float(e), fit.ham, fit.spam) for e in estimates]
    wrong = sum(s is not None and s is not label for s, label in zip(settled, labels, strict=True))
    total = len(labels)
    at_least = 1.0 - rate_bound(wrong, total, CONFIDENCE)
    shown = at_least >= AGREEMENT
    return Certainty(
        fit.scale,
        fit.offset,
        fit.ham if shown else None,
        fit.spam if shown else None,
        messages=total,
        settled=sum(s is not None for s in settled) / total,
        agrees=1.0 - wrong / total,
        at_least=at_least,
    )


def _labels(data: Texts, thresholds: Thresholds) -> list[Label]:
    return [verdict.label(verdict.sigmoid(float(x)), thresholds) for x in data.log_odds]


def _some(texts: list[str], count: int) -> list[str]:
    chosen = np.unique(np.linspace(0, len(texts) - 1, min(count, len(texts))).astype(int))
    return [texts[i] for i in chosen]
