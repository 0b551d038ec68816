"""From a dataset to a run folder: repeatable, resumable, and its data as the recipe wants them."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import torch

from filterd.errors import BadInput, ConfigError, NotFound
from filterd.scoring import bundle
from filterd.scoring.bundle import Architecture
from filterd.scoring.tokenizer import END_OF_TEXT_ID, Tokenizer
from filterd_trainer.data import corpus
from filterd_trainer.data.corpus import Dataset
from filterd_trainer.gpt2 import weights
from filterd_trainer.gpt2.model import GPT2, from_safetensors, read_tensors
from filterd_trainer.tasks.choice import HAM_AND_SPAM, Spam
from filterd_trainer.training import recipe, runs
from tests.trainer import tiny

TINY = Architecture(vocabulary=50257, context=64, width=8, layers=2, heads=2)
LABELS = ("ham", "spam")
LECTURE = Path(__file__).resolve().parents[3].parent / "shared" / "data" / "sms_uci" / "SMSSpamCollection"


def frame(count: int, start: int) -> pd.DataFrame:
    own = [
        f"prize number {start + i}, call now" if i % 3 == 0 else f"see you at {start + i}"
        for i in range(count)
    ]
    return pd.DataFrame({"Label": [int(i % 3 == 0) for i in range(count)], "Text": own, "Kind": "sms"})


@pytest.fixture
def data(tmp_path: Path) -> Dataset:
    parts = {"train": frame(60, 0), "validation": frame(20, 100), "test": frame(20, 200)}
    return corpus.write(tmp_path / "data", parts, HAM_AND_SPAM, "grouped")


@pytest.fixture
def base(tmp_path: Path) -> Path:
    torch.manual_seed(5)
    weights.save(GPT2(TINY), tmp_path / "base", "a test")
    return tmp_path / "base"


def small(base: Path, name: str = "mini", **changes: object) -> recipe.Recipe:
    given = {"epochs": 2, "batch_size": 16, "strategy": "last_block", "eval_freq": 0, "eval_iter": 0}
    given |= {"messages": 0, "augment": 0}  # what suits 40 messages
    return recipe.load(name, **{"base": str(base), **given, **changes})


def tensors(run: Path) -> dict[str, torch.Tensor]:
    return read_tensors(run / "model.safetensors")[0]


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_leaves_a_run_folder(data: Dataset, base: Path, tmp_path: Path) -> None:
    config = runs.train(data, data.folder, tmp_path / "run", small(base), on="cpu")
    model, labels = from_safetensors(tmp_path / "run" / "model.safetensors")
    assert labels == LABELS and model.gpt.architecture == TINY
    assert runs.read_config(tmp_path / "run") == config and config.ham == ("ham",)
    rows = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [(row["epoch"], row["epoch_end"]) for row in rows] == [(0, False), (1, True), (2, True)]
    names = {file.name for file in (tmp_path / "run").iterdir()}
    assert names == {"config.json", "log.jsonl", "model.safetensors", "checkpoint.safetensors"}


def test_the_same_seed_gives_the_same_weights(data: Dataset, base: Path, tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        runs.train(data, data.folder, tmp_path / name, small(base, dropout=0.1), seed=seed, on="cpu")
    a, b, c = (tensors(tmp_path / name) for name in "abc")
    assert same(a, b) and not same(a, c)


def test_training_goes_on_from_a_run(data: Dataset, base: Path, tmp_path: Path) -> None:
    runs.train(data, data.folder, tmp_path / "run", small(base), on="cpu")
    first, _ = from_safetensors(tmp_path / "run" / "model.safetensors")
    again = runs.begin(str(tmp_path / "run"), HAM_AND_SPAM, seed=9)
    assert torch.equal(again.head.weight, first.head.weight)
    other = runs.begin(str(tmp_path / "run"), Spam(labels=("ham", "scam", "spam"), ham=("ham",)), seed=9)
    assert other.head.out_features == 3 and torch.equal(other.gpt.wte.weight, first.gpt.wte.weight)


def test_half_way_needs_a_base_that_judges_already(data: Dataset, base: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no classifier of ham, spam"):
        runs.train(data, data.folder, tmp_path / "half", small(base, keep="halfway"), on="cpu")
    first = tmp_path / "run"
    runs.train(data, data.folder, first, small(base), on="cpu")
    runs.train(data, data.folder, tmp_path / "half", small(first, keep="halfway"), on="cpu")
    assert not same(tensors(first), tensors(tmp_path / "half"))


def test_all_strategies_and_ways_train(data: Dataset, base: Path, tmp_path: Path) -> None:
    for i, changes in enumerate([{"strategy": "all"}, {"strategy": "head"}, {"strategy": "last_two_blocks"}]):
        for name in ("lecture", "mini"):
            runs.train(
                data, data.folder, tmp_path / f"{i}{name}", small(base, name, epochs=1, **changes), on="cpu"
            )


@pytest.mark.parametrize("strategy", ["blocks:0", "adapters", "prefix", "prompt"])
def test_a_run_goes_on_from_what_another_strategy_left(
    strategy: str, data: Dataset, base: Path, tmp_path: Path
) -> None:
    runs.train(data, data.folder, tmp_path / "first", small(base, epochs=1, strategy=strategy), on="cpu")
    further = small(tmp_path / "first", epochs=1, strategy="head", keep="last")
    runs.train(data, data.folder, tmp_path / "second", further, on="cpu")
    first, second = tensors(tmp_path / "first"), tensors(tmp_path / "second")
    assert same(
        {n: t for n, t in first.items() if "head" not in n}, {n: second[n] for n in first if "head" not in n}
    )


def test_a_block_that_is_not_there_is_one_line(data: Dataset, base: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="the model has 2 blocks, 0 to 1"):
        runs.train(data, data.folder, tmp_path / "run", small(base, strategy="blocks:2"), on="cpu")
    told: list[str] = []
    wanted = small(base, strategy="blocks:1", epochs=1)
    runs.train(data, data.folder, tmp_path / "run", wanted, on="cpu", tell=told.append)
    assert told == [f"{tmp_path / 'run'}: trained"]  # what was refused does not stand in the way


def test_resume_refuses_what_has_changed(data: Dataset, base: Path, tmp_path: Path) -> None:
    runs.train(data, data.folder, tmp_path / "run", small(base), on="cpu")
    with pytest.raises(ConfigError, match="--resume"):
        runs.train(data, data.folder, tmp_path / "run", small(base), on="cpu")
    with pytest.raises(ConfigError, match="recipe"):
        runs.train(data, data.folder, tmp_path / "run", small(base, epochs=3), on="cpu", resume=True)
    parts = {"train": frame(61, 0), "validation": frame(20, 100), "test": frame(20, 200)}
    other = corpus.write(tmp_path / "data", parts, HAM_AND_SPAM, "grouped")
    with pytest.raises(ConfigError, match="data_sha256"):
        runs.train(other, other.folder, tmp_path / "run", small(base), on="cpu", resume=True)


@pytest.mark.parametrize("missing", ["no-such", "/dev/null"])
def test_a_base_that_is_not_there_is_one_line(data: Dataset, tmp_path: Path, missing: str) -> None:
    with pytest.raises(NotFound, match=missing):
        runs.train(data, data.folder, tmp_path / "run", small(Path(missing)), on="cpu")


def test_an_empty_split_is_refused(base: Path, tmp_path: Path) -> None:
    parts = {"train": frame(10, 0), "validation": frame(10, 0)[:0], "test": frame(10, 0)}
    empty = corpus.write(tmp_path / "data", parts, HAM_AND_SPAM, "grouped")
    with pytest.raises(BadInput, match="validation"):
        runs.train(empty, empty.folder, tmp_path / "run", small(base), on="cpu")


def test_changed_copies_train_and_each_source_has_its_group(data: Dataset, tmp_path: Path) -> None:
    tokenizer = Tokenizer.load(bundle.DEFAULT / bundle.TOKENIZER)
    plain, _ = runs.encode(data, recipe.Recipe(balance="source"), tokenizer, 64)
    more, _ = runs.encode(data, recipe.Recipe(balance="source", augment=2), tokenizer, 64)
    assert len(more["train"]) == 3 * len(plain["train"])
    assert len(more["validation"]) == len(plain["validation"])
    n = len(plain["train"])
    assert more["train"].groups[:n] == more["train"].groups[n : 2 * n] == plain["train"].groups
    changed = sum(not torch.equal(more["train"].rows.row(i), more["train"].rows.row(n + i)) for i in range(n))
    assert changed > n // 10


def test_windows_of_a_long_message_train_as_messages(tmp_path: Path) -> None:
    long = pd.DataFrame({"Label": [1], "Text": ["one two three four five six seven eight"], "Kind": "sms"})
    parts = {"train": long, "validation": frame(3, 0), "test": frame(3, 0)}
    data = corpus.write(tmp_path / "data", parts, HAM_AND_SPAM, "grouped")
    tokenizer = Tokenizer.load(bundle.DEFAULT / bundle.TOKENIZER)
    wanted = recipe.load("mini", max_tokens=3, windows=2, augment=0, balance="kind")
    part = runs.encode(data, wanted, tokenizer, 64)[0]["train"]
    assert [tokenizer.decode(part.rows.row(i).tolist()) for i in (0, 1)] == [
        "one two three",
        " six seven eight",
    ]
    assert part.targets.tolist() == [1, 1] and part.groups == ["sms 1", "sms 1"]


@pytest.mark.shared
@pytest.mark.skipif(not LECTURE.is_file(), reason="../shared/data/sms_uci is absent")
def test_the_lectures_messages_are_padded_to_120_tokens(tmp_path: Path) -> None:
    data = corpus.write(tmp_path, corpus.lecture(LECTURE), HAM_AND_SPAM, "lecture")
    tokenizer = Tokenizer.load(bundle.DEFAULT / bundle.TOKENIZER)
    parts, length = runs.encode(data, recipe.load("lecture"), tokenizer, 1024)
    assert length == 120
    assert {name: set(part.rows.lengths()) for name, part in parts.items()} == {name: {120} for name in parts}
    assert int(parts["train"].rows.row(0)[-1]) == END_OF_TEXT_ID


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_signal_does_not_show_in_the_result(
    data: Dataset, base: Path, tmp_path: Path, number: signal.Signals
) -> None:
    """The command, ended in the middle of a run and resumed, leaves the model of an undisturbed one."""
    own, whole, cut = tmp_path / "own.yaml", tmp_path / "whole", tmp_path / "cut"
    own.write_text(
        f"base: {base}\nstrategy: last_block\nepochs: 20\nbatch_size: 4\ndropout: 0.1\neval_freq: 20\n"
    )
    wanted = recipe.load(str(own))
    command = [
        sys.executable,
        "-m",
        "filterd_trainer.cli",
        "train",
        "--data",
        str(data.folder),
        "--recipe",
        str(own),
    ]
    with subprocess.Popen(
        [*command, "--out", str(cut)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    ) as process:
        deadline = time.monotonic() + 120
        while not (cut / "checkpoint.safetensors").exists() and time.monotonic() < deadline:
            time.sleep(0.005)
        process.send_signal(number)
        _, said = process.communicate(timeout=120)
    assert not (cut / "model.safetensors").exists(), "the run ended before the signal came"
    if number != signal.SIGKILL:
        assert process.returncode == 130 and b"--resume" in said and b"Traceback" not in said
    runs.train(data, data.folder, cut, wanted, resume=True)
    runs.train(data, data.folder, whole, wanted)
    assert same(tensors(whole), tensors(cut))


def test_a_run_that_has_not_ended_says_how_to_go_on(tmp_path: Path) -> None:
    run = tiny.run(tmp_path / "run")
    assert runs.weights_of(run).is_file()
    (run / "model.safetensors").unlink()
    with pytest.raises(NotFound, match=r"has not ended; resume it: trainer train --out .*run --resume"):
        runs.weights_of(run)
