"""The wide half of a model: what wordings weigh, besides what the GPT-2 understands.

A linear model over hashed byte n-grams of the folded text, fitted to labels by `trainer.export.linear`; its
log-odds are added to the GPT-2's margin of the same window, so that innocent text around spam dilutes
neither. The one remembers phrases, the other generalises (Cheng et al. 2016, "Wide & Deep Learning for
Recommender Systems"); measured, both together miss less than either. Pure functions of the weights; 0.1 ms a
window.
"""

import re
from pathlib import Path
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from filterd.api import Kind
from filterd.scoring.bundle import WIDE, WideEntry
from filterd.scoring.grams import Grams, grams, read_weights, unique

BITS: Final = 19
TABLE: Final = 1 << BITS  # weights of a byte each: 512 KiB for mail and SMS together, or for each

KINDS: Final = (Kind.MAIL, Kind.SMS)  # in the order of their tables in the file

_DIGIT = re.compile(r"\d")

Tables = dict[Kind, NDArray[np.int8]]


def features(window: str) -> Grams:
    """Places in a table of TABLE of the n-grams of a window, each once; case and digits do not count."""
    return unique(grams(_DIGIT.sub("0", window.lower()), BITS))


def read(folder: Path, entry: WideEntry) -> Tables:
    """The weights of a bundle whose files were checked, by kind. Raises BundleError."""
    found = read_weights(folder / WIDE, TABLE * (len(KINDS) if entry.apart else 1)).reshape(-1, TABLE)
    return {kind: found[i if entry.apart else 0] for i, kind in enumerate(KINDS)}


class WideHalf:
    """The wide half of one bundle. Safe to use from several threads."""

    def __init__(self, tables: Tables, entry: WideEntry) -> None:
        self.entry = entry
        self._tables = tables

    @classmethod
    def load(cls, folder: Path, entry: WideEntry) -> Self:
        """Read the weights of a bundle whose files were checked. Raises BundleError."""
        return cls(read(folder, entry), entry)

    def margin(self, window: str, kind: Kind) -> float:
        """Log-odds of spam in nats, to be added to the GPT-2's of the same window."""
        found = features(window)
        total = int(self._tables[kind][found].sum(dtype=np.int32))
        return self.entry.scale[kind] * total / float(np.sqrt(len(found)))
