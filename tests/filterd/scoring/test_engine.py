"""Messages through the three stages, with a backend that counts words."""

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from filterd.api import Kind, Label, Message, Verdict
from filterd.errors import BundleError
from filterd.reading.text import GTUBE
from filterd.scoring.engine import ModelLook, batches
from filterd.scoring.verdict import Calibration, Thresholds, log_odds
from tests.filterd.fakes import engine

CLEAN = "see you at the station"
SPAM = "you are our prize winner"


def sms(text: str) -> Message:
    return Message(text.encode(), kind=Kind.SMS)


def judge(text: str, **changes: object) -> Verdict:
    return engine(**changes)[0].judge([sms(text)])[0]


def test_labels_follow_the_model() -> None:
    assert judge(CLEAN).label is Label.HAM
    assert judge(SPAM).label is Label.SPAM


def test_a_verdict_says_who_judged_and_how_sure() -> None:
    found = judge(SPAM)
    assert found.model == "fake-1"
    assert found.tests == ("GPT2",)
    assert found.kind is Kind.SMS
    assert found.subject == SPAM
    assert sum(found.classes.values()) == pytest.approx(1.0)
    assert found.classes["spam"] == pytest.approx(found.probability)


def test_calibration_and_thresholds_are_those_of_the_kind() -> None:
    strict = {Kind.MAIL: Thresholds(unsure=0.3, spam=0.9), Kind.SMS: Thresholds(unsure=0.99, spam=0.9999999)}
    assert judge(SPAM, thresholds=strict).label is Label.UNSURE
    flat = {Kind.MAIL: Calibration(), Kind.SMS: Calibration(slope=0.01)}
    assert judge(SPAM, calibration=flat).probability == pytest.approx(0.5, abs=0.05)


def test_spam_after_a_long_innocent_start_is_found() -> None:
    assert judge("and then we walked home. " * 40 + SPAM).label is Label.SPAM


def test_what_was_cut_is_no_ham() -> None:
    cut = b"From: a@b.test\nContent-Type: text/html\n\n<!--" + b"x" * 3_000_000 + b"--><p>spam"
    wide = {kind: Thresholds(unsure=0.3, spam=0.9) for kind in Kind}
    found = engine(thresholds=wide)[0].judge([Message(cut, kind=Kind.MAIL)])[0]
    assert found.label is Label.UNSURE
    assert "TRUNCATED" in found.tests


def test_gtube_is_always_spam() -> None:
    found = judge(f"hello {GTUBE}", max_tokens=64)
    assert found.label is Label.SPAM
    assert "GTUBE" in found.tests


def test_every_reading_of_an_ambiguous_mail_counts() -> None:
    mail = (
        b"Subject: hi\nContent-Type: multipart/mixed; boundary=a; boundary=b\n\n"
        b"--a\nContent-Type: text/plain\n\nsee you\n--a--\n--b\nContent-Type: text/plain\n\n"
        b"urgent, dear prize winner\n--b--\n"
    )
    assert engine()[0].judge([Message(mail)])[0].label is Label.SPAM


def test_more_than_two_classes() -> None:
    labels = ("ham", "spam", "phishing", "list")
    found = judge(SPAM, labels=labels, ham=("ham", "list"))
    assert found.label is Label.SPAM
    assert tuple(found.classes) == labels
    assert found.classes["spam"] + found.classes["phishing"] == pytest.approx(found.probability)


def test_verdicts_come_in_the_order_of_the_messages() -> None:
    texts = [CLEAN, SPAM] * 20 + ["see you " * n for n in range(1, 20)]
    random.Random(0).shuffle(texts)
    together = [found.label for found in engine()[0].judge([sms(text) for text in texts])]
    assert together == [judge(text).label for text in texts]


def test_nothing_to_judge_is_nothing_done() -> None:
    judging, backend = engine()
    assert judging.judge([]) == []
    assert backend.batches == []


def test_a_blank_message_gets_a_verdict() -> None:
    assert judge(" \n").label is Label.HAM


def test_subjects_cannot_steer_a_terminal() -> None:
    assert judge("\x1b[31mred\x07\u202e " + "x" * 200).subject.isprintable()


@given(st.lists(st.integers(0, 300), max_size=60), st.integers(1, 512))
def test_batches_hold_every_window_once_within_the_budget(lengths: list[int], budget: int) -> None:
    made = list(batches(lengths, budget))
    assert sorted(i for batch in made for i in batch) == list(range(len(lengths)))
    for batch in made:
        assert len(batch) == 1 or len(batch) * max(lengths[i] for i in batch) <= budget


def test_probes_that_score_otherwise_refuse_the_bundle() -> None:
    from filterd.scoring.bundle import Probe

    right = judge(SPAM).probability
    engine(probes=(Probe(Kind.SMS, SPAM, right),))[0].check_probes()
    with pytest.raises(BundleError, match="probe"):
        engine(probes=(Probe(Kind.SMS, SPAM, right - 0.1),))[0].check_probes()


def test_the_window_that_both_halves_together_call_most_like_spam_decides() -> None:
    rows = np.array([[0.0, 2.0], [1.0, 0.0], [0.0, 1.5]], np.float32)
    look = ModelLook.of(rows, (0,), wide=[0.0, 2.0, 1.0])
    assert (look.deep, look.margins) == ([2.0, -1.0, 1.5], [2.0, 1.0, 2.5])
    assert (look.deciding, look.margin, look.wide_margin) == (2, 2.5, 2.0)
    assert ModelLook.of(rows, (0,)).deciding == 0


def test_looks_are_what_verdicts_are_made_of() -> None:
    judging, _ = engine()
    long = "urgent " + "word " * 60
    (look,) = judging.looks([long], [Kind.SMS])
    assert len(look.windows) == len(look.rows) > 1 and judging.margins([long], [Kind.SMS]) == [look.margin]
    found = judging.judge([Message(long.encode(), kind=Kind.SMS)])[0].probability
    assert log_odds(found) == pytest.approx(look.margin, abs=1e-5)
    assert judging.looks([], []) == [] and judging.judge([]) == []
