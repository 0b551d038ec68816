"""The loss of a retraining, and low-rank updates: what learns, what is held, and a beginning at nothing."""

from pathlib import Path

import torch

from filterd.api import Kind, Label
from filterd.scoring.verdict import Calibration, Thresholds
from filterd_trainer.gpt2 import lora
from filterd_trainer.gpt2.model import GPT2, SpamClassifier
from filterd_trainer.retraining.loss import HOLD, LossTargets, RetrainingLoss
from filterd_trainer.training.batches import Rows
from filterd_trainer.training.recipe import Recipe
from filterd_trainer.training.train import TrainingPart, TrainingPlan
from tests.filterd import fakes
from tests.trainer import tiny

MANIFEST = fakes.manifest(
    calibration=dict.fromkeys(Kind, Calibration()),
    thresholds=dict.fromkeys(Kind, Thresholds(unsure=0.5, spam=0.9)),
)


def model() -> SpamClassifier:
    torch.manual_seed(3)
    return SpamClassifier(GPT2(tiny.TINY), 2)


def holding(
    made: SpamClassifier, wanted: LossTargets, owners: list[int], pull: float = 0.0
) -> RetrainingLoss:
    made_up, labels = tiny.texts(len(owners), 1)
    part = TrainingPart(Rows.of(tiny.encode(made_up)), torch.tensor(labels), [""] * len(owners), owners)
    return RetrainingLoss(TrainingPlan(made, part, part, Recipe(), None, Path()), wanted, pull)


def value(loss: torch.Tensor) -> float:
    return float(loss.detach())


def wanted(*of: tuple[bool, Label]) -> LossTargets:
    return LossTargets(MANIFEST, [Kind.SMS] * len(of), [spam for spam, _ in of], [old for _, old in of])


def test_what_was_right_is_held_and_costs_nothing_at_first() -> None:
    loss = holding(model(), wanted((False, Label.HAM), (True, Label.SPAM)), [0, 1])
    assert not loss.learns.any()
    assert value(loss(loss.teacher, torch.tensor([0, 1]), [0, 1])) < 1e-6
    assert value(loss(loss.teacher + torch.tensor([1.0, -1.0]), torch.tensor([0, 1]), [0, 1])) > 0.01


def test_to_be_less_sure_of_everything_costs() -> None:
    loss = holding(model(), wanted((False, Label.HAM), (True, Label.SPAM)), [0, 1])
    loss.teacher = torch.tensor([[4.0, -4.0], [-4.0, 4.0]])
    less_sure = value(loss(0.7 * loss.teacher, torch.tensor([0, 1]), [0, 1]))
    assert less_sure > HOLD * 1.5, "2.4 nats of 8; the divergence alone is below 0.1"


def test_what_was_wrong_is_content_beyond_its_threshold_only() -> None:
    loss = holding(model(), wanted((True, Label.HAM)), [0])

    def at(margin: float) -> float:
        return value(loss(torch.tensor([[0.0, margin]]), torch.tensor([1]), [0]))

    # P = 0.9 is a margin of 2.2; cross entropy would ask for hardly more than 0
    assert at(2.2) > 1.0 > at(3.5) > at(8.0) and at(8.0) < 0.01


def test_of_a_spams_windows_the_highest_learns_of_hams_all() -> None:
    spam = holding(model(), wanted((True, Label.UNSURE)), [0, 0, 0])
    margins = spam.margin(spam.teacher)
    assert spam.learns.tolist() == (margins == margins.max()).tolist()
    assert holding(model(), wanted((False, Label.SPAM)), [0, 0, 0]).learns.all()


def test_the_pull_grows_with_the_distance() -> None:
    made = model()
    loss = holding(made, wanted((False, Label.HAM)), [0], pull=2.0)
    assert value(loss.distance()) == 0.0
    with torch.no_grad():
        made.head.bias.add_(1.0)
    assert value(loss.distance()) == 2.0  # two biases
    assert abs(value(loss(loss.teacher, torch.tensor([0]), [0])) - 2.0) < 1e-5


def test_low_rank_updates_begin_at_nothing_and_merge_to_the_same() -> None:
    made = model().eval()
    made_up, _ = tiny.texts(4, 2)
    rows, lengths = Rows.of(tiny.encode(made_up)).batch([0, 1, 2, 3])
    with torch.no_grad():
        before = made(rows, lengths)
        names = set(made.state_dict())
        lora.attach(made)
        assert torch.equal(made(rows, lengths), before)
        for name, parameter in made.named_parameters():
            if name.endswith(".up"):
                parameter.add_(0.02)
        changed = made(rows, lengths)
        assert not torch.allclose(changed, before)
        lora.merge(made)
        assert torch.allclose(made(rows, lengths), changed, atol=1e-5)
    assert set(made.state_dict()) == names


def test_low_rank_trains_little() -> None:
    made = model()
    lora.attach(made)
    trained = {name for name, p in made.named_parameters() if p.requires_grad}
    assert {name.split(".")[-1] for name in trained} == {"up", "down", "weight", "bias"}
    assert all(name.startswith(("head.", "gpt.ln_f.")) or name.endswith((".up", ".down")) for name in trained)
