"""Limits that are honest, and figures that are measured."""

from collections.abc import Sequence

import numpy as np
import pytest

from filterd.api import Kind, Label, Message
from filterd.bundle import Certainty
from filterd.fastpath import settle
from filterd.memory import Recollection
from filterd.verdict import Thresholds, log_odds, margin
from tests.filterd import fakes
from tests.trainer.samples import ADVERT, FRAUD, labelled
from trainer import fastpath
from trainer.fastpath import Seen, allowed, limits, line, measure

SPAM = tuple(line.split("{}")[0][:8].lower() for line in ADVERT + FRAUD)


def look(texts: Sequence[str], _kinds: object = None) -> list[tuple[float, float]]:
    """A model that knows each sample's class, and a wide half that is sure of some and knows no others."""
    is_spam = [any(start in text.lower() for start in SPAM) for text in texts]
    knows = ["sale" in text or "lunch" in text for text in texts]
    return [
        (6.0 if spam else -6.0, (3.0 if spam else -3.0) if known else 0.0)
        for spam, known in zip(is_spam, knows, strict=True)
    ]


def test_limits_are_found_and_measured() -> None:
    texts, classes = labelled(4_800)
    ham = [text for text, of in zip(texts[:600], classes[:600], strict=True) if of == 0]
    manifest = fakes.manifest()
    sms = fastpath.fit(manifest, look, Kind.SMS, texts[:600], ham, texts[600:])
    assert sms.messages == 4_200
    assert sms.agrees == 1.0
    assert sms.at_least > 0.999
    assert 0.2 < sms.settled < 0.5  # what the wide half knows, and no more
    for whole, wide in look(texts):
        found = settle(wide, sms, Recollection(), manifest.thresholds[Kind.SMS])
        assert found is None or (found > 0) == (whole > 0)


def test_a_kind_without_messages_has_no_limits() -> None:
    mail = fastpath.fit(fakes.manifest(), look, Kind.MAIL, [], [], [])
    assert (mail.ham, mail.spam, mail.settled) == (None, None, 0.0)


def test_the_line_fits_and_margins_without_spread_give_none() -> None:
    thresholds = Thresholds(unsure=0.3, spam=0.9)
    wide = np.array([-1.0, 0.0, 1.0])
    assert line(Seen(2 * wide + 0.5, wide), thresholds) == pytest.approx((2.0, 0.5))
    assert line(Seen(np.array([1.0, 2.0]), np.zeros(2)), thresholds) == pytest.approx((0.0, 1.5))


def test_what_is_far_on_its_side_bends_no_line() -> None:
    thresholds = Thresholds(unsure=0.3, spam=0.9)
    high = log_odds(0.9) + fastpath.BEYOND
    wide = np.array([-1.0, 1.0])
    assert line(Seen(np.array([0.0, 1e6]), wide), thresholds) == pytest.approx((high / 2, high / 2))


def test_limits_spare_no_more_than_can_be_shown() -> None:
    estimates = np.linspace(-10, 10, 20_001)
    labels = [Label.HAM if e < -1 else Label.SPAM if e > 1 else Label.UNSURE for e in estimates]
    ham, spam = limits(estimates, labels, 0.25)
    assert ham is not None
    assert spam is not None
    wrong = sum(
        (e <= ham and label is not Label.HAM) or (e >= spam and label is not Label.SPAM)
        for e, label in zip(estimates, labels, strict=True)
    )
    assert wrong == 0
    assert ham == pytest.approx(-1.25, abs=0.02)
    assert spam == pytest.approx(1.25, abs=0.02)
    assert limits(np.zeros(50), [Label.UNSURE] * 50, 0.25) == (None, None)


def test_allowed_is_the_bound_of_clopper_and_pearson() -> None:
    assert [allowed(n) for n in (100, 4_000, 8_000, 10_000)] == [0, 0, 2, 3]


def test_what_cannot_be_shown_is_not_used() -> None:
    fit = Certainty(scale=1.0, offset=0.0, ham=-1.0, spam=1.0)
    estimates, labels = np.full(5_000, -2.0), [Label.HAM] * 5_000
    good = measure(estimates, labels, fit)
    assert (good.ham, good.settled, good.agrees) == (-1.0, 1.0, 1.0)
    assert 0.999 < good.at_least < 1.0
    few = measure(estimates[:500], labels[:500], fit)
    assert (few.ham, few.spam) == (None, None)
    wrong = measure(estimates, [Label.SPAM] * 8 + labels[8:], fit)
    assert wrong.agrees == pytest.approx(0.9984)
    assert (wrong.ham, wrong.spam) == (None, None)


def test_margins_are_of_the_same_kind_as_the_engines() -> None:
    engine = fakes.engine()[0]
    (found,) = engine.margins(["an urgent prize"], [Kind.SMS])
    assert found == pytest.approx(margin([0.0, 12.0], (0,)))
    verdict = engine.judge([Message(b"an urgent prize", Kind.SMS)])[0]
    assert log_odds(verdict.probability) == pytest.approx(found)
