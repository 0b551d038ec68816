"""Prefix tuning (Li and Liang 2021, "Prefix-tuning: optimizing continuous prompts", arXiv:2101.00190).

Every token of a message sees, in each block, P trained keys and values before the message's own; all of the
GPT-2 stays. Trained as they are they are unstable (the paper's section 4.3), so what trains is a matrix P'
and an MLP that makes the prefix of it; afterwards the MLP goes and `Prefix` keeps what it made. It begins as
the keys and values of real words, which the paper finds best where data are few (its section 7.4): the MLP's
last layer begins as 0 and adds to them.

A message's own positions do not move, so the context stays as long as it was.
"""

import torch
from torch import Tensor, nn

from filterd_trainer.gpt2.model import GPT2, Prefix

LENGTH = 20  # positions; the paper's tables need 10 (one table's row as a sentence) to 200 (summaries)
HIDDEN = 512  # units of the MLP, the paper's
COMMON = 5_000  # the first merges of GPT-2's vocabulary are its most frequent tokens
BYTES = 256  # tokens of one byte each stand before them


class PrefixMaker(nn.Module):
    """What trains: an MLP over P' [P, C] whose output is added to the keys and values of real words.

    Drawn on the CPU, whatever the model is on: one seed is one beginning, and a run may go on elsewhere.
    """

    first: Tensor

    def __init__(self, first: Tensor) -> None:
        """first: [L, 2, P, C], where training begins."""
        super().__init__()
        layers, two, length, width = first.shape
        self.register_buffer("first", first)
        self.seeds = nn.Parameter(torch.randn(length, width))
        self.hidden, self.out = nn.Linear(width, HIDDEN), nn.Linear(HIDDEN, layers * two * width)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, _gpt: GPT2) -> Tensor:
        """[L, 2, P, C]."""
        layers, two, length, width = self.first.shape
        made = self.out(torch.tanh(self.hidden(self.seeds))).view(length, layers, two, width)
        states: Tensor = self.first + made.permute(1, 2, 0, 3)
        return states


def of_vectors(gpt: GPT2, vectors: Tensor) -> Tensor:
    """The keys and values that vectors [P, C] have in each block when they are read as a text's beginning.

    Attention is causal: what comes behind them changes none. [L, 2, P, C].
    """
    x, width, found = vectors[None], vectors.shape[1], []
    for block in gpt.h:
        states = block.attn.c_attn(block.ln_1(x))[0, :, width:]  # type: ignore[operator, union-attr]
        found.append(torch.stack(states.chunk(2, dim=-1)))  # [2, P, C]
        x = block(x)
    return torch.stack(found)


def words(gpt: GPT2, length: int) -> Tensor:
    """The vectors of so many frequent tokens, drawn from torch's generator, [length, C]."""
    most = gpt.architecture.vocabulary
    low = min(BYTES, most - 1)
    ids = torch.randint(low, min(BYTES + COMMON, most), (length,))  # on the CPU, as all that is drawn here
    return gpt.wte.weight.detach()[ids.to(gpt.wte.weight.device)] + gpt.wpe.weight.detach()[0]


def attach(gpt: GPT2, length: int) -> None:
    """Put a prefix to be trained before every message; one that is there is trained further."""
    with torch.no_grad():
        first = gpt.prefix(gpt) if gpt.prefix else of_vectors(gpt, words(gpt, length))
    gpt.prefix = PrefixMaker(first.detach()).to(first.device)


def settle(gpt: GPT2) -> None:
    """Keep the keys and values alone; the model computes what it did."""
    if gpt.prefix is not None:
        with torch.no_grad():
            gpt.prefix = Prefix(gpt.prefix(gpt).float())
