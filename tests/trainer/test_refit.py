"""What a refit learns, what it leaves alone, and that nothing is judged by a fit that saw it."""

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from filterd import bundle
from filterd.api import Kind
from filterd.engine import Engine
from filterd.wide import TABLE, features
from tests.filterd import fakes
from tests.trainer import corrections
from tests.trainer.corrections import HAM, SPAM
from trainer import refit
from trainer.refit import Added, Asked, Half

SMS = Kind.SMS
MANIFEST = fakes.manifest()


@pytest.fixture(scope="module")
def champion(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    return Engine.open(corrections.champion(tmp_path_factory.mktemp("champion")))


def asked(texts: list[str], spam: list[bool], held: list[bool] | None = None) -> Asked:
    """One window each, of which the champion knows nothing."""
    return Asked(
        [[features(one)] for one in texts],
        [[0.0]] * len(texts),
        [SMS] * len(texts),
        np.array(spam, dtype=bool),
        np.array(held or [False] * len(texts), dtype=bool),
    )


def some(count: int) -> Asked:
    spam = [i % 2 == 0 for i in range(count)]
    return asked([(SPAM if one else HAM)[i // 2 % 3].format(f"no{i}") for i, one in enumerate(spam)], spam)


NOTHING = Added(np.zeros(TABLE), dict.fromkeys(Kind, 0.0))
EMPTY = Half(np.zeros(TABLE), dict.fromkeys(Kind, 1.0), 0.0)


def test_what_was_corrected_moves_and_so_does_what_resembles_it() -> None:
    added = refit.fit(MANIFEST, EMPTY, some(12))
    new = asked([SPAM[0].format("other"), HAM[0].format("other"), "nothing of the kind"], [True, False, True])
    spam, ham, else_ = refit.margins(EMPTY, added, new)
    assert spam > 1 and ham < -1 and abs(else_) < min(spam, -ham)


def test_what_is_held_stays_and_teaches_nothing() -> None:
    taught, held = some(12), asked([SPAM[0].format("free")], [True], [True])
    free = refit.margins(EMPTY, refit.fit(MANIFEST, EMPTY, taught), held)[0]
    kept = refit.margins(EMPTY, refit.fit(MANIFEST, EMPTY, refit.together(taught, held)), held)[0]
    assert 0 < kept < 0.7 * free
    assert not refit.fit(MANIFEST, EMPTY, held).weights.any()


def test_no_message_teaches_nothing() -> None:
    found = refit.fit(MANIFEST, EMPTY, some(0))
    assert not found.weights.any() and not any(found.nats.values())


def test_the_same_messages_give_the_same_weights() -> None:
    one, other = (refit.fit(MANIFEST, EMPTY, some(12)) for _ in range(2))
    assert (one.weights == other.weights).all() and one.nats == other.nats


def test_what_moves_all_of_a_kind_is_no_words_weight() -> None:
    """Spam that was missed, and nothing else: the other kind does not become spam by it."""
    missed = asked([f"the invoice {i} of the garden gate is here" for i in range(12)], [True] * 12)
    found = refit.fit(MANIFEST, EMPTY, missed)
    assert found.nats[SMS] > 0 == found.nats[Kind.MAIL]
    other = dataclasses.replace(asked(["the cat is in the house"], [False]), kinds=[Kind.MAIL])
    same = asked(["the cat is in the house"], [False])
    assert refit.margins(EMPTY, found, other)[0] < refit.margins(EMPTY, found, same)[0] - 1


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
    crossed = refit.crossed(MANIFEST, EMPTY, nothing, odd, fold)
    fitted = refit.margins(EMPTY, refit.fit(MANIFEST, EMPTY, odd), odd)
    assert crossed[-1] < 0 < fitted[-1]
    assert (np.sign(crossed[:20]) == np.where(odd.is_spam[:20], 1, -1)).all()


def frame(texts: list[str]) -> pd.DataFrame:
    return pd.DataFrame({"Text": texts, "Kind": "sms", "Role": "new"})


def test_the_champion_is_asked_as_it_judges(champion: Engine) -> None:
    texts = [SPAM[0].format("x"), HAM[2].format("y")]
    found = refit.ask(champion, frame(texts), np.array([True, False]))
    margins = champion.margins(texts, [SMS, SMS])
    assert [max(one) for one in found.margins] == pytest.approx(margins, abs=1e-4)
    assert refit.margins(Half.of(champion.bundle), NOTHING, found) == pytest.approx(margins, abs=1e-4)


def test_a_bundle_with_another_half_and_the_same_gpt2(champion: Engine, tmp_path: Path) -> None:
    texts = [SPAM[i % 3].format(f"no{i}") for i in range(6)]
    known = refit.ask(champion, frame(texts), np.array([True] * 6))
    before = champion.bundle.manifest.calibration[SMS]
    half = Half.of(champion.bundle)
    added = refit.fit(champion.bundle.manifest, half, known)
    made = refit.write(champion.bundle, tmp_path / "made", half, added, champion.bundle.manifest)
    assert made.manifest.parent == champion.bundle.id != made.id and made.manifest.fast_path is None
    for name in (bundle.MODEL, bundle.WEIGHTS):
        assert (made.path / name).read_bytes() == (champion.bundle.path / name).read_bytes()
    new = Engine.open(made.path)
    line = made.manifest.calibration[SMS]
    assert line.offset == pytest.approx(before.offset + before.slope * added.nats[SMS])
    wanted = refit.margins(half, added, known)
    assert np.array(new.margins(texts, [SMS] * 6)) + added.nats[SMS] == pytest.approx(
        wanted.tolist(), abs=0.1
    )  # 8 bits
    assert (wanted > [max(one) for one in known.margins]).all()


def test_a_bundle_without_a_wide_half_gets_one(champion: Engine, tmp_path: Path) -> None:
    empty = Half(np.zeros(TABLE), dict.fromkeys(Kind, 1.0), 0.0)
    added = refit.fit(MANIFEST, empty, some(12))
    entry = empty.write(added, tmp_path)
    assert 0 < entry.scale[SMS] <= np.abs(added.weights).max() / 127
    assert np.abs(np.fromfile(tmp_path / bundle.WIDE, np.int8)).max() == 127
