"""The wide half of a model: what wordings weigh, besides what the GPT-2 understands.

A linear model over hashed byte n-grams of the folded text, fitted to labels by `trainer.wide`; its log-odds
are added to the GPT-2's margin before calibration. The one remembers phrases, the other generalises (Cheng
et al. 2016, "Wide & Deep Learning for Recommender Systems"); measured, both together miss less than either.
Pure functions of the weights; 0.1 ms a message.
"""

import re
from pathlib import Path
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from filterd.api import Kind
from filterd.bundle import WIDE, WideEntry
from filterd.grams import Grams, grams, read_weights

BITS: Final = 19
TABLE: Final = 1 << BITS  # weights of a byte each, for mail and SMS together: 512 KiB

_DIGIT = re.compile(r"\d")


def features(canonical: str, max_tokens: int, max_windows: int) -> Grams:
    """Places in a table of TABLE of the n-grams of a text, each once; case and digits do not count."""
    folded = _DIGIT.sub("0", canonical.lower())
    return np.unique(grams(folded, max_tokens, max_windows, BITS))


class Wide:
    """The wide half of one bundle. Safe to use from several threads."""

    def __init__(self, weights: NDArray[np.int8], entry: WideEntry) -> None:
        self.entry = entry
        self._weights = weights

    @classmethod
    def load(cls, folder: Path, entry: WideEntry) -> Self:
        """Read the weights of a bundle whose files were checked. Raises BundleError."""
        return cls(read_weights(folder / WIDE, TABLE), entry)

    def margin(self, canonical: str, kind: Kind) -> float:
        """Log-odds of spam in nats, to be added to the GPT-2's."""
        found = features(canonical, self.entry.max_tokens, self.entry.max_windows)
        total = int(self._weights[found].sum(dtype=np.int32))
        return self.entry.scale[kind] * total / float(np.sqrt(len(found)))
