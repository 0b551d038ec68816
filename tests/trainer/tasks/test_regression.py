"""A number: how people write it, what is counted, and that an answer is in its own unit."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from filterd.errors import BadInput, ConfigError
from filterd.scoring.answers import LabelFacts, RegressionReader, Target, TaskError
from filterd_trainer.tasks.regression import Regression
from filterd_trainer.tasks.task import LabelError

TARGET = Target(mean=3.0, sd=2.0, low=1.0, high=5.0)
TASK = Regression(labels=("value",), target=TARGET)


def same(name: str) -> str:
    return name


@pytest.mark.parametrize(("value", "expected"), [("4", 4.0), (" 4,5 ", 4.5), (3, 3.0), ("-1e-2", -0.01)])
def test_numbers_as_they_are_written(value: object, expected: float) -> None:
    assert float(Regression.written({"rating": value}, same)) == expected


@pytest.mark.parametrize("value", ["good", "", "nan", "inf", None])
def test_what_is_no_number(value: object) -> None:
    with pytest.raises(LabelError, match="no number"):
        Regression.written({"rating": value}, same)


@pytest.mark.parametrize("value", ["1,200", "-12,345,678", "1,200.50"])
def test_a_comma_that_may_part_thousands_is_not_guessed(value: str) -> None:
    with pytest.raises(LabelError, match="of thousands"):
        Regression.written({"price": value}, same)
    assert float(Regression.written({"price": "0,125"}, same)) == 0.125


def test_one_text_with_several_numbers_has_their_mean() -> None:
    coded = Regression.coded(["1", "5", "2"], (), print)
    assert coded.task.agreed([4.0, 5.0]) == 4.5 and len(set(coded.strata)) > 1
    with pytest.raises(ConfigError, match="--ham"):
        Regression.coded(["1"], ("1",), print)


def test_the_training_part_says_where_zero_is() -> None:
    task = Regression(labels=("value",)).fitted([1.0, 5.0, 3.0])
    assert task.target == Target(mean=3.0, sd=math.sqrt(8 / 3), low=1.0, high=5.0)
    assert task.targets([3.0]).tolist() == [0.0]
    with pytest.raises(BadInput, match="has the number 2"):
        Regression(labels=("value",)).fitted([2.0, 2.0])
    with pytest.raises(BadInput, match=r"has the number 0\.1"):  # np.std makes 1e-17 of them
        Regression(labels=("value",)).fitted([0.1] * 3)
    with pytest.raises(BadInput, match="in another unit"):
        Regression(labels=("value",)).fitted([1e308, -1e308, 1.7e308])


def test_answers_are_in_the_numbers_own_unit_and_range() -> None:
    reader = RegressionReader(LabelFacts(("value",), target=TARGET))
    assert reader.read(np.array([[0.25], [0.75]])).answer.value == 4.0
    far = reader.read(np.array([[9.0]]))
    fine = Target(mean=0.005, sd=0.003, low=0.0, high=0.01)
    small = RegressionReader(LabelFacts(("value",), target=fine)).read(np.array([[0.25]]))
    assert small.answer.text == "0.00575"
    assert Regression(labels=("value",), target=fine).truth(0.001).text == "0.00100"
    assert far.answer.text == "5.00" and far.probability == 1.0 and far.classes == {}
    with pytest.raises(TaskError):
        RegressionReader(LabelFacts(("value",)))


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=3, max_size=20))
def test_figures_are_those_of_the_book(pairs: list[tuple[int, int]]) -> None:
    from scipy.stats import pearsonr, spearmanr  # type: ignore[import-untyped]

    said, truth = ([TASK.truth(float(one)) for one in of] for of in zip(*pairs, strict=True))
    found = TASK.figures(TASK.counts(said, truth).sum(axis=0, keepdims=True))
    x, y = (np.array(of, float) for of in zip(*pairs, strict=True))
    assert float(found["mae"][0]) == pytest.approx(np.abs(x - y).mean())
    assert float(found["rmse"][0]) == pytest.approx(math.sqrt(((x - y) ** 2).mean()))
    if x.std() and y.std():
        assert float(found["pearson"][0]) == pytest.approx(pearsonr(x, y).statistic, abs=1e-9)
        assert float(found["spearman"][0]) == pytest.approx(spearmanr(x, y).statistic, abs=1e-9)
    else:
        assert np.isnan(found["pearson"][0])
