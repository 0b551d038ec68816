"""A cheap look that settles the messages it is certain of, so that the GPT-2 need not be asked.

The wide half of the model (`wide.py`) looks at a message first. Where its margin of the highest window lies
beyond two limits, chosen by `trainer.export.fastpath` on held-out messages so that labels agree with the full
model's, it settles the label; between them the GPT-2 is asked, and no work was in vain. Pure functions.

It is left out where its proof does not hold: several readings, GTUBE, a correction that resembles the
message, or a memory that pulls against the estimate. Where the memory pulls the same way, the full model's
fused answer lies beyond the threshold whenever its own does.
"""

from typing import Final

from filterd.api import Label
from filterd.scoring.bundle import FastPathEntry, FastPathSide
from filterd.scoring.memory import Recollection
from filterd.scoring.verdict import Thresholds, log_odds

BESIDE: Final = 1e-3  # nats that an estimate is kept from a threshold


def settle(margin: float, fit: FastPathEntry, memory: Recollection, thresholds: Thresholds) -> float | None:
    """Log-odds on the side of the thresholds that the full model's are on; None where it has to say.

    margin: the wide half's of the message's highest window, in nats.
    """
    if memory.word:
        return None
    label = beyond(margin, fit)
    if label is Label.HAM and fit.ham and max(memory.shift, memory.campaign) <= 0 and memory.weight <= 1:
        return min(estimate(margin, fit.ham), log_odds(thresholds.unsure) - BESIDE)
    if label is Label.SPAM and fit.spam and min(memory.shift, memory.campaign) >= 0 and memory.weight >= 1:
        return max(estimate(margin, fit.spam), log_odds(thresholds.spam) + BESIDE)
    return None


def beyond(margin: float, fit: FastPathEntry) -> Label | None:
    """Which limit a margin of the wide half is beyond: ham's and below, spam's and above."""
    if fit.ham and margin <= fit.ham.limit:
        return Label.HAM
    return Label.SPAM if fit.spam and margin >= fit.spam.limit else None


def estimate(margin: float, side: FastPathSide) -> float:
    """Log-odds of spam of a message that is settled on a side."""
    return side.offset + side.scale * margin
