"""The whole of `trainer attack` with a model that counts words, so that every figure is known beforehand."""

import json
from pathlib import Path

import msgspec
import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from filterd.api import Kind
from filterd.scoring import bundle as bundles
from filterd.scoring import engine as engines
from filterd_trainer.cli import app
from filterd_trainer.data import corpus
from filterd_trainer.disguises.attacks import ATTACKS, SURROUNDINGS
from filterd_trainer.disguises.html_attacks import HTML_ATTACKS
from filterd_trainer.evaluation import attack as attacking
from filterd_trainer.evaluation import attack_page
from filterd_trainer.evaluation.attack import AttackRecord
from filterd_trainer.evaluation.judge import EvaluationSplit
from filterd_trainer.tasks.choice import HAM_AND_SPAM
from tests.filterd import fakes

SPAM = "you have won a prize, claim your prize number {} today"
HAM = "see you at the station at {}, I will bring the tickets"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """As much ham as spam, mail and SMS in turn."""

    def frame(count: int, start: int) -> pd.DataFrame:
        truth = np.arange(count) % 2
        kinds = np.where(np.arange(count) % 4 < 2, "mail", "sms")
        texts = [(SPAM if t else HAM).format(start + i) for i, t in enumerate(truth)]
        texts = [f"a subject\n\n{t}" if k == "mail" else t for t, k in zip(texts, kinds, strict=True)]
        return pd.DataFrame({"Label": truth, "Text": texts, "Kind": kinds, "Group": start + np.arange(count)})

    parts = {"train": frame(40, 0), "validation": frame(16, 100), "test": frame(16, 200)}
    parts["test_natural"] = frame(32, 300)
    corpus.write(tmp_path / "data", parts, HAM_AND_SPAM, "grouped")
    return tmp_path / "data"


@pytest.fixture
def bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    engine = fakes.engine()[0]
    engine.bundle = msgspec.structs.replace(engine.bundle, path=bundles.DEFAULT)
    monkeypatch.setattr(engines.Engine, "open", lambda path, **_: engine)
    return tmp_path


@pytest.fixture
def record(data: Path, bundle: Path) -> AttackRecord:
    return attacking.attack(bundle, EvaluationSplit.load(data, "test_natural"), limit=6)


def test_every_attack_is_made_on_each_kind(record: AttackRecord) -> None:
    for kind in Kind:
        names = [line.attack for line in record.lines if line.kind is kind]
        html = HTML_ATTACKS if kind is Kind.MAIL else {}
        assert names == [*ATTACKS, *SURROUNDINGS, *html]
        assert record.messages[kind] == (6, 6)
    assert all([p.strength for p in line.points] == [0, 0.1, 0.25, 0.5, 1] for line in record.lines)
    assert all(line.what.endswith((".", '").', "1.")) or line.what for line in record.lines)


def test_what_reading_undoes_costs_nothing(record: AttackRecord) -> None:
    for line in record.lines:
        first = line.points[0]
        assert (first.drop.value, first.recall.value) == (0.0, 1.0)
        if line.attack in ("invisible", "bidi", "styled", "accents", "hidden_words"):
            assert all(point.recall.value == 1.0 for point in line.points), line.attack
            assert line.fpr is not None
            assert [e.value for e in line.fpr] == [0.0, 0.0]
            assert not line.marked


def test_a_word_that_is_changed_is_lost_and_marked(record: AttackRecord) -> None:
    lines = {line.attack: line for line in record.lines if line.kind is Kind.SMS}
    strong = lines["misspelling"].points[-1]
    assert strong.recall.value == 0.0  # the fake model knows words in their own spelling only
    assert strong.drop.value == 1.0
    assert (strong.caught.value or 0.0) >= 0.0
    for line in record.lines:
        assert line.marked == ((line.moderate.drop.value or 0.0) > record.allowed)


def test_the_same_seed_gives_the_same_figures(data: Path, bundle: Path, record: AttackRecord) -> None:
    assert attacking.attack(bundle, EvaluationSplit.load(data, "test_natural"), limit=6) == record


def test_tables_and_plot(record: AttackRecord) -> None:
    tables = attack_page.tables(record)
    assert len(tables) == 4
    for header, rows in tables.values():
        assert all(len(row) == len(header) for row in rows)
    png = attack_page.plot(record, Kind.MAIL)
    assert png.startswith(b"\x89PNG")
    assert any("▼" in row for _, rows in tables.values() for row in rows) == any(
        line.marked for line in record.lines
    )
    assert "6 spam and 6 ham" in attack_page.summary(record)[0]


def test_command(data: Path, bundle: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = ["attack", str(bundle), "--data", str(data), "--out", str(out), "--messages", "4"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert "innocent_start" in result.output
    assert {f.name for f in out.iterdir()} == {
        "attack.json",
        "attack.html",
        "attack-mail.png",
        "attack-sms.png",
    }
    found = json.loads((out / "attack.json").read_text())
    assert found["moderate"] == 0.25
    assert len(found["lines"]) == 2 * len(ATTACKS) + 2 * len(SURROUNDINGS) + len(HTML_ATTACKS)
