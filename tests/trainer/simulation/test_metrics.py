"""Figures of a simulation on verdicts that are known."""

import numpy as np
import pytest

from filterd.api import Kind, Label
from filterd_trainer.simulation import metrics
from filterd_trainer.simulation.arms import Night
from filterd_trainer.simulation.replay import ReplayLook, ReplayOutcome, Segment
from filterd_trainer.simulation.stream import Stream, StreamMail
from filterd_trainer.simulation.users import StreamCorrection

N, CLEAN = 80, 40


def stream() -> Stream:
    mails = [StreamMail(b"", Kind.MAIL, ("text",), i % 2 == 0, i) for i in range(N + CLEAN)]
    return Stream(mails, N, {"no text left": 2, "empty file": 0}, "print")


def judged(places: range, wrong: set[int], unsure: set[int] = frozenset()) -> ReplayOutcome:  # type: ignore[assignment]
    labels, p = [], []
    for i in places:
        spam = (i % 2 == 0) is not (i in wrong)
        labels.append(Label.UNSURE if i in unsure else Label.SPAM if spam else Label.HAM)
        p.append(0.5 if i in unsure else 0.99 if spam else 0.01)
    return ReplayOutcome(p, labels)


def segments(
    wrong: set[int], unsure: set[int] | None = None, learned: list[StreamCorrection] | None = None
) -> list[Segment]:
    clean = judged(range(N, N + CLEAN), wrong)
    night = Night("b2", True)
    return [
        Segment(0, judged(range(40), wrong, unsure or set()), learned or []),
        Segment(40, judged(range(40, N), wrong, unsure or set()), [], night, ReplayLook(clean, clean)),
        Segment(N, ReplayOutcome([], []), [], Night("b2", False, "minimum"), ReplayLook(clean, clean)),
    ]


def test_counts_of_an_arm() -> None:
    said = [
        StreamCorrection(at=30, mail=2, label=Label.SPAM, source="user"),
        StreamCorrection(at=31, mail=3, label=Label.SPAM, source="user"),
    ]
    arm = metrics.arm("memory", segments({1, 3, 2, 50}, {4, 5}, said), stream())
    whole, half = arm.parts["stream"], arm.parts["second half"]
    assert (whole.false_positives, whole.missed) == (2, 3), "an unsure spam is in the inbox"
    assert (whole.unsure_ham, whole.unsure_spam) == (1, 1)
    assert whole.estimates["errors"].value == pytest.approx(5 / N)
    assert whole.estimates["not right"].value == pytest.approx(6 / N)
    assert (half.messages, half.false_positives, half.missed) == (40, 0, 1)
    assert arm.parts["clean mail, at the end"].messages == CLEAN
    assert (arm.corrections, arm.wrong, arm.nights, arm.promoted) == (2, 1, 2, 1)
    assert arm.reasons == ["", "minimum"]


def test_curves_add_up() -> None:
    curve = metrics.arm("frozen", segments({1, 3, 60}), stream()).curve
    assert curve.at == [25, 50, 75, 80]
    assert curve.sum_of_errors == [2, 2, 3, 3]
    assert curve.false_positives == [2, 2, 2, 2]
    assert curve.errors == pytest.approx([2 / 25, 2 / 50, 3 / 75, 3 / 80])


def test_both_is_compared_pairwise() -> None:
    runs = {"frozen": segments(set(range(0, N, 3))), "both": segments({1})}
    found = {(one.other, one.part): one.estimates for one in metrics.differences(runs, stream())}
    assert set(found) == {
        ("frozen", "stream"), ("frozen", "second half"), ("frozen", "clean mail, at the end"),
    }  # fmt: skip
    errors = found["frozen", "stream"]["errors"]
    assert errors.value == pytest.approx((1 - 27) / N)
    assert errors.high is not None
    assert errors.high < 0
    assert found["frozen", "clean mail, at the end"]["errors"].value == 0
    assert not metrics.differences({"frozen": runs["frozen"]}, stream())


def test_a_worse_filter_is_noticed_and_an_equal_one_is_not() -> None:
    frozen = judged(range(N, N + CLEAN), {81})
    learned = [
        StreamCorrection(at=9, mail=1, label=Label.HAM, source="user"),
        StreamCorrection(at=9, mail=2, label=Label.HAM, source="stranger-1", copy=-1),
    ]
    same = metrics.hostile("strangers", segments({83}, learned=learned), frozen, stream())
    assert (same.honest, same.hostile) == (1, 1)
    assert [one.worse for one in same.alone] == [False, False]
    assert same.alone[0].more.value == 0
    bad = metrics.hostile("strangers", segments(set(range(N + 1, N + 20, 2))), frozen, stream())
    assert all(one.worse and one.bound > 0 for one in bad.whole)
    assert bad.alone[0].false_positives == (1, 10)
    assert [(one.at, one.promoted) for one in bad.alone] == [(40, True), (80, False)]


def test_what_was_replayed_is_described() -> None:
    data = metrics.described(stream(), ["site=mails"])
    assert (data.messages, data.spam, data.clean, data.clean_spam, data.groups) == (80, 40, 40, 20, 120)
    assert data.lost == {"no text left": 2}


def test_equal_recall_needs_no_thresholds() -> None:
    p = np.linspace(0.1, 0.9, 40)
    one = ReplayOutcome(p.tolist(), [Label.HAM] * 40)
    measured = metrics._measured(one, p > 0.5, np.ones((1, 40)))
    assert measured["fpr_at_recall_95"][0] == 0
    assert measured["recall"][0] == 0
