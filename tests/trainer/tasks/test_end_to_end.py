"""Each task from a table to a verdict: prepare, train, export, evaluate, check; and no word of spam."""

import csv
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
import pytest
import torch
from rich.console import Console

from filterd import headers
from filterd.api import Kind, Label, Message, ModelAnswer, Verdict
from filterd.commands import client
from filterd.commands.input import Item
from filterd.commands.output import as_json, line
from filterd.errors import BadInput, ConfigError
from filterd.protocols.http import wire
from filterd.protocols.spamd.session import report
from filterd.scoring import bundle
from filterd.scoring.bundle import Bundle
from filterd.scoring.engine import Engine
from filterd_trainer import steps
from filterd_trainer.data import prepare, stats
from filterd_trainer.data.corpus import Dataset
from filterd_trainer.data.sources import ReadingLosses
from filterd_trainer.evaluation import judge, pages
from filterd_trainer.export import export
from filterd_trainer.export.assembly import ExportRequest
from filterd_trainer.gpt2 import weights
from filterd_trainer.gpt2.model import GPT2, SpamClassifier
from filterd_trainer.training import recipe, runs
from tests.trainer import tiny

WORDS = {
    "money": ("bank", "stock", "loan", "tax"),
    "sports": ("goal", "coach", "match", "league"),
    "weather": ("rain", "storm", "snow", "cloud"),
}
MARKS = {1: ("awful", "broken"), 3: ("usual", "plain"), 5: ("superb", "lovely")}
ROWS = 400

Draw = np.random.Generator


def filler(draw: Draw) -> str:
    """A word that no other message has, so that they are no near-duplicates."""
    return "".join(draw.choice(list("abcdefghij"), 6))


def several(draw: Draw) -> dict[str, object]:
    """A column for each label, and words of each that is there."""
    named = [name for name in WORDS if draw.random() < 0.4]
    words = [str(word) for name in named for word in draw.choice(WORDS[name], 2)]
    text = " ".join(["the", *words, "of", filler(draw)])
    return {"text": text, **{name: int(name in named) for name in WORDS}}


def rating(draw: Draw) -> dict[str, object]:
    """A number, and words that go with it."""
    value = int(draw.choice(list(MARKS)))
    words = [str(word) for word in draw.choice(MARKS[value], 2)]
    return {"rating": value, "text": " ".join(["a", *words, "thing", filler(draw)])}


def path(draw: Draw) -> dict[str, object]:
    """A category and a subcategory in two columns, and words of both."""
    category = str(draw.choice(list(WORDS)))
    sub = int(draw.integers(2))
    words = [str(word) for word in draw.choice(WORDS[category][2 * sub : 2 * sub + 2], 3)]
    return {
        "category": category,
        "subcategory": ("early", "late")[sub],
        "text": " ".join([*words, filler(draw)]),
    }


class Case(NamedTuple):
    """A task: how its table is made and named, what a message is answered, which figure it has to reach."""

    task: str
    row: Callable[[Draw], dict[str, object]]
    asked: str
    said: str
    figure: str
    least: float
    label_column: str = ""


CASES = [
    Case(
        "multilabel",
        several,
        "the bank stock rain storm of 5",
        "money, weather",
        "micro_f1",
        0.8,
        ",".join(WORDS),
    ),
    Case("hierarchical", path, "match league league", "sports/late", "accuracy", 0.8),
    Case("regression", rating, "a superb lovely thing", "5", "pearson", 0.8),
]


class Made(NamedTuple):
    """What a case's commands leave."""

    case: Case
    data: Dataset
    run: Path
    bundle: Bundle

    @property
    def verdict(self) -> Verdict:
        """Of the case's message."""
        return Engine.open(self.bundle.path).judge([Message(self.case.asked.encode(), kind=Kind.SMS)])[0]


@pytest.fixture(scope="module", params=CASES, ids=lambda case: case.task)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Made:
    case, folder = request.param, tmp_path_factory.mktemp(request.param.task)
    draw = np.random.default_rng(1)
    rows = [case.row(draw) for _ in range(ROWS)]
    with (folder / "table.csv").open("w", newline="") as stream:
        table = csv.DictWriter(stream, list(rows[0]))
        table.writeheader()
        table.writerows(rows)
    asked = prepare.PrepareRequest(
        inputs=[str(folder / "table.csv")],
        out=folder / "data",
        task=case.task,
        label_column=case.label_column,
        kind="sms",
    )
    data, _ = prepare.prepare(asked)
    torch.manual_seed(5)
    weights.save(GPT2(tiny.TINY), folder / "base", "a test")
    how = recipe.load("mini", base=str(folder / "base"), epochs=12, batch_size=16, learning_rate=5e-3)
    how = recipe.change(how, messages=0, augment=0, windows=1, eval_freq=0, precision="fp32")
    runs.train(data, data.folder, folder / "run", how, on="cpu", console=Console(quiet=True))
    asking = ExportRequest(
        run=folder / "run", data=data.folder, out=folder / "bundle", name="answers", max_flipped=0.1
    )
    return Made(case, data, folder / "run", export.export(asking))


def test_a_message_is_answered(made: Made) -> None:
    found = made.verdict
    assert made.bundle.manifest.task == made.case.task and not made.bundle.manifest.ham
    assert found.label is Label.HAM and found.points == 0.0 and found.answer
    assert found.said.startswith(made.case.said)
    card = (made.bundle.path / bundle.CARD).read_text().split("## Licences")[0]
    assert "spam" not in card.lower() and made.case.task in card
    assert ("in standard deviations" in card, "in probability" in card) == (
        made.case.task == "regression",
        made.case.task != "regression",
    )


def test_a_run_and_its_bundle_are_evaluated(
    made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    subject = judge.EvaluationSplit.load(made.data.folder, "test")
    record, scored, histories = judge.evaluate_models([made.run, made.bundle.path], subject)
    for one in record.runs:
        assert (one.classes["test"][made.case.figure] or 0) > made.case.least
    pages.show_evaluation(record)
    pages.show_misjudged(scored[0], subject.frame["Text"].tolist(), 3)
    written = pages.write_evaluation(tmp_path, record, scored, histories)
    assert len([one for one in written if one.suffix == ".png"]) == 3
    page = re.sub(r"base64,[^\"]*", "", (tmp_path / "report.html").read_text())
    assert "spam" not in (capsys.readouterr().out + page).lower()
    figures = steps.evaluate(made.run, made.data)
    assert figures[made.case.figure] == record.runs[0].classes["test"][made.case.figure]
    assert steps.classify(made.bundle.path, [made.case.asked])[0][0] == made.verdict.said


def test_every_way_out_says_the_answer(made: Made) -> None:
    found = made.verdict
    answer, item = found.answer, Item("-", Message(made.case.asked.encode(), kind=Kind.SMS))
    assert answer and line(item, found).startswith(found.said)
    said = as_json(item, found)
    assert said["task"] == made.case.task and said["label"] == found.said and "points" not in said
    assert ModelAnswer.of(json.loads(json.dumps(said))) == answer
    body = json.loads(msgspec.json.encode(wire.verdict(found, "1")))
    assert ModelAnswer.of(body) == answer and client._verdict(body).answer == answer
    assert "spam" not in report(found).replace("X-Spam", "").lower()
    name = headers.ANSWERS[made.case.task]
    tagged = headers.tag(f"{name}: forged\nSubject: x\n\nbody\n".encode(), found)
    assert tagged.startswith(f"{name}: {found.said}; ".encode())
    assert tagged.count(name.encode()) == 1 and b"X-Spam" not in tagged and b"forged" not in tagged


def test_the_data_are_counted(made: Made, capsys: pytest.CaptureFixture[str]) -> None:
    console = Console(width=200)
    prepare.show(console, made.data, ReadingLosses())
    stats.show(stats.of_dataset(made.data)["train"], console)
    told = capsys.readouterr().out
    assert "spam" not in told.lower() and f"{len(made.data.split('train')):,} rows" in told


def test_what_cannot_be_is_one_line(made: Made, tmp_path: Path) -> None:
    subject = judge.EvaluationSplit.load(made.data.folder, "test")
    with pytest.raises(ConfigError, match=f"trainer compare tells ham from spam.*{made.case.task}"):
        judge.compare_models([], subject)
    with pytest.raises(BadInput, match=f"labelled for {made.case.task}, the model is of spam"):
        judge.answers(tiny.run(tmp_path / "run", SpamClassifier(GPT2(tiny.TINY), 2)), "other", subject)
