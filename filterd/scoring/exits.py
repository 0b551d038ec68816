"""Where the GPT-2 may stop after its first blocks: windows whose answer is clear by then.

Strategy: a head behind the first blocks has learned to judge by itself (a recipe's exit_after). Where its
log-odds of a window lie beyond one of two limits, chosen on held-out messages so that labels stay the whole
model's, a line stands for what the whole model would say of that window; the wide half's nats are added as
ever, and the highest window decides. So it is a matter of one window, whatever else is in the batch. Pure
functions.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from filterd.scoring.bundle import ExitEntry, FastPathSide

Logits = NDArray[np.float32]
Floats = NDArray[np.float64]


def margins(logits: NDArray[np.float32], ham: Sequence[int]) -> Floats:
    """`verdict.margin` of rows [n, classes] -> [n]."""
    spam = [i for i in range(logits.shape[1]) if i not in ham]
    rows = logits.astype(np.float64)
    found: Floats = np.logaddexp.reduce(rows[:, spam], 1) - np.logaddexp.reduce(rows[:, list(ham)], 1)
    return found


def estimates(early: Floats, fit: ExitEntry) -> Floats:
    """The whole model's margins by the exit's, [n]; not a number where the whole model has to say."""
    found = np.full(len(early), np.nan)
    for side, beyond in ((fit.ham, np.less_equal), (fit.spam, np.greater_equal)):
        if side:
            settled = beyond(early, side.limit)
            found[settled] = _line(early[settled], side)
    return found


def _line(early: Floats, side: FastPathSide) -> Floats:
    return side.offset + side.scale * early


def settling(fit: ExitEntry, ham: Sequence[int]) -> Callable[[Logits], tuple[Logits, NDArray[np.bool_]]]:
    """From the exit's logits [n, classes]: rows whose margin is the estimate, and which are settled."""

    def settle(early: Logits) -> tuple[Logits, NDArray[np.bool_]]:
        found = estimates(margins(early, ham), fit)
        settled = ~np.isnan(found)
        rows = np.zeros_like(early)
        spam = [i for i in range(early.shape[1]) if i not in ham]
        rows[:, spam] = (np.where(settled, found, 0.0) + np.log(len(ham) / len(spam)))[:, None]
        return rows, settled

    return settle
