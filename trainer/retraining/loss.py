"""What keeps a model that is trained on corrections from forgetting: the loss of `trainer retrain`.

- What people corrected is learned where it counts, at the bundle's thresholds: a logistic loss on the
  calibrated log-odds less the threshold's. Cross entropy would be content with P(spam) of 0.6 while the
  filter calls spam from 0.99 on. (A constant that is added to a logit so that decisions come out right:
  Menon et al. 2021, Long-tail learning via logit adjustment, arXiv:2007.07314.) Of a spam's windows the
  most spam-like learns, as it decides.
- Distillation (Hinton et al. 2015; against forgetting Li and Hoiem 2016, Learning without forgetting): on
  everything that the old model labels rightly the new one is held to its answers, uncertainty included.
- L2-SP (Li, Grandvalet and Davoine 2018, arXiv:1802.01483): what trains is pulled to where it started, not
  to 0.

The old model is the one that training begins with, so its answers are taken from it before the first step.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812 — everybody's name for it
from torch import Tensor

from filterd.api import Kind, Label
from filterd.scoring import verdict
from filterd.scoring.bundle import Manifest
from filterd_trainer.training.batches import sorted_batches
from filterd_trainer.training.train import TrainingPlan, logits

TEMPERATURE = 2.0  # Hinton et al. and Li and Hoiem use 2; it lets small probabilities count
HOLD = 3.0  # a nat off the old margin costs this much, where the old label was right
BEYOND = 1.0  # nats past its threshold that a corrected message is to reach before it is half content
MESSAGES_A_PASS = 64


@dataclass(frozen=True)
class LossTargets:
    """What the training messages [m] are to become. old: the label that the champion gives each."""

    manifest: Manifest
    kinds: Sequence[Kind]
    is_spam: Sequence[bool]
    old: Sequence[Label]


class RetrainingLoss:
    """The loss of a batch; see `filterd_trainer.training.train.Objective`."""

    def __init__(self, plan: TrainingPlan, wanted: LossTargets, pull: float) -> None:
        self.teacher, self.pull = answers(plan), pull
        self._ham = list(wanted.manifest.ham_indices)
        owners = plan.train.owners
        lines = torch.tensor([_line(wanted, i) for i in owners])  # [n, 3]
        self._slope, self._offset, self._sign = lines.unbind(1)
        wrong = torch.tensor([_wrong(wanted, i) for i in owners])
        highest = _highest(self.margin(self.teacher), owners)
        self.learns = wrong & (highest | (self._sign < 0))
        self._trained = [p for p in plan.model.parameters() if p.requires_grad]
        self._start = [p.detach().clone() for p in self._trained]

    def __call__(self, out: Tensor, _targets: Tensor, rows: list[int]) -> Tensor:
        """Mean loss in nats: [B, classes], [B] -> []."""
        old = self.teacher[rows]
        beyond = self._sign[rows] * (self._slope[rows] * self.margin(out) + self._offset[rows])
        hard = F.softplus(BEYOND - beyond)
        soft = F.kl_div(
            F.log_softmax(out / TEMPERATURE, -1), F.log_softmax(old / TEMPERATURE, -1),
            reduction="none", log_target=True,
        ).sum(-1) * TEMPERATURE**2  # fmt: skip
        soft = soft + HOLD * F.smooth_l1_loss(self.margin(out), self.margin(old), reduction="none")
        return torch.where(self.learns[rows], hard, soft).mean() + 0.5 * self.pull * self.distance()

    def margin(self, out: Tensor) -> Tensor:
        """`filterd.scoring.verdict.margin` of outputs [n, classes] -> [n]."""
        spam = [i for i in range(out.shape[-1]) if i not in self._ham]
        return out[:, spam].logsumexp(-1) - out[:, self._ham].logsumexp(-1)

    def distance(self) -> Tensor:
        """Squared distance of what trains from where it started."""
        moved = [(p - start).square().sum() for p, start in zip(self._trained, self._start, strict=True)]
        return torch.stack(moved).sum()


def _line(wanted: LossTargets, i: int) -> tuple[float, float, float]:
    """A message's slope and offset such that 0 is the threshold that it has to pass, and on which side."""
    line = wanted.manifest.calibration[wanted.kinds[i]]
    cut = wanted.manifest.thresholds[wanted.kinds[i]]
    threshold = verdict.log_odds(cut.spam if wanted.is_spam[i] else cut.unsure)
    return line.slope, line.offset - threshold, 1.0 if wanted.is_spam[i] else -1.0


def _wrong(wanted: LossTargets, i: int) -> bool:
    return wanted.old[i] is not (Label.SPAM if wanted.is_spam[i] else Label.HAM)


def _highest(margins: Tensor, owners: Sequence[int]) -> Tensor:
    """Which row of each message has its highest margin, [n]."""
    best: dict[int, int] = {}
    for row, owner in enumerate(owners):
        if owner not in best or margins[row] > margins[best[owner]]:
            best[owner] = row
    chosen = torch.zeros(len(owners), dtype=torch.bool)
    chosen[list(best.values())] = True
    return chosen


def answers(plan: TrainingPlan) -> Tensor:
    """The model's outputs for every training row as it stands, [n, classes]."""
    found = torch.zeros(len(plan.train), plan.model.head.out_features)
    plan.model.eval()
    with torch.no_grad():
        for batch in sorted_batches(plan.train.rows.lengths(), MESSAGES_A_PASS):
            found[batch] = logits(plan, plan.train, batch).cpu()
    plan.model.train()
    return found
