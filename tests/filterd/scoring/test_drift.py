"""Drift against a reference."""

import random

import pytest

from filterd.api import Kind, Label, Verdict
from filterd.scoring import drift
from filterd.scoring.drift import Drift, psi, script


def verdict(probability: float, kind: Kind = Kind.SMS) -> Verdict:
    label = Label.SPAM if probability > 0.9 else Label.UNSURE if probability > 0.5 else Label.HAM
    return Verdict(label=label, probability=probability, points=0.0, kind=kind)


def filled(seed: int, spam_share: float, messages: int = 1000) -> Drift:
    draw = random.Random(0)
    reference = drift.shares(
        drift.observe(verdict(0.99 if draw.random() < 0.2 else 0.01), 20, "LATIN") for _ in range(5000)
    )
    watching = Drift({Kind.SMS: reference})
    draw = random.Random(seed)
    for _ in range(messages):
        watching.add(verdict(0.99 if draw.random() < spam_share else 0.01), 20, "LATIN")
    return watching


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("hello", "LATIN"),
        ("Grüße aus Köln", "LATIN"),
        ("Привет, как дела", "CYRILLIC"),
        ("明日の会議", "CJK"),
        ("안녕하세요", "HANGUL"),
        ("١٢٣ 123 !", "LATIN"),
        ("ⴰⵎⴰⵣⵉⵖ", "OTHER"),
    ],
)
def test_script(text: str, expected: str) -> None:
    assert script(text) == expected


def test_psi_by_hand() -> None:
    assert psi([0.5, 0.5], [0.5, 0.5]) == 0
    assert psi([0.5, 0.5], [0.9, 0.1]) == pytest.approx(0.4 * 0.587787 + 0.4 * 1.609438, abs=1e-5)
    assert psi([1.0, 0.0], [0.0, 1.0]) > 10


def test_the_same_traffic_is_no_drift() -> None:
    assert max(filled(1, 0.2).measure()[Kind.SMS].values()) < 0.02


def test_more_spam_is_a_shift_of_score_and_label_only() -> None:
    found = filled(2, 0.6).measure()[Kind.SMS]
    assert found["score"] > 0.25
    assert found["label"] > 0.25
    assert found["length"] == found["script"] == 0


def test_few_messages_say_nothing() -> None:
    assert filled(3, 0.9, messages=drift.MIN_SEEN - 1).measure() == {}


def test_without_a_reference_the_first_window_is_one() -> None:
    watching = Drift({})
    for _ in range(drift.WINDOW):
        watching.add(verdict(0.01, Kind.MAIL), 100, "LATIN")
    assert watching.measure()[Kind.MAIL] == dict.fromkeys(drift.BINS, 0.0)
