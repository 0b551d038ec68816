"""The lecture's steps in Python, in its order, with a model small enough for a test."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

import filterd_trainer as trainer
from filterd.scoring import bundle
from filterd_trainer.data import corpus
from filterd_trainer.gpt2 import weights
from filterd_trainer.gpt2.model import GPT2
from filterd_trainer.tasks.multilabel import Multilabel
from tests.conftest import SHARED
from tests.trainer import tiny


def test_names_are_exported() -> None:
    wanted = {"load", "split", "loaders", "model", "train", "evaluate", "classify", "to_bundle"}
    assert wanted <= set(trainer.__all__)
    for name in trainer.__all__:
        assert getattr(trainer, name).__doc__


def test_importing_the_trainer_imports_no_torch() -> None:
    code = "import sys, filterd_trainer; print('torch' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "False\n"


@pytest.mark.shared
def test_the_lectures_numbers(tmp_path: Path) -> None:
    frame = trainer.load(SHARED / "sms_uci")
    assert len(frame) == 5572
    assert trainer.balance(frame)["Label"].value_counts().to_dict() == {"ham": 747, "spam": 747}
    batches = trainer.loaders(trainer.split(frame, tmp_path / "data"))
    assert [len(batches[name]) for name in ("train", "validation", "test")] == [130, 19, 38]
    ids, targets = next(iter(batches["train"]))
    assert (ids.shape, targets.shape) == ((8, 120), (8,))
    assert ids.dtype == targets.dtype == torch.int64
    assert sum(len(targets) for _, targets in batches["test"]) == 300


def test_batches_of_several_labels(tmp_path: Path) -> None:
    part = pd.DataFrame({"Label": ["0 1", ""], "Text": ["a b", "c"], "Kind": "sms", "Group": [0, 1]})
    names = ("train", "validation", "test")
    data = corpus.write(tmp_path, dict.fromkeys(names, part), Multilabel(labels=("x", "y")), "grouped", {})
    assert next(iter(trainer.loaders(data, 2)["test"]))[1].tolist() == [[1, 1], [0, 0]]


def test_from_messages_to_a_bundle(tmp_path: Path) -> None:
    base = tmp_path / "base"
    torch.manual_seed(1)
    weights.save(GPT2(tiny.TINY), base, "a test")
    made, labels = tiny.texts(200, 0)
    frame = pd.DataFrame({"Label": [("ham", "spam")[i] for i in labels], "Text": made})
    data = trainer.split(frame, tmp_path / "data")
    classifier = trainer.model(str(base), trains="last_block")
    assert classifier.head.out_features == 2
    trained = {name.split(".")[0] for name, p in classifier.named_parameters() if p.requires_grad}
    assert trained == {"gpt", "head"}
    changes: dict[str, Any] = {"base": str(base), "epochs": 4, "learning_rate": 5e-3, "strategy": "all"}
    run = trainer.train(data, tmp_path / "run", recipe="sms", augment=0, **changes)
    found = trainer.evaluate(run, data)
    assert found["accuracy"] > 0.9
    assert sum(map(sum, found["confusion"])) == len(data.split("test"))
    assert len(found["misjudged"]) == found["confusion"][0][1] + found["confusion"][1][0]
    made_bundle = trainer.to_bundle(run, data, tmp_path / "bundle", wide=False, fast_path=False)
    assert (made_bundle / bundle.MANIFEST).is_file()
    for of in (run, made_bundle):
        said = trainer.classify(of, ["win 77 pounds, call now", "see you at 7 then"])
        assert [label for label, _ in said] == ["spam", "ham"]
        assert all(0 <= p <= 1 for _, p in said)
