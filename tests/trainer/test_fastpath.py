"""A linear model that learns a model's answers, limits that are honest, and figures that are measured."""

from pathlib import Path

import numpy as np
import pytest

from filterd.api import Kind, Label, Message
from filterd.bundle import Certainty
from filterd.fastpath import FastPath
from filterd.memory import Recollection
from filterd.verdict import log_odds, margin
from tests.filterd import fakes
from tests.trainer.samples import ADVERT, FRAUD, labelled
from trainer import fastpath
from trainer.fastpath import Split, allowed, limits, measure


def judge(texts: list[str], _kinds: object = None) -> list[float]:
    """A model that knows each sample's class."""
    spam = tuple(line.split("{}")[0][:8] for line in ADVERT + FRAUD)
    return [6.0 if any(s.lower() in t.lower() for s in spam) else -6.0 for t in texts]


def test_it_learns_what_the_model_says(tmp_path: Path) -> None:
    texts, _ = labelled(4_800)
    parts = {"train": texts[:300], "validation": texts[300:600], "test": texts[600:]}
    splits = {name: Split(some, [Kind.SMS] * len(some)) for name, some in parts.items()}
    manifest = fakes.manifest(max_tokens=16)
    entry = fastpath.write(manifest, judge, splits, tmp_path)  # type: ignore[arg-type]
    fit = entry.kinds[Kind.SMS]
    assert fit.messages == 4_200
    assert fit.agrees == 1.0
    assert fit.at_least > 0.999
    assert fit.settled > 0.3
    mail = entry.kinds[Kind.MAIL]  # of which there is none
    assert (mail.ham, mail.spam, mail.settled) == (None, None, 0.0)
    loaded = FastPath.load(tmp_path, entry)
    settled = [loaded.settle(t, Kind.SMS, Recollection(), manifest.thresholds[Kind.SMS]) for t in texts]
    found = [s for s in settled if s is not None]
    assert len(found) / len(texts) == pytest.approx(fit.settled, abs=0.05)
    for one, said in zip(settled, judge(texts), strict=True):
        assert one is None or (one > 0) == (said > 0)


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
