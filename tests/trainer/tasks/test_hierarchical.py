"""Categories with subcategories: how people write them."""

import pytest

from filterd_trainer.tasks.hierarchical import Hierarchical
from filterd_trainer.tasks.task import LabelError


def same(name: str) -> str:
    return name


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("food/fruit", "food/fruit"),
        ("food > fruit", "food/fruit"),
        ("food::fruit", "food/fruit"),
        ("food > fruit/nuts", "food/fruit/nuts"),
        ("food :: nuts > salted", "food/nuts > salted"),
        (" food ", "food"),
    ],
)
def test_one_column_in_any_form(value: str, expected: str) -> None:
    assert Hierarchical.written({"label": value}, same) == expected


def test_a_category_is_not_cut_at_its_own_mark() -> None:
    assert Hierarchical.written({"category": "food", "subcategory": None}, same) == "food"
    assert Hierarchical.written({"category": "toys", "subcategory": "R/C"}, same) == "toys/R/C"
    for values in ({"category": "R/C toys", "subcategory": "cars"}, {"label": "R/C toys > cars"}):
        with pytest.raises(LabelError, match="a / in a category"):
            Hierarchical.written(values, same)

    def rename(name: str) -> str:
        return {"R/C toys": "toys"}.get(name, name)

    assert Hierarchical.written({"category": "R/C toys", "subcategory": "cars"}, rename) == "toys/cars"
    with pytest.raises(LabelError, match="no label"):
        Hierarchical.written({"category": None, "subcategory": "cars"}, same)
