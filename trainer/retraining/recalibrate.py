"""Calibration and thresholds of a retrained model, from what little there is.

A rate of 0.1% takes a thousand ham to see, and a site has dozens. So the less there is, the more of the
champion's own calibration stays, which was fitted on thousands; training held the new model to the old
one's answers, which is why its margins still mean what they meant. By kind of message, with ham and spam
that nobody trained on:

- from FULL of both on: everything is fitted anew, as at an export;
- fewer: the champion's slope and offset; its spam threshold, raised where more ham reaches it than reached
  the champion's. It is never lowered: that would take ham that is not there.
"""

from collections.abc import Mapping

import msgspec
import numpy as np
import numpy.typing as npt

from filterd.api import Kind
from filterd.scoring import verdict
from filterd.scoring.bundle import Manifest
from filterd.scoring.verdict import MAX_LOG_ODDS, Calibration, Thresholds
from filterd_trainer.evaluation import calibrate
from filterd_trainer.evaluation.calibrate import Floats

FULL = 1_000  # fresh ham of a kind from which 0.1% is a message, and so can be seen
FULL_SPAM = 100  # fresh spam, for a slope
ABOVE = 0.5  # nats above the ham that has to stay below a raised threshold
MAX_PROBABILITY = verdict.sigmoid(MAX_LOG_ODDS)

Flags = npt.NDArray[np.bool_]


class FreshMargins(msgspec.Struct, frozen=True):
    """n messages of one kind that nobody trained on: both models' margins [n], and the truth [n]."""

    champion: Floats
    challenger: Floats
    is_spam: Flags


class CalibrationChoice(msgspec.Struct, frozen=True):
    """What was chosen for a kind, and on how much; `how` is for people."""

    calibration: Calibration
    thresholds: Thresholds
    ham: int
    spam: int
    how: str


def choose(manifest: Manifest, kind: Kind, fresh: FreshMargins) -> CalibrationChoice:
    """A challenger's calibration and thresholds. manifest: the champion's."""
    ham, spam = int((~fresh.is_spam).sum()), int(fresh.is_spam.sum())
    line, cut = manifest.calibration[kind], manifest.thresholds[kind]
    if ham >= FULL and spam >= FULL_SPAM:
        line = calibrate.fit_platt(fresh.challenger, fresh.is_spam)
        p = calibrate.apply(fresh.challenger, line)
        return CalibrationChoice(
            line, calibrate.choose_thresholds(p, fresh.is_spam), ham, spam, "fitted anew"
        )
    raised = _raised(line, cut, fresh)
    how = "the champion's" if raised == cut else "the champion's, spam threshold raised"
    return CalibrationChoice(line, raised, ham, spam, f"{how} ({ham} fresh ham)")


def cautious(choice: CalibrationChoice, fresh: FreshMargins) -> CalibrationChoice:
    """The same with the spam threshold raised, where it has to be, by ham that was corrected.

    fresh: corrected messages of the kind and what both models say of them without having learned from them.
    Hard cases by selection, so they fit no slope and lower no threshold.
    """
    raised = _raised(choice.calibration, choice.thresholds, fresh)
    if raised == choice.thresholds:
        return choice
    how = f"{choice.how}; spam threshold raised for corrected ham"
    return msgspec.structs.replace(choice, thresholds=raised, how=how)


def apply(manifest: Manifest, choices: Mapping[Kind, CalibrationChoice]) -> Manifest:
    """With what was chosen for each kind."""
    return msgspec.structs.replace(
        manifest,
        calibration={kind: one.calibration for kind, one in choices.items()},
        thresholds={kind: one.thresholds for kind, one in choices.items()},
    )


def _raised(line: Calibration, cut: Thresholds, fresh: FreshMargins) -> Thresholds:
    """So that no more of this ham is called spam than the champion called, or than the budget allows."""
    before, after = (calibrate.apply(m[~fresh.is_spam], line) for m in (fresh.champion, fresh.challenger))
    budget = int(calibrate.MAX_FALSE_POSITIVE_RATE * len(after))
    allowed = max(budget, int((before >= cut.spam).sum()))
    if int((after >= cut.spam).sum()) <= allowed:
        return cut
    stays_below = float(np.sort(after)[::-1][allowed])
    spam = min(verdict.sigmoid(verdict.log_odds(stays_below) + ABOVE), MAX_PROBABILITY)
    return Thresholds(unsure=cut.unsure, spam=max(cut.spam, spam))
