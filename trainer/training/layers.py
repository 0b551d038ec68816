"""Layers that train at rates of their own, or only from some epoch on.

Layer-wise rates (Howard and Ruder 2018, "Universal language model fine-tuning", arXiv:1801.06146, section
3.2; ELECTRA's fine-tuning does the same): a layer's rate is the one above it times a factor, as what lies
deeper is more general. Gradual unfreezing (the same paper's section 3.3): the head and the final norm before
it train alone in the first epoch, and each epoch thaws the next layers from the top.

Layers from the bottom: 0 the embeddings, 1 … L the blocks, L + 1 the final norm, heads and what a strategy
puts before the message.
"""

import re
from collections.abc import Mapping

from torch import Tensor

_BLOCK = re.compile(r"gpt\.h\.(\d+)\.")
_EMBEDDINGS = ("gpt.wte.", "gpt.wpe.")


def depth(name: str, layers: int) -> int:
    """The layer of a classifier's parameter, from 0 to layers + 1."""
    if found := _BLOCK.match(name):
        return int(found[1]) + 1
    return 0 if name.startswith(_EMBEDDINGS) else layers + 1


def factor(name: str, layers: int, decay: float) -> float:
    """What the learning rate of a parameter is multiplied with."""
    return float(decay ** (layers + 1 - depth(name, layers)))


def thaw(trained: Mapping[str, Tensor], *, layers: int, a_epoch: int, epoch: int) -> None:
    """Let the parameters train whose turn has come, from epoch 0 on; a_epoch: layers an epoch, 0: all."""
    for name, parameter in trained.items():
        above = layers + 1 - depth(name, layers)
        parameter.requires_grad_(not a_epoch or above <= a_epoch * epoch)
