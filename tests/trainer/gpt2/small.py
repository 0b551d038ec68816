"""A classifier of a GPT-2 that takes milliseconds, and messages for it."""

import torch
from torch import Tensor

from filterd.scoring.bundle import Architecture
from filterd_trainer.gpt2.model import GPT2, SpamClassifier

SMALL = Architecture(vocabulary=97, context=24, width=32, layers=3, heads=4)
LENGTHS = torch.tensor([12, 1, 7, 11])
LABELS = ("ham", "spam", "smishing")


def classifier(seed: int = 0, dropout: float = 0.0) -> SpamClassifier:
    torch.manual_seed(seed)
    model = SpamClassifier(GPT2(SMALL, dropout), len(LABELS))
    # GPT-2's small initial weights would make every test pass: let attention matter.
    with torch.no_grad():
        for block in model.gpt.h:
            block.attn.c_attn.weight.mul_(20)  # type: ignore[union-attr, operator]
    return model


def messages(pad: int = 0) -> Tensor:
    ids = torch.randint(0, SMALL.vocabulary, (4, 12), generator=torch.Generator().manual_seed(1))
    return torch.where(torch.arange(12) < LENGTHS[:, None], ids, pad)
