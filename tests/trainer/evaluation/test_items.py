"""A head whose `date` tells spam, whose `to` tells the source, and a body that tells nothing."""

import io

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from filterd_trainer.evaluation import items


def text_of(source: str, spam: bool) -> str:
    head = ["from Ann <ann@example.org>", f"to {source}", *(["date odd"] if spam else [])]
    return "`" + "\n".join(head) + "\n\nsubject\n\nbody"


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    rows = [
        (int(spam), text_of(source, spam), "mail", f"{source}{spam}{i}", source)
        for source in ("one", "some", "many")
        for spam in (False, True)
        for i in range(110)
    ]
    return pd.DataFrame(rows, columns=["Label", "Text", "Kind", "Group", "Source"])


class Frame:
    """Of a dataset what the report asks for."""

    def __init__(self, frame: pd.DataFrame) -> None:
        self.frame, self.about, self.folder = frame, {"files": ()}, "x"

    def split(self, name: str) -> pd.DataFrame:
        return self.frame if name == "train" else self.frame.iloc[:0]


def test_an_item_is_told_by_label_and_by_source(frame: pd.DataFrame) -> None:
    found = {one.name: one for one in items.run(Frame(frame), 110)}  # type: ignore[arg-type]
    assert list(found) == [items.ALL, items.NO_HEAD, "to", "date"]
    assert found["date"].auc == 1.0 and found["date"].label_bits == pytest.approx(1.0)
    assert found["date"].source_bits == pytest.approx(0.0) and found["date"].share == 0.5
    assert found["to"].auc == 0.5 and found["to"].source_bits == pytest.approx(np.log2(3))
    assert found[items.ALL].unknown > 0.99 and found["date"].unknown < 0.7
    out = io.StringIO()
    items.show(Console(file=out, width=120), list(found.values()))
    assert "(-0." in out.getvalue()


def test_a_text_without_an_item_keeps_the_rest() -> None:
    assert items.without(text_of("one", True), "date") == text_of("one", False)
    assert items.without("`to one\n\nsubject\n\nbody", "to") == "subject\n\nbody"


@pytest.mark.parametrize(
    ("head", "value"),
    [
        (["from Ann <a@example.org>"], "named"),
        (["from a@example.org"], "bare"),
        (["from nobody"], "nobody"),
    ],
)
def test_of_a_sender_only_its_form_counts(head: list[str], value: str) -> None:
    assert items.value_of(head, "from") == value
    assert items.value_of(head, "reply") == ""
    assert items.value_of([*head, "reply example.net"], "reply") == "other"
    assert items.value_of([*head, "parts pdf invoice"], "parts") == "other"
