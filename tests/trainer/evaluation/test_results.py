import json
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

from filterd.errors import BadInput
from filterd.scoring.verdict import Thresholds
from filterd_trainer.evaluation import pages, results
from filterd_trainer.evaluation.baselines import disagreement
from filterd_trainer.evaluation.intervals import decide
from filterd_trainer.evaluation.results import Comparison, Evaluation, MeasuredOn, assess, evaluation
from filterd_trainer.evaluation.scores import SplitScores, part
from tests.trainer.samples import scored

DATA = MeasuredOn(folder="data/own", split="test", messages=120, spam=60, leaked=20, fingerprint="ab" * 32)
LEAKED = np.arange(120) < 20
THRESHOLDS = Thresholds(unsure=0.5, spam=0.9)
LOG = [
    {
        "seen": seen,
        "epoch": seen // 100,
        "train_loss": 3 / (1 + seen / 100),
        "validation_loss": 3.1 / (1 + seen / 100),
        "train_accuracy": 1 - 0.5 / (1 + seen),
        "validation_accuracy": 0.9,
        "epoch_end": seen % 100 == 0,
        "best": seen <= 250,
    }
    for seen in range(50, 301, 50)
]


def judged(seed: int = 0) -> SplitScores:
    made = scored(seed=seed, name=f"run {seed}")
    return replace(made, verdicts=decide(made.probability, THRESHOLDS), thresholds=THRESHOLDS)


def test_parts_are_the_whole_split_and_what_did_not_leak() -> None:
    found = assess(judged(), "test", LEAKED)
    assert {name: m.messages for name, m in found.parts.items()} == {"test": 120, "not in training": 100}
    alone = assess(part(judged(), ~LEAKED), "test", np.zeros(100, dtype=bool))
    assert alone.parts["test"] == found.parts["not in training"]
    assert list(alone.parts) == ["test"]


def test_all_leaked_and_nothing_at_all() -> None:
    assert list(assess(judged(), "test", np.ones(120, dtype=bool)).parts) == ["test"]
    with pytest.raises(BadInput):
        assess(part(judged(), LEAKED & ~LEAKED), "test", np.zeros(0, dtype=bool))


def test_table_of_one_run_has_intervals_and_of_several_their_spread() -> None:
    runs = [assess(judged(seed), "test", LEAKED) for seed in range(3)]
    header, rows = results.figures_table(evaluation(DATA, runs[:1]))
    assert header == ["", "test (120)", "not in training (100)"]
    assert rows[0][0] == "Accuracy" and "[" in rows[0][1]
    _, rows = results.figures_table(evaluation(DATA, runs))
    accuracies = [run.parts["test"]["accuracy"] or 0 for run in runs]
    mean, sd = np.mean(accuracies), np.std(accuracies, ddof=1)
    assert rows[0][1] == f"{mean:.2%} ± {sd * 100:.2f} ({min(accuracies) * 100:.2f}–{max(accuracies):.2%})"
    assert len(results.runs_table(runs)[1]) == 3


def test_decisions_table_shows_counts_and_shares() -> None:
    metrics = assess(judged(), "test", LEAKED).parts["test"]
    header, rows = results.decisions_table(metrics)
    assert header == ["truth", "called ham", "called unsure", "called spam"]
    assert metrics.decisions is not None
    assert rows[1][3] == f"{metrics.decisions[1][2]} ({metrics.decisions[1][2] / 60:.1%})"


def test_several_classes_have_rows_of_their_own() -> None:
    found = assess(scored(classes=4), "test", LEAKED)
    _, rows = results.classes_table(found.classes["test"])
    assert [row[0] for row in rows] == ["ham", "spam", "fraud", "scam", "mean of classes"]
    header, rows = results.comparison_table([found], "test")
    assert {len(row) for row in rows} == {len(header)}
    assert "F1, mean of classes" in [row[0] for row in rows]


def test_notes_say_what_so_few_ham_can_show() -> None:
    said = " ".join(results.notes(assess(judged(), "test", LEAKED).parts["test"]))
    assert "60 ham: one of them is 1.67%" in said
    assert "with 95% confidence" in said


def test_history_counts_epochs_by_messages_seen() -> None:
    found = results.history(LOG)
    assert found is not None
    assert found.epochs == [0.5, 1, 1.5, 2, 2.5, 3]
    assert (found.examples_an_epoch, found.best) == (100, 2.5)
    assert results.history(LOG[:1]) is None
    assert results.history([]) is None


def test_files_of_an_evaluation(tmp_path: Path) -> None:
    models = [judged(0), judged(1)]
    record = evaluation(DATA, [assess(model, "test", LEAKED) for model in models])
    files = pages.write_evaluation(tmp_path, record, models, [results.history(LOG), None])
    names = {"loss", "accuracy", "confusion", "decisions", "roc", "reliability", "threshold", "scores"}
    assert {f.name for f in files} == {f"{n}.png" for n in names} | {"metrics.json", "report.html"}
    assert msgspec.json.decode((tmp_path / "metrics.json").read_bytes(), type=Evaluation) == record
    html = (tmp_path / "report.html").read_text()
    assert html.count("data:image/png;base64,") == len(names)
    assert "Run by run" in html and DATA.fingerprint in html


def test_page_of_four_classes_without_thresholds_or_training(tmp_path: Path) -> None:
    model = scored(classes=4)
    record = evaluation(DATA, [assess(model, "test", LEAKED)])
    files = pages.write_evaluation(tmp_path, record, [model], [None])
    assert not {"loss.png", "decisions.png"} & {f.name for f in files}
    html = (tmp_path / "report.html").read_text()
    assert "By class, test" in html
    assert "Training</h2>" not in html


def comparison(models: list[SplitScores]) -> Comparison:
    found = [assess(model, "test", LEAKED) for model in models]
    return Comparison(DATA, {"model 0": "by <hand>"}, found, [disagreement(models[1], models[0])])


def test_files_of_a_comparison(tmp_path: Path) -> None:
    models = [scored(seed=i, name=f"model {i}") for i in range(3)]
    pages.write_comparison(tmp_path, comparison(models), models)
    record = json.loads((tmp_path / "comparison.json").read_text())
    assert [m["model"] for m in record["models"]] == ["model 0", "model 1", "model 2"]
    html = (tmp_path / "comparison.html").read_text()
    assert "by &lt;hand&gt;" in html
    assert "not in training (100 messages)" in html
    assert "McNemar p" in html


def test_terminal_shows_the_same_tables_or_the_record(capsys: pytest.CaptureFixture[str]) -> None:
    model = judged()
    record = evaluation(DATA, [assess(model, "test", LEAKED)])
    pages.show_evaluation(record)
    shown = capsys.readouterr().out
    for word in ("Recall at FPR 0.1%", "called unsure", "not in training (100)", "20 of the 120 texts"):
        assert word in shown
    pages.show_evaluation(record, as_json=True)
    assert msgspec.json.decode(capsys.readouterr().out, type=Evaluation) == record


def test_terminal_shows_a_comparison(capsys: pytest.CaptureFixture[str]) -> None:
    record = comparison([scored(seed=i, name=f"[bold]{i}") for i in range(2)])
    pages.show_comparison(record, as_json=True)
    assert msgspec.json.decode(capsys.readouterr().out, type=Comparison) == record
    pages.show_comparison(record)
    assert "[bold]1" in capsys.readouterr().out
