"""From the command line to the figures: a run, a bundle and the baselines on a small dataset of our own."""

import json
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
import pandas as pd
import pytest
import torch
from typer.testing import CliRunner

from filterd.api import Kind, Message
from filterd.errors import BadInput, NotFound
from filterd.scoring import bundle as bundles
from filterd.scoring import engine as engines
from filterd.scoring.bundle import Architecture
from filterd_trainer.cli import app
from filterd_trainer.data import corpus
from filterd_trainer.evaluation import judge as judging
from filterd_trainer.evaluation.judge import EvaluationSplit
from filterd_trainer.gpt2.model import GPT2, SpamClassifier, from_safetensors, to_safetensors
from filterd_trainer.tasks.choice import HAM_AND_SPAM, Spam
from filterd_trainer.training.recipe import Recipe
from filterd_trainer.training.runs import RunConfig
from tests.filterd import fakes
from tests.trainer.samples import labelled

LENGTH = 9  # tokens, of some messages not all
Way = Literal["lecture", "filterd"]
TINY = Architecture(vocabulary=50257, context=32, width=8, layers=1, heads=1)
SPAMMY = "urgent, dear winner of a prize number {}"
MAIL = "a subject\n\nsee you at the station, {}"


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """SMS of two classes and a few mails; two test texts leak."""

    def frame(texts: list[str], truth: Any, start: int) -> pd.DataFrame:
        rows = {"Label": truth, "Text": [f"{text} {start + i}" for i, text in enumerate(texts)]}
        return pd.DataFrame({**rows, "Kind": "sms", "Group": np.arange(start, start + len(texts)) // 2})

    train, validation = frame(*labelled(40), 0), frame(*labelled(20), 100)
    own = [SPAMMY.format(i) if i % 2 else f"see you at {i} then" for i in range(20)]
    test = frame(own, np.arange(20) % 2, 200)
    test.loc[:1, "Text"] = train["Text"].to_numpy()[:2]
    test.loc[18, ["Text", "Kind"]] = [MAIL.format(1), "mail"]
    parts = {"train": train, "validation": validation, "test": test}
    corpus.write(tmp_path / "data", parts, HAM_AND_SPAM, "grouped")
    return tmp_path / "data"


def run(folder: Path, way: Way = "filterd", seed: int = 0, windows: int = 1) -> Path:
    """A run folder as `trainer train` leaves it, of a random model."""
    folder.mkdir(parents=True)
    torch.manual_seed(seed)
    to_safetensors(SpamClassifier(GPT2(TINY), 2), folder / "model.safetensors", ("ham", "spam"))
    config = RunConfig(
        recipe=Recipe(way=way, windows=windows),
        seed=seed,
        data="",
        data_sha256="",
        base_sha256="",
        labels=("ham", "spam"),
        ham=("ham",),
        architecture=TINY,
        max_tokens=LENGTH,
        text_format=1,
        device="cpu",
        precision="fp32",
        threads=1,
        versions={},
    )
    (folder / "config.json").write_bytes(msgspec.json.encode(config))
    row: dict[str, float] = {"seen": 40, "epoch": 1, "epoch_end": True, "best": True, "step": 5}
    row |= {f"{part}_{what}": 0.5 for part in ("train", "validation") for what in ("loss", "accuracy")}
    (folder / "log.jsonl").write_text(json.dumps(row) + "\n")
    return folder


@pytest.fixture
def bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A bundle's folder, opened as an engine whose model counts words."""
    folder = tmp_path / "bundle"
    folder.mkdir()
    (folder / "manifest.json").write_text("{}")
    engine = fakes.engine()[0]
    engine.bundle = msgspec.structs.replace(engine.bundle, path=bundles.DEFAULT)
    monkeypatch.setattr(engines.Engine, "open", lambda path, **_: engine)
    return folder


def test_a_bundle_is_judged_by_filterds_own_engine(dataset: Path, bundle: Path) -> None:
    subject = EvaluationSplit.load(dataset, "test")
    found = judging.judge(bundle, "b", subject)
    engine = fakes.engine()[0]
    texts = [(i, t) for i, t in enumerate(subject.frame["Text"]) if i != 18]
    expected = engine.judge([Message(text.encode(), kind=Kind.SMS) for _, text in texts])
    places = [i for i, _ in texts]
    assert found.probability[places].tolist() == [v.probability for v in expected]
    assert found.verdicts is not None
    assert [found.verdicts[i] for i in places] == [v.label for v in expected]
    mail = b"Subject: a subject\n\nsee you at the station, 1\n"
    assert found.probability[18] == engine.judge([Message(mail, kind=Kind.MAIL)])[0].probability
    assert found.thresholds is None  # mail and SMS have thresholds of their own


@pytest.mark.parametrize("way", ["filterd", "lecture"])
def test_a_run_is_fed_as_its_recipe_says(dataset: Path, tmp_path: Path, way: Way) -> None:
    subject = EvaluationSplit.load(dataset, "test")
    found = judging.judge(run(tmp_path / "run", way), "r", subject)
    tokenizer = fakes.tokenizer()
    model, _ = from_safetensors(tmp_path / "run" / "model.safetensors")
    for i, text in enumerate(subject.frame["Text"]):
        ids = tokenizer.encode(text)[:LENGTH]
        ids += [50256] * (LENGTH - len(ids)) * (way == "lecture")
        with torch.inference_mode():
            logits = model(torch.tensor([ids]), torch.tensor([len(ids)]))
        assert found.classes[i] == pytest.approx(torch.softmax(logits, -1)[0].numpy(), abs=1e-5)


def test_a_long_message_goes_by_its_most_spam_like_window(dataset: Path, tmp_path: Path) -> None:
    subject = EvaluationSplit.load(dataset, "test")
    one = judging.judge(run(tmp_path / "one"), "1", subject).probability
    three = judging.judge(run(tmp_path / "three", windows=3), "3", subject).probability
    tokenizer = fakes.tokenizer()
    lengths = [len(tokenizer.encode(text)) for text in subject.frame["Text"]]
    short = np.array(lengths) <= LENGTH
    assert short.any() and not short.all()
    assert three[short] == pytest.approx(one[short])
    assert (three >= one - 1e-6).all() and (three > one + 1e-6).any()


def test_a_label_means_what_the_model_calls_so(dataset: Path) -> None:
    subject = EvaluationSplit.load(dataset, "test")
    assert subject.truth(HAM_AND_SPAM).tolist() == subject.frame["Label"].tolist()
    turned = subject.truth(Spam(labels=("spam", "scam", "ham"), ham=("ham",)))
    assert turned.tolist() == [2 if label == 0 else 0 for label in subject.frame["Label"]]
    with pytest.raises(BadInput, match="'spam' is none of the model's"):
        subject.truth(Spam(labels=("ham", "scam"), ham=("ham",)))


def test_leaks_are_counted_and_train_itself_has_none(dataset: Path) -> None:
    assert EvaluationSplit.load(dataset, "test").leaked.tolist() == [True, True] + [False] * 18
    assert EvaluationSplit.load(dataset, "train").facts().leaked == 0


def invoke(*arguments: object) -> Any:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_evaluate_writes_tables_plots_and_a_page(dataset: Path, tmp_path: Path) -> None:
    out = tmp_path / "report"
    shown = invoke("evaluate", run(tmp_path / "run"), "--data", dataset, "--out", out)
    assert shown.exit_code == 0, shown.output
    assert "Recall at FPR 0.1%" in shown.output
    assert {"metrics.json", "report.html", "loss.png", "roc.png"} <= {f.name for f in out.iterdir()}


def test_evaluate_of_several_runs_shows_their_spread(dataset: Path, tmp_path: Path) -> None:
    runs = [run(tmp_path / str(seed) / "run", seed=seed) for seed in range(2)]
    shown = invoke("evaluate", *runs, "--data", dataset, "--json")
    record = json.loads(shown.output)
    assert [r["model"] for r in record["runs"]] == [str(path) for path in runs]
    assert record["spread"]["test"]["accuracy"]["runs"] == 2


def test_evaluate_of_a_bundle_shows_its_decisions(dataset: Path, bundle: Path) -> None:
    shown = invoke("evaluate", bundle, "--data", dataset)
    assert shown.exit_code == 0, shown.output
    assert "called unsure" in shown.output


def test_compare_puts_a_model_beside_the_baselines(dataset: Path, tmp_path: Path, bundle: Path) -> None:
    out = tmp_path / "comparison"
    shown = invoke("compare", "--data", dataset, "--run", bundle, "--json", "--out", out)
    record = json.loads(shown.stdout)
    names = ["naive Bayes", "linear SVM", "character n-grams", "bundle"]
    assert [m["model"] for m in record["models"]] == names
    assert [d["other"] for d in record["disagreements"]] == names[:3]
    assert record["models"][0]["parts"]["not in training"]["messages"] == 18
    assert (out / "comparison.html").exists()
    assert invoke("compare", "--data", dataset).exit_code == 0


def test_what_is_neither_run_nor_bundle_is_refused(dataset: Path, tmp_path: Path) -> None:
    subject = EvaluationSplit.load(dataset, "test")
    with pytest.raises(NotFound, match="neither a run"):
        judging.judge(tmp_path, "x", subject)
    folder = run(tmp_path / "run")
    (folder / "config.json").write_text('{"recipe": 3}')
    with pytest.raises(BadInput, match=r"config\.json"):
        judging.judge(folder, "x", subject)
    (folder / "log.jsonl").write_text("not json\n")
    with pytest.raises(BadInput, match=r"log\.jsonl"):
        judging.read_log(folder)


def test_an_empty_split_is_refused(dataset: Path) -> None:
    (dataset / "empty.csv").write_text("Label,Text\n")
    with pytest.raises(BadInput, match="empty"):
        EvaluationSplit.load(dataset, "empty")
