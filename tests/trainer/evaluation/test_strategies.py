"""The table of strategies: rates chosen on validation, seeds beside each other, results that stay."""

from pathlib import Path

import msgspec
import pytest
import torch

from filterd.errors import ConfigError, FilterdError
from filterd_trainer.evaluation import strategies
from filterd_trainer.evaluation.strategies import StrategyRequest, StrategyRun, StrategyTask
from filterd_trainer.gpt2 import weights
from filterd_trainer.gpt2.checkpoint import write_text
from filterd_trainer.gpt2.model import GPT2
from tests.trainer import tiny


@pytest.fixture
def request_of(tmp_path: Path) -> StrategyRequest:
    tiny.dataset(tmp_path / "data")
    torch.manual_seed(1)
    weights.save(GPT2(tiny.TINY), tmp_path / "base", "a test")
    return StrategyRequest(
        data=tmp_path / "data",
        out=tmp_path / "out",
        base=str(tmp_path / "base"),
        seeds=2,
        methods=("last_block", "blocks:0"),
        rates=(1e-3, 3e-2),
        epochs=1,
    )


def result(task: StrategyTask, loss: float) -> StrategyRun:
    return StrategyRun(
        method=task.method,
        seed=task.seed,
        rate=task.recipe.learning_rate,
        validation_loss=loss,
        accuracy=0.9 if task.seed == strategies.FIRST_SEED else 0.8,
        trained=12_345,
        seconds=2.0,
        memory_bytes=300_000_000,
    )


def test_a_run_is_measured(request_of: StrategyRequest) -> None:
    request_of.out.mkdir()
    task = strategies._tasks(request_of, "last_block")[1]
    found = strategies.of_run(task)
    assert (found.method, found.seed, found.rate) == ("last_block", 123, 3e-2)
    assert 0 <= found.accuracy <= 1 and found.seconds > 0 and found.memory_bytes > 1e6
    block = 12 * 32 * 32 + 13 * 32
    assert found.trained == block + 2 * 32 + 2 * 32 + 2


def test_validation_chooses_the_rate_and_what_is_done_stays_done(
    request_of: StrategyRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[str] = []

    def train(task: StrategyTask, _report: object) -> StrategyRun:
        trained.append(f"{task.method} {task.recipe.learning_rate:g} {task.seed}")
        if len(trained) == 4:
            raise FilterdError("stopped")
        found = result(task, 1.0 if task.recipe.learning_rate < 1e-2 else 2.0)
        write_text(strategies._result(task), msgspec.json.encode(found).decode())
        return found

    monkeypatch.setattr(strategies, "_train", train)
    with pytest.raises(FilterdError, match="stopped"):
        strategies.run(request_of, print)
    runs = strategies.run(request_of, print)
    assert trained == [
        *["last_block 0.001 123", "last_block 0.03 123", "last_block 0.001 124"],
        *["blocks:0 0.001 123", "blocks:0 0.001 123", "blocks:0 0.03 123", "blocks:0 0.001 124"],
    ]
    assert strategies.count(request_of) == 6
    header, rows = strategies.table(runs)
    assert rows[0] == ["last_block", "85.00 ± 7.07", "2", "12,345", "0.001", "2.0", "300"]
    assert len(header) == len(rows[0]) and rows[1][0] == "blocks:0"


def test_a_folder_of_another_request_is_refused(request_of: StrategyRequest) -> None:
    request_of.out.mkdir()
    (request_of.out / "request.json").write_text("[]")
    with pytest.raises(ConfigError, match="begun with other data, base or recipe"):
        strategies.run(request_of, print)


@pytest.mark.parametrize("method", strategies.METHODS)
def test_every_row_has_a_recipe(method: str, request_of: StrategyRequest) -> None:
    assert [task.recipe.learning_rate for task in strategies._tasks(request_of, method)] == [1e-3, 3e-2]


def test_no_two_strategies_share_a_file(request_of: StrategyRequest) -> None:
    names = [strategies._tasks(request_of, method)[0].name for method in ("blocks:0-1", "blocks:0,1")]
    assert len(set(names)) == 2
    twice = msgspec.structs.replace(request_of, methods=("last_block", "last_block"))
    assert strategies.count(twice) == strategies.count(
        msgspec.structs.replace(request_of, methods=("last_block",))
    )
