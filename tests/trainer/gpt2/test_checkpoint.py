"""A checkpoint is the old one or the new one, comes back bit by bit, and says what is wrong with it."""

import os
from pathlib import Path

import pytest
import torch

from filterd.errors import BadInput, NotFound, Unwritable
from filterd_trainer.gpt2 import checkpoint


def test_comes_back(tmp_path: Path) -> None:
    tensors = {"a": torch.rand(3, 4), "rng": torch.get_rng_state()}
    state = {"step": 3, "best": 0.1 + 0.2, "none": float("inf")}
    checkpoint.save(tmp_path, tensors, state)
    loaded, found = checkpoint.load(tmp_path)
    assert found == state and loaded.keys() == tensors.keys()
    assert all(torch.equal(loaded[name], tensors[name]) for name in tensors)


def test_a_failed_write_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint.save(tmp_path, {"a": torch.zeros(1)}, {"step": 1})

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(Unwritable, match="No space left"):
        checkpoint.save(tmp_path, {"a": torch.ones(1)}, {"step": 2})
    assert checkpoint.load(tmp_path)[1] == {"step": 1}
    assert [file.name for file in tmp_path.iterdir()] == [checkpoint.FILE]


def test_none_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no checkpoint to resume from"):
        checkpoint.load(tmp_path)


@pytest.mark.parametrize("size", [0, 4, 40, -1])
def test_a_damaged_one_is_refused(tmp_path: Path, size: int) -> None:
    checkpoint.save(tmp_path, {"a": torch.rand(100)}, {"step": 1})
    file = tmp_path / checkpoint.FILE
    file.write_bytes(file.read_bytes()[:size])
    with pytest.raises(BadInput, match="not a checkpoint of ours"):
        checkpoint.load(tmp_path)


def test_the_optimiser_goes_on_as_it_would_have() -> None:
    def stepped(parameter: torch.nn.Parameter, optimizer: torch.optim.Optimizer, times: int) -> None:
        for i in range(times):
            parameter.grad = torch.full_like(parameter, i + 1.0)
            optimizer.step()

    whole = torch.nn.Parameter(torch.ones(3))
    stepped(whole, of_whole := torch.optim.AdamW([whole], lr=0.1), 2)
    copy = torch.nn.Parameter(whole.detach().clone())
    of_copy = torch.optim.AdamW([copy], lr=0.1)
    saved = {name: t.clone() for name, t in checkpoint.optimizer_tensors(of_whole).items()}
    checkpoint.restore_optimizer(of_copy, saved)
    stepped(whole, of_whole, 3)
    stepped(copy, of_copy, 3)
    assert torch.equal(whole, copy)
