"""A cheap look that settles the messages it is certain of, so that the model need not be asked.

A linear model over hashed byte 4- and 6-grams of the same beginning, end and steps between that the model's
windows cover, fitted by `trainer.fastpath` to the full model's own answers. It estimates the model's
calibrated log-odds. Beyond two limits, chosen on held-out messages so that labels agree, the estimate settles
the label; between them nothing is settled. Pure functions of the weights; 0.05 ms a message.

It is left out where its proof does not hold: several readings, GTUBE, a correction that resembles the
message, or a memory that pulls against the estimate. Where the memory pulls the same way, the full model's
fused answer lies beyond the threshold whenever its own does.
"""

import math
from pathlib import Path
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from filterd.api import Kind, Label
from filterd.bundle import FAST_PATH, FastPathEntry
from filterd.grams import grams, pieces, read_weights
from filterd.memory import UNRELATED, Recollection
from filterd.verdict import Thresholds, log_odds

BITS: Final = 18
TABLE: Final = 1 << BITS  # weights of a kind: 256 KiB
BESIDE: Final = 1e-3  # nats that an estimate is kept from a threshold


class FastPath:
    """The fast path of one bundle. Safe to use from several threads."""

    def __init__(self, weights: dict[Kind, NDArray[np.int8]], entry: FastPathEntry) -> None:
        self.entry = entry
        self._weights = weights

    @classmethod
    def load(cls, folder: Path, entry: FastPathEntry) -> Self:
        """Read the weights of a bundle whose files were checked. Raises BundleError."""
        table = read_weights(folder / FAST_PATH, len(Kind) * TABLE)
        return cls(dict(zip(Kind, table.reshape(len(Kind), TABLE), strict=True)), entry)

    def estimate(self, canonical: str, kind: Kind) -> float:
        """The full model's calibrated log-odds of spam, as far as one can tell this way."""
        fit = self.entry.kinds[kind]
        found = grams(pieces(canonical, self.entry.max_tokens, self.entry.max_windows), BITS)
        total = int(self._weights[kind][found].sum(dtype=np.int32))
        return fit.offset + fit.scale * total / math.sqrt(len(found))

    def settle(
        self, canonical: str, kind: Kind, memory: Recollection, thresholds: Thresholds
    ) -> float | None:
        """Log-odds on the side of the thresholds that the full model's are on; None where it has to say."""
        if memory.label and memory.overlap > UNRELATED:
            return None
        fit = self.entry.kinds[kind]
        if fit.ham is None and fit.spam is None:
            return None
        estimate = self.estimate(canonical, kind)
        pull = memory.trust * memory.log_odds
        label = beyond(estimate, fit.ham, fit.spam)
        if label is Label.HAM and pull <= 0:
            return min(estimate, log_odds(thresholds.unsure) - BESIDE)
        if label is Label.SPAM and pull >= 0:
            return max(estimate, log_odds(thresholds.spam) + BESIDE)
        return None


def beyond(estimate: float, ham: float | None, spam: float | None) -> Label | None:
    """Which limit an estimate is beyond: `ham` and below, `spam` and above."""
    if ham is not None and estimate <= ham:
        return Label.HAM
    return Label.SPAM if spam is not None and estimate >= spam else None
