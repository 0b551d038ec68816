"""Fitting the wide half of a bundle."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from filterd.api import Kind
from filterd.scoring.engine import ModelLook
from filterd.scoring.linear import WideHalf, read
from filterd_trainer.export import linear
from tests.trainer import tiny


def labelled(count: int, seed: int) -> linear.WindowTexts:
    made, labels = tiny.texts(count, seed)
    kinds = [Kind.SMS if i % 4 < 2 else Kind.MAIL for i in range(count)]
    groups = [f"{kind.value}/{label}" for kind, label in zip(kinds, labels, strict=True)]
    return linear.WindowTexts([[one] for one in made], kinds, np.array(labels, dtype=bool), groups)


def looks(deep: NDArray[np.float64]) -> list[ModelLook]:
    """Messages of one window each, by these margins of the GPT-2."""
    return [ModelLook.of(np.array([[0.0, nats]]), (0,)) for nats in deep]


def test_it_tells_ham_from_spam_and_weighs_itself(tmp_path: Path) -> None:
    held = labelled(80, 2)
    draw = np.random.default_rng(0)
    deep = np.where(held.is_spam, 1.0, -1.0) + draw.normal(0, 2, 80)  # a model that is often wrong
    entry = linear.write(labelled(200, 1), held, looks(deep), tmp_path)
    half = WideHalf.load(tmp_path, entry)
    assert half.margin("free prize 12 waiting, click here", Kind.SMS) > 0
    assert half.margin("the train is 5 minutes late", Kind.MAIL) < 0
    assert all(scale > 0 for scale in entry.scale.values())


def test_another_bundles_table_is_weighed_by_what_it_tells() -> None:
    held = labelled(80, 2)
    deep = np.where(held.is_spam, 1.0, -1.0) + np.random.default_rng(0).normal(0, 2, 80)
    table, _ = linear.fit(labelled(200, 1))
    tables = dict.fromkeys(Kind, table)
    entry = linear.weigh(tables, None, held, looks(deep))
    half = WideHalf(tables, entry)
    assert half.margin("free prize 12 waiting, click here", Kind.SMS) > 1
    backwards = linear.WindowTexts(held.windows, held.kinds, ~held.is_spam, held.groups)
    nothing = linear.weigh(tables, None, backwards, looks(deep))
    assert set(nothing.scale.values()) == {0.0}


def test_a_kind_of_one_class_is_weighed_with_all(tmp_path: Path) -> None:
    held = labelled(80, 2)
    ham = np.array([kind is Kind.MAIL for kind in held.kinds]) & held.is_spam
    some = np.flatnonzero(~ham).tolist()
    part = linear.WindowTexts(
        [held.windows[i] for i in some],
        [held.kinds[i] for i in some],
        held.is_spam[some],
        [held.groups[i] for i in some],
    )
    deep = np.random.default_rng(0).normal(0, 2, len(some))
    entry = linear.write(labelled(200, 1), part, looks(deep), tmp_path)
    assert entry.scale[Kind.MAIL] > 0


def test_the_same_data_gives_the_same_weights() -> None:
    one, other = (linear.fit(labelled(120, 1)) for _ in range(2))
    assert (one[0] == other[0]).all()
    assert one[1] == other[1]


def test_the_mean_lies_between_and_fills_its_bytes(tmp_path: Path) -> None:
    (one, unit), (other, _) = linear.fit(labelled(120, 1)), linear.fit(labelled(120, 2))
    table, new = linear.mean(one, other, unit)
    assert np.abs(table).max() == 127
    wanted = unit * (one.astype(float) + other) / 2
    assert np.quantile(np.abs(new * table.astype(float) - wanted), 0.99) <= 0.51 * new
    held = labelled(80, 3)
    deep = np.where(held.is_spam, 1.0, -1.0)
    entry = linear.write(labelled(120, 1), held, looks(deep), tmp_path, other)
    assert (read(tmp_path, entry)[Kind.SMS] == table).all()


@pytest.mark.parametrize(
    ("deep", "beside", "expected"),
    [
        pytest.param([-4.0, 4.0] * 20, [0.0, 0.0] * 20, 0.0, id="knows nothing"),
        pytest.param([0.1, -0.1] * 20, [-4.0, 4.0] * 20, linear.MAX_RATIO, id="knows all"),
    ],
)
def test_ratio(deep: list[float], beside: list[float], expected: float) -> None:
    truth = np.array([False, True] * 20)
    assert linear.ratio(np.array(deep), np.array(beside), truth) == pytest.approx(expected)


def test_one_class_alone_gives_no_ratio() -> None:
    assert linear.ratio(np.ones(3), np.ones(3), np.ones(3, dtype=bool)) == 0.0
