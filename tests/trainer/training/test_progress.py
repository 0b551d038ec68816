"""What is printed, away from a terminal: plain lines, and the lecture's own words for its recipe."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from filterd_trainer.training.progress import Display
from filterd_trainer.training.train import Fit, LogRow
from tests.trainer.training.test_train import plan, recipe

ROW = LogRow(
    step=51,
    epoch=0,
    seen=408,
    train_loss=0.6171,
    train_accuracy=0.7,
    validation_loss=0.6374,
    validation_accuracy=0.725,
    learning_rate=5e-5,
    seconds=1.0,
    epoch_end=False,
    best=True,
)


@pytest.mark.parametrize(
    ("lecture", "epoch_end", "expected"),
    [
        pytest.param(True, False, "Ep 1 (Step 000050): Train loss 0.617, Val loss 0.637\n", id="lecture"),
        pytest.param(True, True, "Training accuracy: 70.00% | Validation accuracy: 72.50%\n", id="its epoch"),
        pytest.param(
            False,
            False,
            "epoch 0, step 51: loss 0.6171, validation 0.6374; accuracy 70.00%, validation 72.50%;"
            " 0 messages/s; best so far\n",
            id="ours",
        ),
    ],
)
def test_lines(tmp_path: Path, lecture: bool, epoch_end: bool, expected: str) -> None:
    out = io.StringIO()
    with Display(
        Fit(plan(tmp_path, recipe())), lecture, Console(file=out, width=40, highlight=False)
    ) as shown:
        shown.evaluation(LogRow(**{**ROW.__dict__, "epoch_end": epoch_end}))
        shown.step(0.5)
    assert out.getvalue() == expected
