"""What a refit learns, what it leaves alone, and that nothing is judged by a fit that saw it."""

from pathlib import Path

import msgspec
import numpy as np
import pandas as pd
import pytest

from filterd.api import Kind
from filterd.scoring import bundle
from filterd.scoring.bundle import FastPathEntry, FastPathSide, FileEntry, WideEntry
from filterd.scoring.engine import Engine
from filterd.scoring.linear import features
from filterd.scoring.verdict import Thresholds
from filterd_trainer.retraining import refit
from filterd_trainer.retraining.refit import RefitInput, WideDelta, WideWeights
from tests.filterd import fakes
from tests.trainer.retraining import corrections
from tests.trainer.retraining.corrections import HAM, SPAM

SMS = Kind.SMS
MANIFEST = fakes.manifest()


@pytest.fixture(scope="module")
def champion(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    return Engine.open(corrections.champion(tmp_path_factory.mktemp("champion")))


def asked(texts: list[str], spam: list[bool], held: list[bool] | None = None, kind: Kind = SMS) -> RefitInput:
    """One window each, of which the champion knows nothing."""
    return RefitInput(
        [[features(one)] for one in texts],
        [[0.0]] * len(texts),
        [kind] * len(texts),
        np.array(spam, dtype=bool),
        np.array(held or [False] * len(texts), dtype=bool),
    )


def some(count: int) -> RefitInput:
    spam = [i % 2 == 0 for i in range(count)]
    return asked([(SPAM if one else HAM)[i // 2 % 3].format(f"no{i}") for i, one in enumerate(spam)], spam)


def test_what_was_corrected_moves_and_so_does_what_resembles_it() -> None:
    added = refit.fit(MANIFEST, some(12))
    new = asked([SPAM[0].format("other"), HAM[0].format("other"), "nothing of the kind"], [True, False, True])
    spam, ham, else_ = refit.margins(added, new)
    assert spam > 1 and ham < -1 and abs(else_) < min(spam, -ham)


def test_what_is_held_stays_and_teaches_nothing() -> None:
    taught, held = some(12), asked([SPAM[0].format("free")], [True], [True])
    free = refit.margins(refit.fit(MANIFEST, taught), held)[0]
    kept = refit.margins(refit.fit(MANIFEST, refit.together(taught, held)), held)[0]
    assert 0 < kept < 0.7 * free
    assert not refit.fit(MANIFEST, held).weights[SMS].any()


def test_no_message_teaches_nothing() -> None:
    found = refit.fit(MANIFEST, some(0))
    assert not found.weights[SMS].any() and not any(found.nats.values())


def test_the_same_messages_give_the_same_weights() -> None:
    one, other = (refit.fit(MANIFEST, some(12)) for _ in range(2))
    assert (one.weights[SMS] == other.weights[SMS]).all() and one.nats == other.nats


def test_a_kind_that_nobody_corrected_stays_as_it_is() -> None:
    """Though its own messages are among what is known, and the other's words are its own."""
    missed = [f"the invoice {i} of the garden gate is here" for i in range(12)]
    mail = asked(missed, [True] * 12, kind=Kind.MAIL)
    found = refit.fit(MANIFEST, refit.together(some(12), mail), [Kind.MAIL])
    same = asked(missed, [True] * 12)
    assert refit.margins(found, mail).min() > 1
    assert (refit.margins(found, same) == 0.0).all()
    crossed = refit.crossed(MANIFEST, same, mail, np.arange(12) % refit.FOLDS)
    assert (crossed > 0).all()


def test_a_fold_has_no_near_duplicate_outside() -> None:
    groups = np.repeat(np.arange(20), 3)
    fold = refit.folds(groups)
    assert len(np.unique(fold)) == refit.FOLDS
    assert all(len(np.unique(fold[groups == one])) == 1 for one in range(20))


def test_nobody_is_judged_by_a_fit_that_saw_him() -> None:
    """A label that nothing else supports is learned by a fit, and not found by cross-fitting."""
    odd = refit.together(some(20), asked([HAM[1].format("odd")], [True]))
    fold = np.arange(21) % refit.FOLDS
    nothing = some(0)
    crossed = refit.crossed(MANIFEST, nothing, odd, fold)
    fitted = refit.margins(refit.fit(MANIFEST, odd), odd)
    assert crossed[-1] < 0 < fitted[-1]
    assert (np.sign(crossed[:20]) == np.where(odd.is_spam[:20], 1, -1)).all()


def frame(texts: list[str]) -> pd.DataFrame:
    return pd.DataFrame({"Text": texts, "Kind": "sms", "Role": "new"})


def test_the_champion_is_asked_as_it_judges(champion: Engine) -> None:
    texts = [SPAM[0].format("x"), HAM[2].format("y")]
    found = refit.ask(champion, frame(texts), np.array([True, False]))
    margins = champion.margins(texts, [SMS, SMS])
    assert [max(one) for one in found.margins] == pytest.approx(margins, abs=1e-4)
    assert refit.margins(WideDelta.nothing(), found) == pytest.approx(margins, abs=1e-4)


def test_a_bundle_with_another_half_and_the_same_gpt2(champion: Engine, tmp_path: Path) -> None:
    texts = [SPAM[i % 3].format(f"no{i}") for i in range(6)]
    known = refit.ask(champion, frame(texts), np.array([True] * 6))
    before = champion.bundle.manifest.calibration[SMS]
    added = refit.fit(champion.bundle.manifest, known)
    made = refit.write(champion.bundle, tmp_path / "made", added, champion.bundle.manifest)
    assert made.manifest.parent == champion.bundle.id != made.id
    before_it, found = champion.bundle.manifest.fast_path, made.manifest.fast_path
    assert before_it and found == {Kind.MAIL: before_it[Kind.MAIL], SMS: FastPathEntry()}
    for name in (bundle.MODEL, bundle.WEIGHTS):
        assert (made.path / name).read_bytes() == (champion.bundle.path / name).read_bytes()
    new = Engine.open(made.path)
    line = made.manifest.calibration[SMS]
    assert line.offset == pytest.approx(before.offset + before.slope * added.nats[SMS])
    mail = ["the minutes of the meeting", SPAM[0].format("y")]
    assert new.margins(mail, [Kind.MAIL] * 2) == champion.margins(mail, [Kind.MAIL] * 2)
    assert made.manifest.calibration[Kind.MAIL] == champion.bundle.manifest.calibration[Kind.MAIL]
    wanted = refit.margins(added, known)
    assert np.array(new.margins(texts, [SMS] * 6)) + added.nats[SMS] == pytest.approx(
        wanted.tolist(), abs=0.1
    )  # 8 bits
    assert (wanted > [max(one) for one in known.margins]).all()


def test_the_fast_path_stays_where_nothing_was_corrected() -> None:
    """And a kind whose threshold moved has none, though its weights are the champion's."""
    sides = dict.fromkeys(
        Kind,
        FastPathEntry(
            ham=FastPathSide(limit=-1.0, scale=1.0, offset=0.0),
            spam=FastPathSide(limit=1.0, scale=1.0, offset=0.0),
            messages=5_000,
        ),
    )
    files = MANIFEST.files | {bundle.WIDE: FileEntry("", 0)}
    judging = fakes.manifest(fast_path=sides, files=files, wide=WideEntry(dict.fromkeys(Kind, 0.01)))
    added = refit.fit(judging, some(12), {SMS})
    found = refit._fast_path(judging, judging, added)
    assert found == {Kind.MAIL: sides[Kind.MAIL], SMS: FastPathEntry()}
    raised = judging.thresholds | {Kind.MAIL: Thresholds(unsure=0.3, spam=0.99)}
    assert refit._fast_path(judging, msgspec.structs.replace(judging, thresholds=raised), added) is None
    assert refit._fast_path(MANIFEST, MANIFEST, added) is None


def test_a_bundle_without_a_wide_half_gets_one(champion: Engine, tmp_path: Path) -> None:
    empty = WideWeights(WideDelta.nothing().weights, dict.fromkeys(Kind, 0.0))
    added = refit.fit(MANIFEST, some(12))
    entry = empty.write(added, tmp_path)
    assert 0 < entry.scale[SMS] <= np.abs(added.weights[SMS]).max() / 127
    assert np.abs(np.fromfile(tmp_path / bundle.WIDE, np.int8)).max() == 127
