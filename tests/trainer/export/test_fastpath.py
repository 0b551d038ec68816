"""Limits that are honest, lines that are the model's, and figures that are measured."""

from collections.abc import Sequence

import numpy as np
import pytest

from filterd.api import Kind, Label, Message
from filterd.scoring.bundle import FastPathEntry, FastPathSide
from filterd.scoring.fastpath import settle
from filterd.scoring.memory import Recollection
from filterd.scoring.verdict import MAX_LOG_ODDS, log_odds, margin
from filterd_trainer.export import fastpath
from filterd_trainer.export.fastpath import MISSED, FastPathSample, allowed, cleanest, limits, measure
from tests.filterd import fakes
from tests.trainer.samples import ADVERT, FRAUD, labelled

SPAM = tuple(line.split("{}")[0][:8].lower() for line in ADVERT + FRAUD)


def look(texts: Sequence[str], _kinds: object = None) -> list[tuple[float, float]]:
    """A model that knows each sample's class, and a wide half that is sure of some and knows no others."""
    is_spam = [any(start in text.lower() for start in SPAM) for text in texts]
    knows = ["sale" in text or "lunch" in text for text in texts]
    return [
        (6.0 if spam else -6.0, (3.0 if spam else -3.0) if known else 0.0)
        for spam, known in zip(is_spam, knows, strict=True)
    ]


def test_limits_and_lines_are_found_and_measured() -> None:
    texts, classes = labelled(4_800)
    is_spam = np.array(classes[:600]) > 0
    manifest = fakes.manifest()
    sms = fastpath.fit(manifest, look, Kind.SMS, texts[:600], is_spam, texts[600:])
    assert sms.messages == 4_200
    assert sms.agrees == 1.0
    assert sms.at_least > 0.999
    assert 0.2 < sms.settled < 0.5  # what the wide half knows, and no more
    slope, offset = manifest.calibration[Kind.SMS].slope, manifest.calibration[Kind.SMS].offset
    for whole, wide in look(texts):
        found = settle(wide, sms, Recollection(), manifest.thresholds[Kind.SMS])
        assert found is None or found == pytest.approx(slope * whole + offset)


def test_a_kind_without_messages_has_no_limits() -> None:
    mail = fastpath.fit(fakes.manifest(), look, Kind.MAIL, [], np.array([], bool), [])
    assert (mail.ham, mail.spam, mail.settled) == (None, None, 0.0)


def test_what_the_model_calls_ham_is_settled_only_where_hardly_a_spam_is_among_it() -> None:
    texts, classes = labelled(4_800)
    mislabelled = np.array(classes[:600]) > 0
    mislabelled[:] |= np.array(["lunch" in text for text in texts[:600]])
    sms = fastpath.fit(fakes.manifest(), look, Kind.SMS, texts[:600], mislabelled, texts[600:])
    assert sms.ham is None
    assert sms.spam is not None


def test_cleanest_is_the_highest_margin_below_which_spam_is_rare() -> None:
    wide = np.arange(2_000.0)
    spam = np.zeros(2_000, bool)
    spam[[1_250, 1_300, 1_500]] = True
    assert MISSED == 0.002  # two in 1,301 and three in 1,501 are fewer
    assert cleanest(wide, spam) == 1_999
    spam[[0, 1]] = True
    assert cleanest(wide, spam) == 1_249  # two in 1,250; three in 1,251, four in 1,301
    assert cleanest(wide[:5], np.ones(5, bool)) == -np.inf


def test_a_line_goes_through_what_is_settled_alone() -> None:
    wide = np.array([-1.0, 0.0, 1.0, 50.0])
    seen = FastPathSample(np.array([-1.5, 0.5, 2.5, -80.0]), wide)
    assert seen.line(wide < 2) == pytest.approx((2.0, 0.5))
    assert FastPathSample(np.array([1.0, 2.0]), np.zeros(2)).line(np.ones(2, bool)) == pytest.approx(
        (0.0, 1.5)
    )
    endless = FastPathSample(np.array([1e6, 1e6]), np.array([1.0, 2.0]))
    assert endless.line(np.ones(2, bool)) == pytest.approx((0.0, MAX_LOG_ODDS))


def test_limits_spare_no_more_than_can_be_shown() -> None:
    wide = np.linspace(-10, 10, 20_001)
    labels = [Label.HAM if x < -1 else Label.SPAM if x > 1 else Label.UNSURE for x in wide]
    ham, spam = limits(wide, labels, 0.25)
    assert ham == pytest.approx(-1.25, abs=0.02)
    assert spam == pytest.approx(1.25, abs=0.02)
    low, high = limits(np.zeros(50), [Label.UNSURE] * 50, 0.25)
    assert low < 0 < high  # beyond all that was seen


def test_allowed_is_the_bound_of_clopper_and_pearson() -> None:
    assert [allowed(n) for n in (100, 4_000, 8_000, 10_000)] == [0, 0, 2, 3]


def test_what_cannot_be_shown_is_not_used() -> None:
    side = FastPathSide(limit=-1.0, scale=1.0, offset=0.0)
    fit = FastPathEntry(ham=side, spam=FastPathSide(limit=1.0, scale=1.0, offset=0.0))
    wide, labels = np.full(5_000, -2.0), [Label.HAM] * 5_000
    good = measure(wide, labels, fit)
    assert (good.ham, good.settled, good.agrees) == (side, 1.0, 1.0)
    assert 0.999 < good.at_least < 1.0
    few = measure(wide[:500], labels[:500], fit)
    assert (few.ham, few.spam) == (None, None)
    wrong = measure(wide, [Label.SPAM] * 8 + labels[8:], fit)
    assert wrong.agrees == pytest.approx(0.9984)
    assert (wrong.ham, wrong.spam) == (None, None)


def test_margins_are_of_the_same_kind_as_the_engines() -> None:
    engine = fakes.engine()[0]
    (found,) = engine.margins(["an urgent prize"], [Kind.SMS])
    assert found == pytest.approx(margin([0.0, 12.0], (0,)))
    verdict = engine.judge([Message(b"an urgent prize", kind=Kind.SMS)])[0]
    assert log_odds(verdict.probability) == pytest.approx(found)
