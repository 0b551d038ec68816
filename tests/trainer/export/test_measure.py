"""A bundle's figures on held-out messages, measured and written into its card."""

import json
from pathlib import Path

import msgspec
import numpy as np
import pytest
from typer.testing import CliRunner

from filterd.api import Kind, Message
from filterd.errors import BadInput
from filterd.scoring import bundle
from filterd.scoring.bundle import FastPathEntry, FastPathSide
from filterd.scoring.engine import Engine
from filterd_trainer.cli import app
from filterd_trainer.data.corpus import Dataset
from filterd_trainer.evaluation.judge import EvaluationSplit, MessageFilter, judge
from filterd_trainer.export import card, measure
from filterd_trainer.tasks.choice import HAM_AND_SPAM
from tests.trainer.samples import labelled

MESSAGES = 40


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """SMS of two sources, half of them spam, and ham mails."""
    import pandas as pd

    from filterd_trainer.data import corpus

    texts, truth = labelled(MESSAGES)
    rows = pd.DataFrame({"Label": truth, "Text": texts, "Kind": "sms", "Group": np.arange(MESSAGES)})
    rows["Source"] = np.where(np.arange(MESSAGES) % 4 < 2, "uci", "own")
    mail = pd.DataFrame({"Label": [0], "Text": ["a subject\n\nsee you"], "Kind": "mail", "Group": [99]})
    test = pd.concat([rows, mail.assign(Source="own")], ignore_index=True)
    parts = {"train": rows[:4], "validation": rows[4:8], "test": test}
    corpus.write(tmp_path / "data", parts, HAM_AND_SPAM, "grouped")
    return tmp_path / "data"


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The default bundle, to be written to."""
    bundle.install(bundle.read(bundle.DEFAULT), tmp_path / "store")
    return next((tmp_path / "store").iterdir())


def test_figures_reach_manifest_and_card(dataset: Path, copy: Path) -> None:
    before = bundle.read(copy)
    said: list[str] = []
    subject = EvaluationSplit.load(dataset, "test", MessageFilter(sources=["uci", "own"]))
    made = measure.put(copy, subject, [bundle.DEFAULT, bundle.DEFAULT], said.append)
    assert made.id != before.id
    for name in bundle.REQUIRED[:3]:
        assert made.manifest.files[name] == before.manifest.files[name]
    found = msgspec.convert(made.manifest.metrics["evaluation"], card.HeldOutResults)
    assert list(made.manifest.metrics["speed"]["by_kind"]) == ["sms"]  # all that validation holds
    assert found.data.only == "uci, own" and list(found.kinds) == [Kind.SMS]
    assert found.kinds[Kind.SMS].seeds["accuracy"].runs == 2
    assert sum(r.messages for r in found.kinds[Kind.SMS].reliability) == MESSAGES
    assert any("left out" in line for line in said)
    content = (made.path / bundle.CARD).read_text()
    assert f"### SMS: {MESSAGES} messages, {MESSAGES // 2} spam" in content
    assert "2 seeds, mean ± sd" in content and "| Recall at FPR 0.5% |" in content


def test_a_part_without_spam_is_refused_and_the_bundle_stays(dataset: Path, copy: Path) -> None:
    before = bundle.read(copy).id
    subject = EvaluationSplit.load(dataset, "test", MessageFilter(kind=Kind.MAIL))
    with pytest.raises(BadInput, match="neither kind"):
        measure.put(copy, subject)
    assert bundle.read(copy).id == before


def test_from_the_command_line(dataset: Path, copy: Path) -> None:
    chosen = ["--split", "test", "--source", "uci", "--without", str(dataset)]
    done = CliRunner().invoke(app, ["card", str(copy), "--data", str(dataset), *chosen])
    assert done.exit_code == 0, done.output
    assert bundle.read(copy).id in done.output
    evaluation = json.loads((copy / bundle.MANIFEST).read_text())["metrics"]["evaluation"]
    left = Dataset.load(dataset).split("test").query("Source == 'uci' and Kind == 'sms'")
    assert evaluation["data"]["messages"] == len(left) - 4  # rows 0, 1, 4 and 5 train
    assert evaluation["data"]["only"] == "uci; without data"


def test_an_unknown_source_is_named(dataset: Path) -> None:
    with pytest.raises(BadInput, match="'enron'; there are own, uci"):
        EvaluationSplit.load(dataset, "test", MessageFilter(sources=["enron"]))


def test_nothing_left_is_said(dataset: Path) -> None:
    with pytest.raises(BadInput, match="nothing in split test is uci; mail"):
        EvaluationSplit.load(dataset, "test", MessageFilter(sources=["uci"], kind=Kind.MAIL))


def test_a_bundle_is_judged_with_its_fast_path_and_without(dataset: Path, copy: Path) -> None:
    subject = EvaluationSplit.load(dataset, "test", MessageFilter(sources=["uci", "own"]))
    engine = Engine.open(bundle.DEFAULT)
    frame = subject.frame[["Text", "Kind"]].itertuples(index=False)
    alone = [
        engine.judge([Message(one.encode(), kind=Kind.SMS)])[0].probability
        for one, kind in frame
        if kind == Kind.SMS.value
    ]
    sms = subject.of(Kind.SMS)
    found = judge(bundle.DEFAULT, "", sms, fast_path=False).probability
    assert found == pytest.approx(alone, abs=1e-4)
    everything = FastPathEntry(ham=FastPathSide(limit=1e6, scale=1.0, offset=-3.0))
    manifest = msgspec.structs.replace(bundle.read(copy).manifest, fast_path=dict.fromkeys(Kind, everything))
    bundle.write_manifest(copy, manifest)
    assert (judge(copy, "", sms).probability != found).all()  # what is settled is estimated
    assert judge(copy, "", sms, fast_path=False).probability == pytest.approx(found, abs=1e-6)


def test_ranges_hold_every_message_once() -> None:
    p = np.array([0.0, 0.005, 0.01, 0.5, 0.95, 1.0])
    spam = np.array([False, False, True, True, True, True])
    found = measure.ranges(p, spam)
    assert [(r.low, r.messages) for r in found] == [(0.0, 2), (0.01, 1), (0.5, 1), (0.9, 1), (0.99, 1)]
    assert found[0].mean == pytest.approx(0.0025) and found[0].spam == 0.0 and found[-1].spam == 1.0
