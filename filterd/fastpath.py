"""A cheap look that settles the messages it is certain of, so that the GPT-2 need not be asked.

The wide half of the model (`wide.py`) looks at a message first. Where its margin of the highest window lies
beyond two limits, chosen by `trainer.fastpath` on held-out messages so that labels agree with the full
model's, it settles the label; between them the GPT-2 is asked, and no work was in vain. Pure functions.

It is left out where its proof does not hold: several readings, GTUBE, a correction that resembles the
message, or a memory that pulls against the estimate. Where the memory pulls the same way, the full model's
fused answer lies beyond the threshold whenever its own does.
"""

from typing import Final

from filterd.api import Label
from filterd.bundle import Certainty
from filterd.memory import UNRELATED, Recollection
from filterd.verdict import Thresholds, log_odds

BESIDE: Final = 1e-3  # nats that an estimate is kept from a threshold


def settle(margin: float, fit: Certainty, memory: Recollection, thresholds: Thresholds) -> float | None:
    """Log-odds on the side of the thresholds that the full model's are on; None where it has to say.

    margin: the wide half's of the message's highest window, in nats.
    """
    if memory.label and memory.overlap > UNRELATED:
        return None
    estimate = fit.offset + fit.scale * margin
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
