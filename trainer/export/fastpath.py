"""Where the wide half of a bundle may settle a message without the GPT-2 (filterd/scoring/fastpath.py).

Strategy: nothing is learned but two limits of each kind, and two lines. The limits come from validation
texts, as they are and changed (trainer/disguises/augment.py), so that what is certain does not hang on
undisguised words: as far out as the worst disagreement with the full model there and further by a margin, and
for ham so far that hardly a spam is among what it settles, whatever the full model calls that. What then
holds is measured on texts that neither has seen; where less than AGREEMENT can be shown a wider margin is
tried, and a kind where the widest fails gets no fast path. The lines give what is settled the full model's
log-odds, on average.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from filterd.api import Kind, Label
from filterd.scoring import verdict
from filterd.scoring.bundle import FastPathEntry, FastPathSide, Manifest
from filterd.scoring.fastpath import beyond
from filterd.scoring.verdict import Thresholds
from filterd_trainer.disguises.augment import augment
from filterd_trainer.evaluation.calibrate import rate_bound

AGREEMENT: Final = 0.999  # of labels, over all held-out messages of a kind
# Of the plain validation texts that are settled as ham, the share that may be spam: the full model would call
# it ham as well, but rank it above other ham.
MISSED: Final = 0.002
# Nats that a limit lies beyond the worst disagreement of validation; the next where one does not hold.
MARGINS: Final = (0.25, 0.5, 1.0)
CONFIDENCE: Final = 1 - 0.05 / len(MARGINS)  # of each look at the test part, for 95% together (Bonferroni)
SEED: Final = 123

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
# The full model's margin and the wide half's alone of each text.
Look = Callable[[Sequence[str], Sequence[Kind]], Sequence[tuple[float, float]]]


@dataclass(frozen=True)
class FastPathSample:
    """Of texts of one kind, [n]: the full model's calibrated log-odds, and the wide half's margins."""

    log_odds: Floats
    wide: Floats

    def labels(self, thresholds: Thresholds) -> list[Label]:
        """The full model's."""
        return [verdict.label(verdict.sigmoid(float(x)), thresholds) for x in self.log_odds]

    def line(self, settled: Flags) -> tuple[float, float]:
        """Slope and offset (least squares) of the log-odds of what is settled, over the wide margin."""
        x = self.wide[settled]
        y = np.clip(self.log_odds[settled], -verdict.MAX_LOG_ODDS, verdict.MAX_LOG_ODDS)
        spread = x - x.mean()
        scale = float((spread * y).sum() / max((spread**2).sum(), np.finfo(np.float64).tiny))
        return scale, float(y.mean() - scale * x.mean())


def fit(
    manifest: Manifest, look: Look, kind: Kind, known: list[str], is_spam: Flags, unknown: list[str]
) -> FastPathEntry:
    """Choose the limits of a kind on validation texts, `known`, and measure them on test texts, `unknown`.

    is_spam: which of the known ones are, [n].
    """
    thresholds, calibration = manifest.thresholds[kind], manifest.calibration[kind]

    def seen(texts: list[str]) -> FastPathSample:
        found = np.array(look(texts, [kind] * len(texts)), dtype=np.float64)
        return FastPathSample(calibration.slope * found[:, 0] + calibration.offset, found[:, 1])

    if not (known and unknown):
        return FastPathEntry()
    ham = [one for one, spam in zip(known, is_spam, strict=True) if not spam]
    held, new = seen(known + changed(known, kind, ham)), seen(unknown)
    clean = cleanest(held.wide[: len(known)], is_spam)
    labels = held.labels(thresholds)
    for margin in MARGINS:
        below, above = limits(held.wide, labels, margin)
        found = FastPathEntry(
            ham=_side(held, min(below, clean), -1), spam=_side(held, above, 1), messages=len(unknown)
        )
        found = measure(new.wide, new.labels(thresholds), found)
        if found.ham or found.spam:
            break
    return found


def _side(held: FastPathSample, limit: float, sign: int) -> FastPathSide | None:
    settled = sign * held.wide >= sign * limit
    if not settled.any():
        return None
    scale, offset = held.line(settled)
    return FastPathSide(limit=limit, scale=scale, offset=offset)


def changed(texts: Sequence[str], kind: Kind, ham: Sequence[str]) -> list[str]:
    """The texts as training changes them, disguises and ham around them included."""
    rng = Random(SEED)  # noqa: S311 (chance that can be repeated, no secret)
    return [augment(t, kind, rng, ham) for t in texts]


def cleanest(wide: Floats, is_spam: Flags) -> float:
    """The highest margin up to which at most MISSED of the texts are spam; minus infinity for none."""
    order = np.argsort(wide, kind="stable")
    spam = np.cumsum(is_spam[order])
    fine = np.flatnonzero(spam <= MISSED * np.arange(1, len(order) + 1))
    return float(wide[order][fine[-1]]) if len(fine) else -np.inf


def limits(wide: Floats, labels: Sequence[Label], margin: float) -> tuple[float, float]:
    """As near to each other as the disagreements let them be.

    Each side may have as many as leave AGREEMENT to be shown for both together, and is `margin` further out.
    """
    called = np.array([str(label) for label in labels])
    others = np.sort(wide[called != Label.HAM.value])
    no_spam = np.sort(wide[called != Label.SPAM.value])[::-1]
    spared = allowed(len(wide)) // 2
    ham = others[min(spared, len(others) - 1)] if len(others) else wide.max()
    spam = no_spam[min(spared, len(no_spam) - 1)] if len(no_spam) else wide.min()
    return float(ham) - margin, float(spam) + margin


def allowed(messages: int) -> int:
    """Most disagreements among so many messages that still show AGREEMENT; 0 also where none would."""
    count = 0
    while rate_bound(count + 1, messages, CONFIDENCE) <= 1.0 - AGREEMENT:
        count += 1
    return count


def measure(wide: Floats, labels: Sequence[Label], fit: FastPathEntry) -> FastPathEntry:
    """The fit with its figures on held-out messages; without sides where AGREEMENT cannot be shown."""
    settled = [beyond(float(margin), fit) for margin in wide]
    wrong = sum(s is not None and s is not label for s, label in zip(settled, labels, strict=True))
    total = len(labels)
    at_least = 1.0 - rate_bound(wrong, total, CONFIDENCE)
    shown = at_least >= AGREEMENT
    return msgspec.structs.replace(
        fit,
        ham=fit.ham if shown else None,
        spam=fit.spam if shown else None,
        messages=total,
        settled=sum(s is not None for s in settled) / total,
        agrees=1.0 - wrong / total,
        at_least=at_least,
    )
