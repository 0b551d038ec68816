import time
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as peer
from sklearn.calibration import calibration_curve

from filterd.api import Label
from filterd.errors import BadInput
from filterd.scoring import verdict
from filterd.scoring.verdict import Thresholds
from filterd_trainer.evaluation.intervals import (
    Metrics,
    decide,
    evaluate,
    evaluate_classes,
    reliability,
    roc,
    spread,
)
from filterd_trainer.evaluation.metrics import BINS


def sample(n: int, seed: int, ties: bool = False) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    spam = rng.random(n) < 0.3
    p = 1 / (1 + np.exp(-(rng.normal(size=n) * 2 + np.where(spam, 2, -2))))
    p = np.clip(p, 1e-5, 1 - 1e-5)
    return (np.round(p, 1) if ties else p), spam


@pytest.mark.parametrize("ties", [False, True], ids=["distinct", "ties"])
@pytest.mark.parametrize("n", [7, 50, 400, 2001])
def test_agrees_with_scikit_learn(n: int, ties: bool) -> None:
    p, spam = sample(n, seed=n, ties=ties)
    called = p >= 0.5
    expected = {
        "accuracy": peer.accuracy_score(spam, called),
        "precision": peer.precision_score(spam, called),
        "recall": peer.recall_score(spam, called),
        "f1": peer.f1_score(spam, called),
        "mcc": peer.matthews_corrcoef(spam, called),
        "roc_auc": peer.roc_auc_score(spam, p),
        "brier": peer.brier_score_loss(spam, p),
        "log_loss": peer.log_loss(spam, np.clip(p, 1e-6, 1 - 1e-6)),
    }
    fpr, tpr, _ = peer.roc_curve(spam, p, drop_intermediate=False)
    expected |= {f"recall_at_fpr_{x}": tpr[fpr <= float(x) / 100].max() for x in ("0.1", "0.5", "1")}
    expected |= {f"fpr_at_recall_{x}": fpr[tpr >= x / 100].min() for x in (95, 99)}

    found = evaluate(p, spam, resamples=0)

    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=1e-12)
    assert found.confusion == peer.confusion_matrix(spam, called).tolist()


def test_calibration_error_is_that_of_scikit_learns_bins() -> None:
    p, spam = sample(1500, seed=4)
    share, mean = calibration_curve(spam, p, n_bins=BINS, strategy="quantile")
    ours_mean, ours_share, count = reliability(p, spam)
    assert ours_mean == pytest.approx(mean)
    assert ours_share == pytest.approx(share)
    assert set(count) == {100}
    assert evaluate(p, spam, resamples=0)["ece"] == pytest.approx(np.abs(share - mean).mean())


def test_calibration_error_keeps_equal_scores_in_one_bin() -> None:
    p = [0.2] * 10 + [0.9] * 10
    spam = [True] * 2 + [False] * 8 + [True] * 9 + [False]
    assert evaluate(p, spam, resamples=0)["ece"] == pytest.approx(0, abs=1e-12)
    assert evaluate(p[::-1], spam[::-1], resamples=0)["ece"] == pytest.approx(0, abs=1e-12)


def test_roc_curve_is_scikit_learns() -> None:
    p, spam = sample(300, seed=8, ties=True)
    expected = peer.roc_curve(spam, p, drop_intermediate=False)
    for ours, theirs in zip(roc(p, spam), expected, strict=True):
        assert ours == pytest.approx(theirs)


@pytest.mark.parametrize(
    ("p", "spam", "expected"),
    [
        pytest.param(
            [0.9, 0.4, 0.6, 0.1],
            [1, 1, 0, 0],
            {"accuracy": 0.5, "precision": 0.5, "recall": 0.5, "f1": 0.5, "mcc": 0.0, "fpr": 0.5}
            | {"roc_auc": 0.75, "recall_at_fpr_0.1": 0.5, "fpr_at_recall_95": 0.5, "brier": 0.185},
            id="by-hand",
        ),
        pytest.param(
            [0.5, 0.5],
            [1, 0],
            {"roc_auc": 0.5, "recall_at_fpr_1": 0.0, "fpr_at_recall_99": 1.0, "recall": 1.0, "fpr": 1.0},
            id="all-tied-at-the-threshold",
        ),
        pytest.param(
            [0.1, 0.9],
            [0, 0],
            {"accuracy": 0.5, "recall": None, "precision": 0.0, "f1": 0.0, "mcc": None, "roc_auc": None}
            | {"recall_at_fpr_0.1": None, "fpr_at_recall_95": None, "fpr": 0.5},
            id="ham-only",
        ),
        pytest.param(
            [0.2, 0.3],
            [1, 1],
            {"accuracy": 0.0, "recall": 0.0, "precision": None, "f1": 0.0, "mcc": None, "roc_auc": None}
            | {"recall_at_fpr_0.1": None, "fpr_at_recall_95": None, "fpr": None},
            id="spam-only-and-none-called",
        ),
        pytest.param([0.3], [0], {"accuracy": 1.0, "f1": None, "fpr": 0.0, "ece": 0.3}, id="one-message"),
        pytest.param([1.0], [0], {"accuracy": 0.0, "log_loss": 13.815511}, id="certain-and-wrong"),
    ],
)
def test_tables_by_hand(p: list[float], spam: list[int], expected: dict[str, float | None]) -> None:
    found = evaluate(p, spam, resamples=20)
    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=1e-6)


def test_one_ham_in_a_thousand_may_be_called_spam_at_fpr_one_per_mille() -> None:
    p = [0.99] + [0.01] * 999 + [0.98] * 10
    spam = [False] * 1000 + [True] * 10
    assert evaluate(p, spam, resamples=0)["recall_at_fpr_0.1"] == 1.0


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=40))
@settings(max_examples=60, deadline=None)
def test_any_scores_give_figures_that_are_in_range_and_serialise(rows: list[tuple[float, bool]]) -> None:
    found = evaluate([p for p, _ in rows], [spam for _, spam in rows], resamples=10)
    for name, estimate in found.estimates.items():
        if estimate.value is not None and name not in ("mcc", "log_loss"):
            assert 0 <= estimate.value <= 1 + 1e-12, name
    assert msgspec.json.decode(msgspec.json.encode(found), type=Metrics) == found


def test_order_of_messages_changes_nothing() -> None:
    p, spam = sample(200, seed=1, ties=True)
    order = np.random.default_rng(0).permutation(200)
    a, b = evaluate(p, spam, resamples=0), evaluate(p[order], spam[order], resamples=0)
    assert {n: e.value for n, e in a.estimates.items()} == pytest.approx(
        {n: e.value for n, e in b.estimates.items()}
    )


def test_interval_is_repeatable_and_near_the_binomial_one() -> None:
    p, spam = sample(1000, seed=2)
    found = evaluate(p, spam)
    assert found == evaluate(p, spam)
    assert found != evaluate(p, spam, seed=5)
    accuracy = found.estimates["accuracy"]
    assert accuracy.value is not None and accuracy.low is not None and accuracy.high is not None
    half = 1.96 * np.sqrt(accuracy.value * (1 - accuracy.value) / 1000)
    assert accuracy.low == pytest.approx(accuracy.value - half, abs=0.003)
    assert accuracy.high == pytest.approx(accuracy.value + half, abs=0.003)


def test_interval_is_that_of_a_plain_loop() -> None:
    p, spam = sample(120, seed=6)
    rng, values = np.random.default_rng(123), []
    for row in rng.integers(120, size=(500, 120)):
        values.append(peer.roc_auc_score(spam[row], p[row]))
    found = evaluate(p, spam, resamples=500).estimates["roc_auc"]
    assert [found.low, found.high] == pytest.approx(np.quantile(values, [0.025, 0.975]))


def test_copies_in_one_group_do_not_narrow_the_interval() -> None:
    p, spam = sample(60, seed=3)
    once = evaluate(p, spam).estimates["accuracy"]
    grouped = evaluate(np.repeat(p, 20), np.repeat(spam, 20), groups=np.repeat(np.arange(60), 20))
    naive = evaluate(np.repeat(p, 20), np.repeat(spam, 20))
    assert grouped.estimates["accuracy"] == once
    assert width(naive, "accuracy") < width(grouped, "accuracy") / 3


def width(found: Metrics, name: str) -> float:
    estimate = found.estimates[name]
    assert estimate.low is not None and estimate.high is not None
    return estimate.high - estimate.low


def test_many_messages_are_resampled_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    p, spam = sample(100, seed=9)
    whole = evaluate(p, spam, resamples=50)
    monkeypatch.setattr("filterd_trainer.evaluation.intervals.MAX_CELLS", 700)
    assert evaluate(p, spam, resamples=50) == whole


def test_bootstrap_of_a_big_test_set_takes_seconds() -> None:
    p, spam = sample(5_000, seed=10)
    started = time.perf_counter()
    evaluate(p, spam)
    assert time.perf_counter() - started < 20


def test_decisions_are_those_of_filterd() -> None:
    thresholds = Thresholds(unsure=0.4, spam=0.9)
    p = np.array([0.0, 0.39, 0.4, 0.5, 0.89, 0.9, 1.0])
    assert decide(p, thresholds) == [verdict.label(x, thresholds) for x in p]
    found = evaluate(p, [0, 1, 0, 1, 1, 0, 1], thresholds, resamples=0)
    assert found.decisions == [[1, 1, 1], [1, 2, 1]]


def test_verdicts_given_are_counted_as_they_are() -> None:
    labels = [Label.SPAM, Label.HAM, Label.UNSURE]
    assert evaluate([0.1, 0.9, 0.5], [1, 1, 0], verdicts=labels, resamples=0).decisions == [
        [0, 1, 0],
        [1, 0, 1],
    ]


def multiclass(n: int) -> tuple[Any, Any]:
    rng = np.random.default_rng(n)
    truth = rng.integers(4, size=n)
    odds = rng.normal(size=(n, 4)) + 1.5 * np.eye(4)[truth]
    return np.exp(odds) / np.exp(odds).sum(axis=1, keepdims=True), truth


def test_classes_agree_with_scikit_learn() -> None:
    p, truth = multiclass(300)
    called = p.argmax(axis=1)
    expected = {
        "accuracy": peer.accuracy_score(truth, called),
        "macro_precision": peer.precision_score(truth, called, average="macro"),
        "macro_recall": peer.recall_score(truth, called, average="macro"),
        "macro_f1": peer.f1_score(truth, called, average="macro"),
        "mcc": peer.matthews_corrcoef(truth, called),
        "log_loss": peer.log_loss(truth, p),
    }
    found = evaluate_classes(p, truth, ["ham", "advert", "phishing", "scam"], resamples=50)
    assert {name: found[name] for name in expected} == pytest.approx(expected)
    assert found.confusion == peer.confusion_matrix(truth, called).tolist()
    scores = peer.precision_recall_fscore_support(truth, called)
    assert [list(row.values()) for row in found.by_class.values()] == pytest.approx(np.transpose(scores))


def test_two_classes_by_either_door_are_the_same() -> None:
    p, spam = sample(200, seed=12)
    one, two = evaluate(p, spam), evaluate_classes(np.column_stack([1 - p, p]), spam, ["ham", "spam"])
    assert one.confusion == two.confusion
    for name in ("accuracy", "mcc", "log_loss"):
        assert one.estimates[name].value == pytest.approx(two.estimates[name].value)
        assert one.estimates[name].low == pytest.approx(two.estimates[name].low)


def test_a_class_that_never_occurs_has_no_figures() -> None:
    found = evaluate_classes([[0.8, 0.1, 0.1], [0.2, 0.7, 0.1]], [0, 1], ["a", "b", "c"], resamples=10)
    assert found["macro_f1"] == 1.0
    assert found.by_class["c"] == {"precision": None, "recall": None, "f1": None, "support": 0.0}


@pytest.mark.parametrize(
    ("p", "spam", "says"),
    [
        pytest.param([], [], "at least one message", id="empty"),
        pytest.param([0.1, 0.2], [1], "different lengths", id="lengths"),
        pytest.param([1.2], [1], "between 0 and 1", id="above-one"),
        pytest.param([float("nan")], [1], "between 0 and 1", id="nan"),
        pytest.param([[0.1]], [1], "one row a message", id="two-dimensions"),
    ],
)
def test_bad_arrays_are_refused_in_a_line(p: list[float], spam: list[int], says: str) -> None:
    with pytest.raises(BadInput, match=says):
        evaluate(p, spam)


@pytest.mark.parametrize(
    ("p", "truth"), [([[0.5, 0.5]], [0]), ([[0.2, 0.3, 0.5]], [3]), ([[0.2, 0.3, 0.5]], [-1])]
)
def test_labels_that_are_no_class_are_refused(p: list[list[float]], truth: list[int]) -> None:
    with pytest.raises(BadInput):
        evaluate_classes(p, truth, ["a", "b", "c"])


def accuracies(*hits: Sequence[int]) -> list[Metrics]:
    return [evaluate([0.9] * len(h), h, resamples=0) for h in hits]


def test_spread_over_runs() -> None:
    runs = accuracies([1, 1, 1, 1], [1, 1, 1, 0], [1, 1, 0, 0])
    found = spread([run.estimates for run in runs])
    accuracy = found["accuracy"]
    assert (accuracy.mean, accuracy.low, accuracy.high, accuracy.runs) == (0.75, 0.5, 1.0, 3)
    assert accuracy.sd == pytest.approx(0.25)
    assert "roc_auc" not in found  # the first run has one class only


def test_spread_of_one_run_is_none_at_all() -> None:
    (run,) = accuracies([1, 0])
    assert spread([run.estimates])["accuracy"].sd == 0.0
    assert spread([]) == {}
