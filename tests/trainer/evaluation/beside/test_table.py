"""The table: every row by its own file, ours among them, and the same command goes on."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import f1_score
from typer.testing import CliRunner

from filterd.errors import ConfigError, Unwritable
from filterd_trainer.cli import app
from filterd_trainer.evaluation.beside import table
from filterd_trainer.evaluation.beside.table import BesideRequest, RowResult
from filterd_trainer.gpt2.checkpoint import write_tensors
from filterd_trainer.gpt2.model import read_tensors
from filterd_trainer.tasks.regression import Regression
from tests.trainer import tiny

NAMES = ["naive Bayes", "linear SVM", "character n-grams", "word2vec", "CNN", "LSTM"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("beside")
    tiny.dataset(folder / "data")
    tiny.run(folder / "ours")
    return folder


def test_ours_and_others_in_one_table(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table, "TIMED", 5)
    asked = [
        "beside",
        "--data",
        str(place / "data"),
        "--out",
        str(place / "out"),
        "--run",
        str(place / "ours"),
    ]
    asked += ["--only", "ours", "--only", "CNN", "--only", "linear SVM"]
    done = CliRunner().invoke(app, asked, env={"COLUMNS": "200"})
    assert done.exit_code == 0, done.output
    assert all(name in done.output for name in ("linear SVM", "CNN", "ours", "macro F1"))
    monkeypatch.setattr(table, "_make", None)  # nothing is made again
    assert CliRunner().invoke(app, asked).exit_code == 0
    made = BesideRequest(data=place / "data", out=place / "out", only=["CNN", "linear SVM"])
    rows = table.run(made, print)
    assert [one.name for one in rows] == ["linear SVM", "CNN"]
    assert all(one.accuracy > 0.8 and one.macro_f1 > 0.8 and one.median_ms > 0 for one in rows)
    assert all(one.bytes > 100 and one.fit_seconds is not None for one in rows)


def test_every_row_has_a_name(place: Path) -> None:
    request = BesideRequest(
        data=place / "data", out=place, models=[place / "ours"], encoders=[place / "bert"]
    )
    names = [row.name for row in table.makers(request)]
    assert names == [*NAMES, "bert, frozen", "bert, fine-tuned", "ours"]


def test_a_row_that_was_stopped_is_made_the_next_time(place: Path, tmp_path: Path) -> None:
    request = BesideRequest(data=place / "data", out=tmp_path, only=["naive Bayes", "linear SVM"])
    said: list[str] = []

    def stop(line: str) -> None:
        said.append(line)
        if line.startswith("linear"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        table.run(request, stop)
    assert len(table.run(request, said.append)) == 2
    assert [line.split(":")[0] for line in said] == ["naive Bayes", "linear SVM", "linear SVM"]


def test_a_wrong_request_is_one_line(place: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such row; there are naive Bayes"):
        table.run(BesideRequest(data=place / "data", out=tmp_path, only=["transformer"]), print)
    (tmp_path / "data.txt").write_text("another")
    with pytest.raises(ConfigError, match="begun with other data"):
        table.run(BesideRequest(data=place / "data", out=tmp_path, only=["CNN"]), print)


def test_macro_f1_is_scikit_learns() -> None:
    draw = np.random.default_rng(0)
    for classes in (2, 3, 5):
        called, truth = draw.integers(0, classes, (2, 60))
        expected = f1_score(truth, called, average="macro")
        assert table.macro_f1(called.tolist(), truth.tolist(), classes) == pytest.approx(expected)
    assert table.macro_f1([0, 0], [0, 0], 3) == 1.0


def test_what_a_classifier_holds_is_counted_once() -> None:
    class Holder:
        def __init__(self) -> None:
            self.numbers = np.zeros(10)
            self.again: Any = [self.numbers, self]
            self.words = {"abc": 1}

    names = len("numbers") + len("again") + len("words")
    assert table.held(Holder()) == 80 + 3 + 8 + names


def test_the_most_accurate_row_is_first_and_unknown_figures_are_dashes() -> None:
    def row(name: str, accuracy: float) -> RowResult:
        return RowResult(
            name=name,
            setting="",
            accuracy=accuracy,
            macro_f1=0.5,
            fit_seconds=None,
            bytes=1_500_000,
            median_ms=1.25,
            joules=None,
        )

    _, lines = table.table([row("worse", 0.5), row("better", 0.75)])
    assert lines[0] == ["better", "75.00%", "50.00%", "–", "1.5", "1.25", "–"] and lines[1][0] == "worse"


def test_another_model_at_the_same_place_has_a_row_of_its_own(place: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(place / "ours", run)
    request = BesideRequest(data=place / "data", out=tmp_path / "out", models=[run], only=["run"])
    (before,) = table.makers(request)
    tensors, header = read_tensors(run / "model.safetensors")
    write_tensors(run / "model.safetensors", {name: -one for name, one in tensors.items()}, header)
    (after,) = table.makers(request)
    assert before.setting != after.setting


def test_numbers_and_several_labels_are_refused(place: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="trainer beside needs one label a message"):
        Regression(labels=("value",)).only_exclusive("trainer beside")
    (tmp_path / "file").touch()
    with pytest.raises(Unwritable, match="choose another --out"):
        table.run(BesideRequest(data=place / "data", out=tmp_path / "file", only=["CNN"]), print)
