import msgspec
import numpy as np
import pytest

from filterd.api import Kind
from filterd.errors import BadInput
from filterd.scoring import bundle
from filterd_trainer.evaluation import calibrate
from filterd_trainer.export.left_out import LeftOutScores, decide

RNG = np.random.default_rng(5)


def judged(ham: float, spam: float, count: int = 2000, kind: Kind = Kind.MAIL) -> LeftOutScores:
    """Ham and spam whose margins spread around two means."""
    margins = np.concatenate([RNG.normal(ham, 1.5, count), RNG.normal(spam, 1.5, count)])
    return LeftOutScores(margins, np.arange(2 * count) >= count, [kind] * (2 * count))


def both(one: LeftOutScores, other: LeftOutScores) -> LeftOutScores:
    return LeftOutScores(
        np.concatenate([one.margins, other.margins]),
        np.concatenate([one.is_spam, other.is_spam]),
        [*one.kinds, *other.kinds],
    )


def test_rates_hold_on_unknown_and_on_known_sources() -> None:
    manifest = bundle.read(bundle.DEFAULT).manifest
    known, unknown = judged(-6, 6), judged(-2, 3)
    made = decide(manifest, known, unknown)
    as_before = msgspec.structs.replace(
        made, calibration=manifest.calibration, thresholds=manifest.thresholds
    )
    assert as_before == manifest
    for part, spam, unsure in ((known, 0.001, 0.01), (unknown, 0.003, 0.03)):
        ham = calibrate.apply(part.margins[~part.is_spam], made.calibration[Kind.MAIL])
        assert (ham >= made.thresholds[Kind.MAIL].spam).mean() <= spam
        assert (ham >= made.thresholds[Kind.MAIL].unsure).mean() <= unsure


def test_probability_is_honest_on_unknown_sources() -> None:
    unknown = judged(-1, 2)
    line = decide(bundle.read(bundle.DEFAULT).manifest, judged(-6, 6), unknown).calibration[Kind.MAIL]
    p = calibrate.apply(unknown.margins, line)
    sure = p > 0.8
    assert abs(unknown.is_spam[sure].mean() - p[sure].mean()) < 0.05


def test_kinds_are_apart_where_both_have_enough() -> None:
    manifest = bundle.read(bundle.DEFAULT).manifest
    mixed = both(judged(-2, 3), judged(-5, 0, kind=Kind.SMS))
    made = decide(manifest, mixed, mixed)
    assert made.calibration[Kind.MAIL].offset < made.calibration[Kind.SMS].offset
    few = decide(manifest, mixed, both(judged(-2, 3), judged(-5, 0, 20, Kind.SMS)))
    assert few.calibration[Kind.SMS] != few.calibration[Kind.MAIL]
    none = decide(manifest, judged(-2, 3), judged(-2, 3))
    assert none.calibration[Kind.SMS] == none.calibration[Kind.MAIL]


def test_one_wrong_label_does_not_set_the_threshold() -> None:
    manifest = bundle.read(bundle.DEFAULT).manifest
    unknown = judged(-4, 4, 300)
    unknown.margins[0] = 9.0  # of ham
    cut = decide(manifest, judged(-6, 6), unknown)
    spam = calibrate.apply(unknown.margins[unknown.is_spam], cut.calibration[Kind.MAIL])
    assert (spam >= cut.thresholds[Kind.MAIL].spam).mean() > 0.8


def test_one_label_alone_is_refused() -> None:
    with pytest.raises(BadInput, match="--calibrate-source"):
        decide(
            bundle.read(bundle.DEFAULT).manifest,
            judged(-6, 6),
            LeftOutScores(np.zeros(9), np.zeros(9, bool), [Kind.SMS] * 9),
        )
