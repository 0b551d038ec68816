"""Low-rank updates of the attention matrices (Hu et al. 2021, LoRA, arXiv:2106.09685, sections 4.1 and 5.1).

W x becomes (W + a/r · B A) x with A [r, in] and B [out, r]; W stays, A is drawn as `nn.Linear` draws, B is
0, so training begins with the model as it was. The sum is formed where `weight` is read (PyTorch's
parametrization), so that every path of the model sees it; `merge` makes it the weight itself, and nothing
of this reaches a bundle.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from filterd_trainer.gpt2.model import SpamClassifier

RANK = 8  # the paper finds 4 to 8 enough for GPT-2 and GPT-3 (its tables 6 and 15)
ALPHA = 16.0  # the usual twice the rank
MATRICES = ("attn.c_attn", "attn.c_proj")  # queries, keys, values and the projection: section 4.2


class LowRank(nn.Module):
    """What is added to a weight [out, in]."""

    def __init__(self, weight: Tensor, rank: int, alpha: float) -> None:
        super().__init__()
        out, into = weight.shape
        self.down = nn.Parameter(torch.empty(rank, into))
        self.up = nn.Parameter(torch.zeros(out, rank))
        self.scale = alpha / rank
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))

    def forward(self, weight: Tensor) -> Tensor:
        """[out, in] -> [out, in]."""
        changed: Tensor = weight + self.scale * (self.up @ self.down)
        return changed


def attach(model: SpamClassifier, rank: int = RANK, alpha: float = ALPHA) -> None:
    """Freeze all but head and final norm, and put an update of low rank on every block's attention."""
    model.requires_grad_(requires_grad=False)
    model.head.requires_grad_()
    model.gpt.ln_f.requires_grad_()
    for linear in _linears(model):
        parametrize.register_parametrization(linear, "weight", LowRank(linear.weight, rank, alpha))


def merge(model: SpamClassifier) -> None:
    """Make the updates part of the weights; the model computes what it did."""
    for linear in _linears(model):
        if parametrize.is_parametrized(linear, "weight"):
            parametrize.remove_parametrizations(linear, "weight", leave_parametrized=True)


def _linears(model: SpamClassifier) -> list[nn.Linear]:
    found = [block.get_submodule(name) for block in model.gpt.h for name in MATRICES]
    return [linear for linear in found if isinstance(linear, nn.Linear)]
