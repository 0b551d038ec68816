import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from filterd.api import Label
from filterd.errors import BadInput
from filterd.scoring import verdict
from filterd.scoring.verdict import Calibration
from filterd_trainer.evaluation.calibrate import (
    apply,
    choose_thresholds,
    fit_platt,
    fit_temperature,
    margins,
    rate_bound,
)
from filterd_trainer.evaluation.intervals import decide, evaluate


def held_out(n: int, slope: float, offset: float, seed: int = 0) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    margin = rng.normal(scale=3, size=n)
    return margin, rng.random(n) < 1 / (1 + np.exp(-(slope * margin + offset)))


def test_platt_finds_the_true_scaling() -> None:
    found = fit_platt(*held_out(20_000, slope=0.5, offset=-1))
    assert found.slope == pytest.approx(0.5, abs=0.02)
    assert found.offset == pytest.approx(-1, abs=0.05)


def test_platt_agrees_with_scikit_learn_where_smoothing_no_longer_matters() -> None:
    margin, spam = held_out(20_000, slope=0.7, offset=0.4)
    peer = LogisticRegression(C=np.inf, tol=1e-10).fit(margin[:, None], spam)
    found = fit_platt(margin, spam)
    assert found.slope == pytest.approx(peer.coef_[0, 0], abs=2e-3)
    assert found.offset == pytest.approx(peer.intercept_[0], abs=2e-3)


def test_calibration_lowers_the_calibration_error_on_other_messages() -> None:
    fitted = fit_platt(*held_out(2_000, slope=0.4, offset=0.5, seed=1))
    margin, spam = held_out(4_000, slope=0.4, offset=0.5, seed=2)
    before = evaluate(apply(margin, Calibration()), spam, resamples=0)
    after = evaluate(apply(margin, fitted), spam, resamples=0)
    assert before["ece"] is not None and before["ece"] > 0.1
    assert after["ece"] is not None and after["ece"] < 0.03
    assert after["roc_auc"] == pytest.approx(before["roc_auc"])


def test_separated_classes_keep_a_finite_slope() -> None:
    found = fit_platt([-9.0] * 20 + [9.0] * 20, [0] * 20 + [1] * 20)
    assert apply([9.0], found)[0] == pytest.approx(21 / 22)


def test_temperature_has_no_offset() -> None:
    found = fit_temperature(*held_out(20_000, slope=0.5, offset=0))
    assert found.slope == pytest.approx(0.5, abs=0.02)
    assert found.offset == 0


@pytest.mark.parametrize("fit", [fit_platt, fit_temperature])
def test_a_rarer_spam_in_use_moves_the_log_odds_and_not_the_slope(fit: Any) -> None:
    margin, spam = [-1.0, 1, -2, 2, 0.5, -0.5], [0, 1, 0, 1, 0, 1]
    even, rare = fit(margin, spam), fit(margin, spam, prior=0.1)
    assert rare.slope == even.slope
    assert rare.offset - even.offset == pytest.approx(math.log(0.1 / 0.9))
    with pytest.raises(BadInput, match="prior"):
        fit(margin, spam, prior=1.0)


@pytest.mark.parametrize(
    ("margin", "spam", "says"),
    [
        pytest.param([1.0, 2.0], [1, 1], "both", id="one-class"),
        pytest.param([1.0], [1, 0], "shapes", id="lengths"),
        pytest.param([1.0, math.inf], [1, 0], "finite", id="infinite"),
        pytest.param([2.0, 1, -1, -2] * 20, [0, 0, 1, 1] * 20, "no higher", id="backwards"),
    ],
)
def test_what_cannot_be_calibrated_is_refused(margin: list[float], spam: list[int], says: str) -> None:
    with pytest.raises(BadInput, match=says):
        fit_platt(margin, spam)


def test_arrays_give_what_filterd_gives() -> None:
    rng = np.random.default_rng(0)
    logits, calibration = rng.normal(size=(20, 4)) * 20, Calibration(slope=1.3, offset=-0.2)
    found = margins(logits, (0, 2))
    assert found == pytest.approx([verdict.margin(list(row), (0, 2)) for row in logits])
    assert apply(found, calibration) == pytest.approx([verdict.probability(m, calibration) for m in found])


def test_thresholds_lie_half_way_above_the_ham_that_must_stay_below() -> None:
    ham = np.concatenate([np.full(1990, 0.01), np.full(8, 0.3), [0.7, 0.95]])
    p = np.concatenate([ham, [0.8, 0.9, 0.99]])
    found = choose_thresholds(p, np.arange(len(p)) >= 2000)
    # two of 2,000 ham may be spam: the third highest, 0.3, has to stay below; the next above it is 0.7
    assert found.spam == 0.5  # half way is 0.49998…, and spam is never below a half
    assert 0.01 < found.unsure < 0.3


def test_a_few_ham_may_none_be_called_spam() -> None:
    found = choose_thresholds([0.1] * 99 + [0.8, 0.9, 0.95], [0] * 100 + [1, 1])
    odds = (math.log(0.8 / 0.2) + math.log(0.9 / 0.1)) / 2
    assert found.spam == pytest.approx(1 / (1 + math.exp(-odds)))
    assert found.unsure < 0.8  # 1 of 100 ham may be unsure


def test_ham_above_all_spam_means_nothing_is_spam_below_it() -> None:
    found = choose_thresholds([0.1, 0.999, 0.5], [0, 0, 1])
    assert 0.999 < found.spam < 1
    certain = 1 - 1e-6  # the highest probability that filterd.scoring.verdict gives
    assert choose_thresholds([certain, 0.9], [0, 1]).spam > certain


@given(
    st.lists(st.tuples(st.floats(1e-6, 1 - 1e-6), st.booleans()), min_size=1, max_size=300),
    st.sampled_from([0.001, 0.01, 0.1]),
)
@settings(max_examples=200, deadline=None)
def test_promised_rates_hold_on_the_held_out_ham(rows: list[tuple[float, bool]], max_fpr: float) -> None:
    p, spam = np.array([p for p, _ in rows]), np.array([spam for _, spam in rows])
    if spam.all():
        with pytest.raises(BadInput):
            choose_thresholds(p, spam)
        return
    found = choose_thresholds(p, spam, max_fpr=max_fpr, max_unsure=0.2)
    labels = decide(p[~spam], found)
    assert labels.count(Label.SPAM) <= max_fpr * len(labels)
    assert len(labels) - labels.count(Label.HAM) <= max(max_fpr, 0.2) * len(labels)


@pytest.mark.parametrize(
    ("hits", "of", "bound"),
    [
        pytest.param(0, 150, 1 - 0.05 ** (1 / 150), id="none"),
        pytest.param(3, 3, 1.0, id="all"),
        pytest.param(0, 0, 1.0, id="no-messages"),
        pytest.param(5, 100, 0.1022534, id="some"),
    ],
)
def test_bound_on_a_rate(hits: int, of: int, bound: float) -> None:
    assert rate_bound(hits, of) == pytest.approx(bound, abs=1e-6)
