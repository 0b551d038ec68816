"""Two processes, as torchrun starts them, train what one trains."""

import json
import math
import os
import socket
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch

from filterd.scoring.bundle import Architecture
from filterd_trainer.data import corpus
from filterd_trainer.gpt2 import weights
from filterd_trainer.gpt2.model import GPT2, read_tensors
from filterd_trainer.tasks.choice import HAM_AND_SPAM
from filterd_trainer.training import recipe, runs
from filterd_trainer.training.processes import ALONE, Processes, ProcessLost

TINY = Architecture(vocabulary=50257, context=64, width=8, layers=2, heads=2)
ROOT = Path(__file__).resolve().parents[3]
SCRIPT = """  # what each of two processes does, as `trainer train` and `trainer pretrain` would

import sys
from pathlib import Path
from filterd_trainer.cli import app
from filterd_trainer.pretraining import pretrain

folder = Path(sys.argv[1])
for name in ("all", "last_block"):
    wanted = ["--data", str(folder / "data"), "--recipe", str(folder / f"{name}.yaml"), "--device", "cpu"]
    app(["train", "--out", str(folder / f"two-{name}"), *wanted], standalone_mode=False)
    assert (folder / f"two-{name}" / "model.safetensors").is_file()  # in each of them
given = {"steps": 12, "batch_tokens": 256, "lengths": [8, 32], "frequent": 64}
wanted = pretrain.settings(base=str(folder / "base"), **given)
pretrain.pretrain([folder / "text.txt"], folder / "pretrained", wanted, on="cpu")
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """With a dataset, weights, and a recipe for each way that gradients come about."""
    texts = [f"prize {i} for you, call now" if i % 3 == 0 else f"see you at {i}" for i in range(90)]
    frame = pd.DataFrame({"Label": [int(i % 3 == 0) for i in range(90)], "Text": texts, "Kind": "sms"})
    parts = {"train": frame[:55], "validation": frame[55:75], "test": frame[75:]}
    corpus.write(tmp_path / "data", parts, HAM_AND_SPAM, "grouped")
    torch.manual_seed(5)
    weights.save(GPT2(TINY), tmp_path / "base", "a test")
    for name, exit_after in (("all", 1), ("last_block", 0)):
        wanted = {
            **{"base": str(tmp_path / "base"), "strategy": name, "exit_after": exit_after, "epochs": 2},
            # 55 messages: a last batch of 3; the second of two processes then has one of them.
            **{"batch_size": 4, "at_once": 1, "learning_rate": 1e-3, "eval_freq": 5, "keep": "last"},
        }
        (tmp_path / f"{name}.yaml").write_text(json.dumps(wanted))
    (tmp_path / "text.txt").write_text(
        "<|endoftext|>\n".join(f"Parcel {i % 7} comes. " * 100 for i in range(900))
    )
    return tmp_path


def started(folder: Path) -> list[str]:
    """What the processes said; they are started with what torchrun tells its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    env = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1"}
    env |= {"MASTER_PORT": port, "WORLD_SIZE": "2"}
    running = [
        subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(folder)],
            env=env | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    said = [process.communicate(timeout=300) for process in running]
    assert [process.returncode for process in running] == [0, 0], said
    return [out for out, _ in said]


def test_two_processes_train_what_one_trains(folder: Path) -> None:
    first, second = started(folder)
    assert "before training" in first and first.count(": trained") == 2
    assert second == ""
    data = corpus.Dataset.load(folder / "data")
    for name in ("all", "last_block"):
        alone = folder / f"one-{name}"
        runs.train(data, data.folder, alone, recipe.load(str(folder / f"{name}.yaml"), at_once=0), on="cpu")
        one, two = (read_tensors(run / "model.safetensors")[0] for run in (alone, folder / f"two-{name}"))
        for of, tensor in one.items():
            torch.testing.assert_close(two[of], tensor, rtol=1e-4, atol=2e-6, msg=f"{name} {of}")
        logs = [
            [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
            for run in (alone, folder / f"two-{name}")
        ]
        assert len(logs[0]) == len(logs[1])
        for row, other in zip(*logs, strict=True):
            assert row["seen"] == other["seen"]
            assert row["validation_loss"] == pytest.approx(other["validation_loss"], rel=1e-4)
            assert row["train_accuracy"] == pytest.approx(other["train_accuracy"])
    (row,) = [json.loads(line) for line in (folder / "pretrained" / "log.jsonl").read_text().splitlines()]
    assert row["step"] == 12
    assert 12 * 200 < row["tokens"] <= 12 * 256
    assert row["validation_loss"] < math.log(TINY.vocabulary)


def test_each_process_has_its_share_and_none_is_left_out() -> None:
    batch = [3, 1, 4, 1, 5]
    shares = [Processes(rank, 2).share(batch) for rank in range(2)]
    assert shares == [([3, 4, 5], 0.6), ([1, 1], 0.4)]
    assert sum(share for _, share in (Processes(rank, 3).share([7]) for rank in range(3))) == 1
    assert Processes(2, 3).share([7]) == ([7], 0)
    assert ALONE.share(batch) == (batch, 1)


def test_sparse_gradients_are_added_where_only_dense_ones_can_be(monkeypatch: pytest.MonkeyPatch) -> None:
    def all_reduce(tensor: torch.Tensor) -> None:
        """As NCCL; the other process has the same."""
        if tensor.is_sparse:
            raise RuntimeError("NCCL does not support sparse tensors\nmore")
        tensor.mul_(2)

    monkeypatch.setattr(torch.distributed, "all_reduce", all_reduce)
    monkeypatch.setattr(torch.distributed, "get_backend", lambda: "nccl")
    table, bias = torch.nn.Parameter(torch.zeros(6, 2)), torch.nn.Parameter(torch.zeros(2))
    rows = torch.tensor([[4.0, 1.0], [0.0, 0.0], [1.0, 1.0]])
    table.grad = torch.sparse_coo_tensor(torch.tensor([[4, 2, 4]]), rows, (6, 2), check_invariants=True)
    bias.grad = torch.ones(2)
    Processes(0, 2).sum_gradients([table, bias])
    assert table.grad.indices().tolist() == [[2, 4]]  # a row of zeros moves as well
    assert table.grad.values().tolist() == [[0, 0], [10, 4]] and bias.grad.tolist() == [2, 2]
    monkeypatch.setattr(torch.distributed, "get_backend", lambda: "gloo")
    with pytest.raises(ProcessLost, match=r"--resume \(NCCL does not support sparse tensors\)$"):
        Processes(0, 2).sum_gradients([table, bias])


def test_alone_nothing_is_asked_of_others() -> None:
    assert ALONE.sums(1.5, 2) == [1.5, 2]
    assert ALONE.agreed(4.0) == 4.0
    ALONE.same_chance()
    ALONE.wait()
    with ALONE.first_alone():
        assert ALONE.first
