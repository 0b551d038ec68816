"""Classes of which none is ham: from a table to a bundle that names them, and no word of spam on the way."""

import json
import re
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pandas as pd
import pytest
import torch
from torch.nn.functional import cross_entropy

from filterd.api import Kind, Label, Message
from filterd.commands.input import Item
from filterd.commands.output import as_json, line
from filterd.errors import ConfigError
from filterd.headers import tag
from filterd.protocols.http import wire
from filterd.reasons.occlusion import explain
from filterd.scoring import bundle
from filterd.scoring.answers import softmax
from filterd.scoring.bundle import Bundle
from filterd.scoring.engine import Engine
from filterd_trainer.data import corpus
from filterd_trainer.evaluation import judge, pages
from filterd_trainer.evaluation.scores import SplitScores
from filterd_trainer.export import export
from filterd_trainer.export.assembly import ExportRequest
from filterd_trainer.gpt2.model import GPT2, SpamClassifier, from_safetensors
from filterd_trainer.tasks.choice import Classes, fit_slope
from filterd_trainer.training.batches import Rows
from tests.trainer import tiny

LABELS = ("money", "politics", "sports")
WORDS = {
    "money": ("bank", "stock", "loan", "tax"),
    "politics": ("vote", "senate", "law", "party"),
    "sports": ("goal", "coach", "match", "league"),
}
ASKED = Message(b"the coach of the league and his match and a goal", kind=Kind.SMS)


def texts(count: int, seed: int) -> tuple[list[str], list[int]]:
    """Made-up messages, and their classes in turn."""
    draw = np.random.default_rng(seed)
    labels = [i % len(LABELS) for i in range(count)]
    return [
        " ".join(["the", *draw.choice(WORDS[LABELS[i]], 4), str(draw.integers(999))]) for i in labels
    ], labels


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset and a run of three classes."""
    folder = tmp_path_factory.mktemp("classes")
    splits = {}
    for seed, (name, count) in enumerate({"train": 120, "validation": 90, "test": 60}.items()):
        made, labels = texts(count, seed)
        splits[name] = pd.DataFrame({"Label": labels, "Text": made, "Kind": "sms", "Group": range(count)})
    corpus.write(folder / "data", splits, Classes(labels=LABELS), "grouped", {})
    torch.manual_seed(1)
    model = SpamClassifier(GPT2(tiny.TINY), len(LABELS)).train()
    made, labels = texts(60 * 15, 9)
    rows, targets = Rows.of(tiny.encode(made)), torch.tensor(labels)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for first in range(0, len(made), 15):
        batch = list(range(first, first + 15))
        ids, lengths = rows.batch(batch)
        loss = cross_entropy(model(ids.long(), lengths), targets[batch])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    tiny.run(folder / "run", model.eval(), labels=LABELS, ham=())
    return folder


@pytest.fixture(scope="module")
def made(place: Path) -> Bundle:
    return export.export(
        ExportRequest(run=place / "run", data=place / "data", out=place / "bundle", max_flipped=0.1)
    )


def test_the_bundle_names_the_class(made: Bundle) -> None:
    manifest = made.manifest
    assert manifest.task == "classes" and not manifest.ham and not manifest.wide and not manifest.fast_path
    found = Engine.open(made.path, fast_path=True).judge([ASKED])[0]
    assert found.said == "sports" and found.label is Label.HAM and found.points == 0.0
    assert found.probability == max(found.classes.values()) and abs(sum(found.classes.values()) - 1) < 1e-9
    assert "spam" not in (made.path / bundle.CARD).read_text().split("## Licences")[0].lower()


def test_it_answers_as_what_was_trained(place: Path, made: Bundle) -> None:
    model = from_safetensors(place / "run" / "model.safetensors")[0]
    some, _ = texts(30, 5)
    rows, lengths = Rows.of(tiny.encode(some)).batch(list(range(30)))
    with torch.inference_mode():
        logits = model(rows.long(), lengths).double().numpy()
    assert made.manifest.reader
    wanted = made.manifest.reader.shares(logits)
    judged = Engine.open(made.path).judge([Message(one.encode(), kind=Kind.SMS) for one in some])
    got = [[one.classes[name] for name in LABELS] for one in judged]
    assert np.abs(wanted - np.array(got)).max() < 0.1  # 8 bits
    assert (wanted.argmax(axis=1) == np.array(got).argmax(axis=1)).mean() > 0.9


def test_every_way_out_says_the_class_and_nothing_of_spam(made: Bundle) -> None:
    found = Engine.open(made.path).judge([ASKED])[0]
    item = Item("-", ASKED)
    assert line(item, found).startswith("sports  ")
    assert as_json(item, found)["label"] == "sports" and "points" not in as_json(item, found)
    said = json.loads(msgspec.json.encode(wire.verdict(found, "1")))
    assert said["label"] == "sports" and "points" not in said
    tagged = tag(b"X-Filterd-Class: forged\nSubject: x\n\nbody\n", found)
    assert tagged.startswith(b"X-Filterd-Class: sports; probability=")
    assert tagged.count(b"X-Filterd-Class") == 1 and b"X-Spam" not in tagged
    with pytest.raises(ConfigError, match="knows no spam"):
        explain(Engine.open(made.path), ASKED)


@pytest.mark.parametrize("which", ["run", "bundle"])
def test_evaluation_has_the_classes_figures(
    place: Path, made: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str], which: str
) -> None:
    subject = judge.EvaluationSplit.load(place / "data", "test")
    record, scored, histories = judge.evaluate_models([place / which], subject)
    (result,) = record.runs
    figures = result.classes["test"]
    assert not result.parts and record.data.spam is None
    assert isinstance(scored[0], SplitScores)
    right = (scored[0].called == scored[0].truth).mean()
    assert figures["accuracy"] == figures["micro_f1"] == pytest.approx(right)
    pages.show_evaluation(record)
    pages.show_misjudged(scored[0], subject.frame["Text"].tolist(), 3)
    written = pages.write_evaluation(tmp_path, record, scored, histories)
    assert {path.name for path in written} == {"confusion.png", "metrics.json", "report.html"}
    told = capsys.readouterr().out + re.sub(r"base64,[^\"]*", "", (tmp_path / "report.html").read_text())
    assert "politics" in told and "spam" not in told.lower()


def test_what_needs_spam_is_one_line(place: Path) -> None:
    subject = judge.EvaluationSplit.load(place / "data", "test")
    with pytest.raises(ConfigError, match="trainer compare tells ham from spam"):
        judge.compare_models([], subject)
    asked = ExportRequest(run=place / "run", data=place / "data", out=place / "x")
    for option in (replace(asked, calibrate_on="test"), replace(asked, wide_of=bundle.DEFAULT)):
        with pytest.raises(ConfigError, match="knows no ham"):
            export.export(option)


def test_the_temperature_is_found() -> None:
    draw = np.random.default_rng(1)
    logits = draw.normal(size=(4000, 3))
    truth = [int(draw.choice(3, p=row)) for row in softmax(2.5 * logits)]
    assert fit_slope(lambda slope: softmax(slope * logits), truth) == pytest.approx(2.5, rel=0.1)


def test_labels_of_a_table_without_ham() -> None:
    assert Classes.coded(["b", "a", "b"], (), print).task.labels == ("a", "b")
    with pytest.raises(ConfigError, match="--ham is for --task spam"):
        Classes.coded(["b", "a"], ("a",), print)
    with pytest.raises(ConfigError, match="another class"):
        Classes.coded(["a", "a"], (), print)
