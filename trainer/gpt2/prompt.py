"""Prompt tuning (Lester, Al-Rfou and Constant 2021, "The power of scale", arXiv:2104.08691).

P trained vectors stand before the message's tokens and go through the frozen GPT-2 as tokens do. They begin
as the vectors of frequent words (the paper's section 3.2: far better than at random in small models).

Attention is causal, so the vectors' keys and values are the same whatever message follows: they are computed
once a batch here, and once for all when training ends. Then it is a prefix as `prefix.py` has, and file and
graph know no other. A message's positions do not move; the vectors have none but their own.
"""

from torch import Tensor, nn

from filterd.errors import ConfigError
from filterd_trainer.gpt2 import prefix
from filterd_trainer.gpt2.model import GPT2

LENGTH = 20  # the paper finds little gain beyond (its figure 3a)


class Prompt(nn.Module):
    """Trained vectors, [P, C]."""

    def __init__(self, vectors: Tensor) -> None:
        super().__init__()
        self.vectors = nn.Parameter(vectors)

    def forward(self, gpt: GPT2) -> Tensor:
        """Their keys and values in each block, [L, 2, P, C]."""
        return prefix.of_vectors(gpt, self.vectors)


def attach(gpt: GPT2, length: int) -> None:
    """Put vectors to be trained before every message. Raises ConfigError where a prefix stands there."""
    if gpt.prefix is not None:
        raise ConfigError(
            "strategy prompt: the base has a prefix already, which a prompt cannot precede; take --strategy"
            " prefix to train it further, or another --base"
        )
    gpt.prefix = Prompt(prefix.words(gpt, length))
