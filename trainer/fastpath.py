"""Where the wide half of a bundle may settle a message without the GPT-2 (filterd/fastpath.py).

Strategy: nothing is learned but two limits of each kind. They come from validation texts, as they are and
changed (trainer/augment.py), so that what is certain does not hang on undisguised words: as far out as the
worst disagreement with the full model there, and further by a margin. What then holds is measured on texts
that neither has seen; where less than AGREEMENT can be shown a wider margin is tried, and a kind where the
widest fails gets no fast path.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Final

import numpy as np
from numpy.typing import NDArray

from filterd import verdict
from filterd.api import Kind, Label
from filterd.bundle import Certainty, Manifest
from filterd.fastpath import beyond
from filterd.verdict import Thresholds
from trainer.augment import augment
from trainer.calibrate import rate_bound

AGREEMENT: Final = 0.999  # of labels, over all held-out messages of a kind
# Nats that a limit lies beyond the worst disagreement of validation; the next where one does not hold.
MARGINS: Final = (0.25, 0.5, 1.0)
CONFIDENCE: Final = 1 - 0.05 / len(MARGINS)  # of each look at the test part, for 95% together (Bonferroni)
BEYOND: Final = 3.0  # nats past a threshold; how much further the model is certain does not matter
SEED: Final = 123

Floats = NDArray[np.float64]
# The full model's margin and the wide half's alone of each text, as Engine.looks.
Look = Callable[[Sequence[str], Sequence[Kind]], Sequence[tuple[float, float]]]


@dataclass(frozen=True)
class Seen:
    """Of texts of one kind, [n]: the full model's calibrated log-odds, and the wide half's margins."""

    log_odds: Floats
    wide: Floats

    def labels(self, thresholds: Thresholds) -> list[Label]:
        """The full model's."""
        return [verdict.label(verdict.sigmoid(float(x)), thresholds) for x in self.log_odds]


def fit(
    manifest: Manifest, look: Look, kind: Kind, known: list[str], ham: list[str], unknown: list[str]
) -> Certainty:
    """Choose the limits of a kind on validation texts, `known`, and measure them on test texts, `unknown`.

    ham: those of the known texts that are; they are put around others.
    """
    thresholds, calibration = manifest.thresholds[kind], manifest.calibration[kind]

    def seen(texts: list[str]) -> Seen:
        found = np.array(look(texts, [kind] * len(texts)), dtype=np.float64)
        return Seen(calibration.slope * found[:, 0] + calibration.offset, found[:, 1])

    if not (known and unknown):
        return Certainty(1.0, 0.0, None, None)
    held, new = seen(known + changed(known, kind, ham)), seen(unknown)
    scale, offset = line(held, thresholds)
    estimates, labels = offset + scale * held.wide, held.labels(thresholds)
    for margin in MARGINS:
        limited = Certainty(scale, offset, *limits(estimates, labels, margin))
        found = measure(offset + scale * new.wide, new.labels(thresholds), limited)
        if found.ham is not None or found.spam is not None:
            break
    return found


def changed(texts: Sequence[str], kind: Kind, ham: Sequence[str]) -> list[str]:
    """The texts as training changes them, disguises and ham around them included."""
    rng = Random(SEED)  # noqa: S311 (chance that can be repeated, no secret)
    return [augment(t, kind, rng, ham) for t in texts]


def line(seen: Seen, thresholds: Thresholds) -> tuple[float, float]:
    """Slope and offset of the line that estimates the full model's log-odds best (least squares).

    Log-odds are cut BEYOND the thresholds: what is far on its side may go further.
    """
    low, high = verdict.log_odds(thresholds.unsure) - BEYOND, verdict.log_odds(thresholds.spam) + BEYOND
    targets = np.clip(seen.log_odds, low, high)
    spread = seen.wide - seen.wide.mean()
    scale = float((spread * targets).sum() / max((spread**2).sum(), np.finfo(np.float64).tiny))
    return scale, float(targets.mean() - scale * seen.wide.mean())


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
