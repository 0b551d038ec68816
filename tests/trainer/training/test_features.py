"""Frozen output is the same in any batch, in memory or in a file, and the file leaves no trace."""

from pathlib import Path

import pytest
import torch

from filterd.errors import Unwritable
from filterd.scoring.bundle import Architecture
from filterd_trainer.gpt2.model import GPT2, SpamClassifier
from filterd_trainer.training import features
from filterd_trainer.training.batches import Rows

TINY = Architecture(vocabulary=50, context=16, width=8, layers=2, heads=2)
IDS = Rows.of([[1, 2, 3], [4], [5, 6, 7, 8, 9], [10, 11]])


@pytest.fixture(autouse=True)
def _floats(monkeypatch: pytest.MonkeyPatch) -> None:
    """In bf16, as some CPUs multiply, what is computed alone and in batches differs in its third digit."""
    monkeypatch.setattr("filterd_trainer.gpt2.device.precision", lambda *_: "fp32")


@pytest.fixture
def model() -> SpamClassifier:
    torch.manual_seed(1)
    return SpamClassifier(GPT2(TINY, dropout=0.5), 2)


@pytest.mark.parametrize("memory", [0, 1 << 30], ids=["file", "memory"])
@pytest.mark.parametrize("tokens", [1, 6, 4096])
def test_each_row_is_what_the_message_gives_alone(
    model: SpamClassifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tokens: int, memory: int
) -> None:
    monkeypatch.setattr(features, "TOKENS_A_PASS", tokens)
    monkeypatch.setattr(features, "MAX_MEMORY_BYTES", memory)
    rows = features.compute(model, IDS, 1, tmp_path)
    assert rows.lengths() == IDS.lengths() and not list(tmp_path.iterdir())
    with torch.no_grad():
        for i in range(len(IDS)):
            alone = model.gpt.run(model.gpt.embed(IDS.row(i)[None]), stop=1)[0]
            torch.testing.assert_close(rows.row(i), alone, atol=1e-6, rtol=1e-5)


def test_with_all_blocks_frozen_only_the_last_position_is_kept(model: SpamClassifier, tmp_path: Path) -> None:
    rows = features.compute(model, IDS, 2, tmp_path)
    assert rows.lengths() == [1, 1, 1, 1]
    with torch.no_grad():
        padded, lengths = IDS.batch([0, 2])
        expected = model(padded, lengths)
        torch.testing.assert_close(model.suffix(*rows.batch([0, 2]), 2), expected, atol=1e-6, rtol=1e-5)


def test_no_room_is_one_line(model: SpamClassifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "MAX_MEMORY_BYTES", 0)
    with pytest.raises(Unwritable, match="--max-tokens"):
        features.compute(model, IDS, 1, tmp_path / "absent")
