"""The mean of runs: their weights', and only of runs that belong together."""

from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from filterd.errors import BadInput, ConfigError, NotFound
from filterd_trainer.cli import app
from filterd_trainer.data import corpus
from filterd_trainer.data.corpus import Dataset
from filterd_trainer.gpt2 import weights
from filterd_trainer.gpt2.model import GPT2
from filterd_trainer.tasks.choice import HAM_AND_SPAM
from filterd_trainer.training import average as averaging
from filterd_trainer.training import runs
from filterd_trainer.training.runs import read_config
from tests.trainer.training.test_runs import TINY, frame, small, tensors


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    parts = {"train": frame(60, 0), "validation": frame(20, 100), "test": frame(20, 200)}
    return corpus.write(tmp_path_factory.mktemp("data"), parts, HAM_AND_SPAM, "grouped")


@pytest.fixture(scope="module")
def some(data: Dataset, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three runs from the same classifier, by seed."""
    folder = tmp_path_factory.mktemp("runs")
    torch.manual_seed(5)
    weights.save(GPT2(TINY), folder / "base", "a test")
    runs.train(data, data.folder, folder / "first", small(folder / "base"), on="cpu")
    found = [folder / str(seed) for seed in (1, 2, 3)]
    for seed, run in enumerate(found, 1):
        recipe = small(folder / "first", dropout=0.1, learning_rate=1e-3)
        runs.train(data, data.folder, run, recipe, seed=seed, on="cpu")
    return found


def test_the_mean_is_a_run_like_its_parts(some: list[Path], tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["average", *map(str, some), "--out", str(tmp_path / "mean")])
    assert done.exit_code == 0, done.output
    assert "the mean of seeds 1, 2, 3" in done.output
    assert read_config(tmp_path / "mean").averaged == (1, 2, 3)
    parts, mean = [tensors(run) for run in some], tensors(tmp_path / "mean")
    assert not torch.equal(parts[0]["h.1.attn.c_attn.weight"], parts[1]["h.1.attn.c_attn.weight"])
    assert mean.keys() == parts[0].keys()
    for name, found in mean.items():
        torch.testing.assert_close(found, sum(part[name] for part in parts) / 3)


def test_what_does_not_belong_together_is_refused(some: list[Path], data: Dataset, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="two runs or more"):
        averaging.average(some[:1], tmp_path / "mean")
    with pytest.raises(BadInput, match=r"same seed \(1, 1\)"):
        averaging.average([some[0], some[0]], tmp_path / "mean")
    first = some[0].parent / "first"
    with pytest.raises(BadInput, match="first: another recipe than"):
        averaging.average([some[0], first], tmp_path / "mean")
    with pytest.raises(NotFound):
        averaging.average([some[0], tmp_path / "nowhere"], tmp_path / "mean")
    assert not (tmp_path / "mean").exists()
    with pytest.raises(ConfigError, match="holds a run already"):
        averaging.average(some, some[0])
