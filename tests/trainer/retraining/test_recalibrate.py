"""The less there is, the more of the champion's calibration stays, and no threshold falls for want of ham."""

import numpy as np
import pytest

from filterd.api import Kind
from filterd.scoring.verdict import Calibration, Thresholds
from filterd_trainer.retraining import recalibrate
from filterd_trainer.retraining.recalibrate import FreshMargins, choose
from tests.filterd import fakes

LINE, CUT = Calibration(slope=1.0, offset=0.0), Thresholds(unsure=0.5, spam=0.9)
MANIFEST = fakes.manifest(calibration=dict.fromkeys(Kind, LINE), thresholds=dict.fromkeys(Kind, CUT))


def fresh(
    ham: list[float], before: list[float] | None = None, spam: list[float] | None = None
) -> FreshMargins:
    spam = spam or []
    after = np.array([*ham, *spam], dtype=np.float64)
    was = np.array([*(before or ham), *spam], dtype=np.float64)
    return FreshMargins(was, after, np.array([False] * len(ham) + [True] * len(spam), dtype=bool))


def test_nothing_to_go_by_changes_nothing() -> None:
    found = choose(MANIFEST, Kind.SMS, fresh([]))
    assert (found.calibration, found.thresholds) == (LINE, CUT) and "0 fresh ham" in found.how


def test_few_ham_below_the_threshold_leave_it() -> None:
    assert choose(MANIFEST, Kind.MAIL, fresh([-4.0, 1.0, 2.0])).thresholds == CUT


def test_ham_above_it_raises_it_and_no_further() -> None:
    found = choose(MANIFEST, Kind.MAIL, fresh([-4.0, 3.0], before=[-4.0, 1.0]))
    assert found.thresholds.spam == pytest.approx(1 / (1 + np.exp(-3.5))) and "raised" in found.how
    assert found.thresholds.unsure == CUT.unsure and found.calibration == LINE


def test_what_the_champion_lost_as_well_is_no_reason() -> None:
    assert choose(MANIFEST, Kind.MAIL, fresh([-4.0, 3.0], before=[-4.0, 4.0])).thresholds == CUT


def test_a_thousand_ham_are_enough_to_fit_anew() -> None:
    draw = np.random.default_rng(1)
    ham, spam = draw.normal(-3, 1, 2000).tolist(), draw.normal(3, 1, 200).tolist()
    found = choose(MANIFEST, Kind.MAIL, fresh(ham, spam=spam))
    assert found.how == "fitted anew" and found.calibration != LINE and (found.ham, found.spam) == (2000, 200)


def test_corrected_ham_raises_the_threshold_and_fits_nothing() -> None:
    choice = choose(MANIFEST, Kind.MAIL, fresh([]))
    draw = np.random.default_rng(1)
    many = fresh(draw.normal(-3, 1, 2000).tolist(), spam=draw.normal(3, 1, 200).tolist())
    assert recalibrate.cautious(choice, many) == choice
    raised = recalibrate.cautious(choice, fresh([-4.0, 3.0], before=[-4.0, 1.0]))
    assert raised.thresholds.spam == pytest.approx(1 / (1 + np.exp(-3.5))) and "corrected ham" in raised.how
    assert raised.thresholds.unsure == CUT.unsure and raised.calibration == LINE


def test_it_goes_into_the_manifest() -> None:
    choices = {kind: choose(MANIFEST, kind, fresh([3.0], before=[0.0])) for kind in Kind}
    made = recalibrate.apply(MANIFEST, choices)
    assert all(made.thresholds[kind].spam > 0.9 for kind in Kind)
