"""Several labels at once: how people write them, what is counted, and where thresholds lie."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from filterd.errors import BadInput, ConfigError
from filterd.scoring import answers
from filterd.scoring.answers import LabelFacts, MultilabelReader, TaskError
from filterd_trainer.tasks.choice import Classes
from filterd_trainer.tasks.multilabel import Multilabel, cuts_of
from filterd_trainer.tasks.task import LabelError

TASK = Multilabel(labels=("a", "b", "c"))


def same(name: str) -> str:
    return name


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param("a|b", ["a", "b"], id="bar"),
        pytest.param("b; a ;b", ["a", "b"], id="semicolon"),
        pytest.param("a, b", ["a", "b"], id="comma"),
        pytest.param('["a", "b"]', ["a", "b"], id="json"),
        pytest.param("['a', 'b']", ["a", "b"], id="python"),
        pytest.param(["b", "a"], ["a", "b"], id="list"),
        pytest.param("", [], id="none"),
        pytest.param(None, [], id="null"),
        pytest.param("a", ["a"], id="one"),
    ],
)
def test_one_column_in_any_form(value: object, expected: list[str]) -> None:
    assert json.loads(Multilabel.written({"labels": value}, same)) == expected


def test_a_column_for_each_label() -> None:
    assert json.loads(Multilabel.written({"toxic": "1", "threat": 0, "insult": True}, str.upper)) == [
        "INSULT",
        "TOXIC",
    ]
    with pytest.raises(LabelError, match="neither yes nor no in column 'toxic'"):
        Multilabel.written({"toxic": "7", "threat": "0"}, same)
    with pytest.raises(LabelError, match="column 'toxic' says that its label is unknown"):
        Multilabel.written({"toxic": -1, "threat": 1}, same)
    with pytest.raises(LabelError, match="lists in lists"):
        Multilabel.written({"labels": "[" * 100_000 + "]" * 100_000}, same)


def test_labels_are_coded_without_case() -> None:
    coded = Multilabel.coded(['["A", "b"]', '["a"]', "[]", '["A"]'], (), print)
    assert coded.task.labels == ("A", "b") and coded.cells == ["0 1", "0", "", "0"]
    assert coded.strata == ["b", "A", "", "A"]
    assert [list(coded.task.names(cell)) for cell in coded.cells][1:3] == [["A"], ["none"]]
    with pytest.raises(BadInput, match="no message has a label"):
        Multilabel.coded(["[]"], (), print)
    with pytest.raises(ConfigError, match="--label none=NEW"):
        Multilabel.coded(['["none"]'], (), print)
    with pytest.raises(ConfigError, match="--label None=NEW"):
        Multilabel.coded(['["None"]'], (), print)


@pytest.mark.parametrize("name", ["a, b", "a;b"])
def test_a_label_that_a_header_would_part_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="--label OLD=NEW"):
        Multilabel.coded([json.dumps([name])], (), print)
    with pytest.raises(ConfigError, match="--label OLD=NEW"):
        Classes.coded([name, "c"], (), print)
    for task in ("classes", "multilabel", "hierarchical"):
        with pytest.raises(TaskError, match="no label may hold"):
            answers.reader(task, LabelFacts((name, "c")))
    with pytest.raises(TaskError, match="called none"):
        answers.reader("multilabel", LabelFacts(("None", "c")))


@given(st.text(max_size=30))
def test_any_cell_of_a_file_is_a_label_or_refused(value: str) -> None:
    try:
        cell = TASK.cell(value)
    except ValueError:
        return
    assert TASK.cell(cell) == cell and set(TASK.truth(cell).labels) <= set(TASK.labels)


def test_the_loss_is_of_each_label_by_itself() -> None:
    targets = TASK.targets(["0 2", ""])
    assert targets.tolist() == [[1, 0, 1], [0, 0, 0]]
    found = TASK.judged(torch.tensor([[9.0, -9.0, 9.0], [-9.0, 9.0, -9.0]]), targets)
    assert (found.hits, found.items) == (1, 2) and float(found.loss) == pytest.approx(9 / 6, abs=1e-3)


def test_figures_by_hand() -> None:
    truth = [TASK.truth(cell) for cell in ("0 1", "0", "", "2")]
    said = [TASK.truth(cell) for cell in ("0", "0", "1", "")]
    counts = TASK.counts(said, truth)
    found = TASK.figures(counts.sum(axis=0, keepdims=True))
    # a: 2 of 2 right; b: said once, true once, never both; c: true once
    wanted = {"micro_precision": 2 / 3, "micro_recall": 2 / 4, "micro_f1": 4 / 7, "macro_f1": 1 / 3}
    wanted |= {"exact": 1 / 4, "hamming": 3 / 12}
    assert {name: float(found[name][0]) for name in wanted} == pytest.approx(wanted)
    table = TASK.by_label(counts.sum(axis=0))
    assert table["a"] == {"precision": 1.0, "recall": 1.0, "f1": 1.0, "support": 2.0}
    assert table["c"]["precision"] is None and table["c"]["recall"] == 0.0


def test_a_cut_is_where_f1_is_highest() -> None:
    draw = np.random.default_rng(1)
    truth = (draw.random((400, 1)) < 0.2).astype(np.int64)
    p = np.clip(0.3 * truth + draw.random((400, 1)) * 0.5, 0, 1)
    (cut,) = cuts_of(p, truth)

    def f1(at: float) -> float:
        called = p[:, 0] >= at
        return float(2 * (called & (truth[:, 0] == 1)).sum() / (called.sum() + truth.sum()))

    assert f1(cut) == max(f1(at) for at in np.unique(p)) > f1(0.7)
    assert cuts_of(p, np.zeros_like(truth)) == (0.5,)


def test_the_reader_calls_from_each_cut() -> None:
    reader = MultilabelReader(LabelFacts(("a", "b"), cuts=(0.9, 0.1)))
    found = reader.read(np.array([[1.0, -1.0], [3.0, -3.0]]))  # P 0.88 and 0.12
    assert found.answer.labels == ("b",) and found.probability == pytest.approx(1 / (1 + np.exp(2)))
    assert reader.read(np.array([[-9.0, -9.0]])).answer.text == "none"
    with pytest.raises(TaskError):
        MultilabelReader(LabelFacts(("a", "b"), cuts=(0.5,)))
