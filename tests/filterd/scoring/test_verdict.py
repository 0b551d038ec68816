"""The numbers behind a verdict."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filterd.api import Label
from filterd.scoring import verdict
from filterd.scoring.verdict import Calibration, Thresholds

THRESHOLDS = Thresholds(unsure=0.4, spam=0.95)
probabilities = st.floats(0.0, 1.0)


def test_at_least_unsure() -> None:
    both = Thresholds(unsure=0.3, spam=0.9)
    for probability in (0.0, 0.3, 0.5, 0.95):
        kept = verdict.sigmoid(verdict.log_odds(verdict.at_least_unsure(probability, both)))
        assert verdict.label(kept, both) is not Label.HAM
    one = Thresholds(unsure=0.5, spam=0.5)
    assert verdict.at_least_unsure(0.1, one) == 0.1


def test_margin_of_two_classes_is_their_difference() -> None:
    assert verdict.margin([1.5, -0.5], ham=[0]) == pytest.approx(-2.0)


def test_margin_of_many_classes_pools_each_side() -> None:
    expected = math.log((math.e**2 + math.e) / (math.e**0 + math.e**-1))
    assert verdict.margin([0.0, 2.0, 1.0, -1.0], ham=[0, 3]) == pytest.approx(expected)


@pytest.mark.parametrize("logits", [[1e4, -1e4], [-1e4, 1e4]])
def test_margin_survives_extreme_logits(logits: list[float]) -> None:
    assert math.isfinite(verdict.margin(logits, ham=[0]))


@pytest.mark.parametrize(
    ("probability", "label"),
    [
        (0.0, Label.HAM),
        (0.3999, Label.HAM),
        (0.4, Label.UNSURE),
        (0.9499, Label.UNSURE),
        (0.95, Label.SPAM),
        (1.0, Label.SPAM),
    ],
)
def test_each_threshold_belongs_to_the_upper_side(probability: float, label: Label) -> None:
    assert verdict.label(probability, THRESHOLDS) is label


def test_points_are_five_exactly_at_the_spam_threshold() -> None:
    assert verdict.points(0.95, THRESHOLDS) == 5.0


@given(probabilities, probabilities)
def test_points_are_monotone(p: float, q: float) -> None:
    low, high = sorted((p, q))
    assert verdict.points(low, THRESHOLDS) <= verdict.points(high, THRESHOLDS)


@given(probabilities)
def test_points_and_label_agree(p: float) -> None:
    assert (verdict.points(p, THRESHOLDS) >= 5.0) == (verdict.label(p, THRESHOLDS) is Label.SPAM)


@given(st.floats(allow_nan=False))
def test_sigmoid_stays_inside_and_inverts(x: float) -> None:
    p = verdict.sigmoid(x)
    assert 1e-6 * 0.99 <= p <= 1 - 0.99e-6
    assert verdict.log_odds(p) == pytest.approx(
        max(-verdict.MAX_LOG_ODDS, min(verdict.MAX_LOG_ODDS, x)), abs=1e-6
    )


def test_calibration_moves_the_probability() -> None:
    assert verdict.probability(2.0, Calibration(slope=0.5, offset=-1.0)) == pytest.approx(0.5)


@pytest.mark.parametrize("slope", [0.0, -1.0, math.nan, math.inf])
def test_a_calibration_that_breaks_the_order_is_refused(slope: float) -> None:
    with pytest.raises(ValueError, match="slope"):
        Calibration(slope=slope)


@pytest.mark.parametrize(("unsure", "spam"), [(0.0, 0.5), (0.6, 0.5), (0.5, 1.0)])
def test_thresholds_out_of_order_are_refused(unsure: float, spam: float) -> None:
    with pytest.raises(ValueError, match="unsure"):
        Thresholds(unsure=unsure, spam=spam)


def test_softmax_sums_to_one() -> None:
    assert sum(verdict.softmax([3.0, 1.0, -200.0])) == pytest.approx(1.0)
