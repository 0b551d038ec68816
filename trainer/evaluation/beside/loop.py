"""Fitting and asking a network of torch, whatever it makes its logits [n, classes] of."""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.optim import Optimizer

Logits = Callable[[Sequence[str]], Tensor]


def fit(
    logits: Logits,
    texts: Sequence[str],
    labels: Tensor,
    optimizer: Optimizer,
    *,
    epochs: int,
    batch: int,
    after: Callable[[], None] = lambda: None,
) -> None:
    """Random batches, drawn from torch's generator. labels: [n]; after: done after each step."""
    for _ in range(epochs):
        for chosen in torch.split(torch.randperm(len(texts)), batch):
            loss = cross_entropy(logits([texts[i] for i in chosen]), labels[chosen])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            after()


def log_shares(logits: Logits, texts: Sequence[str], at_once: int) -> npt.NDArray[np.float64]:
    """Logarithms of P, [n, classes], of so many texts at once."""
    with torch.inference_mode():
        found = [
            logits(texts[i : i + at_once]).log_softmax(-1).double().numpy()
            for i in range(0, len(texts), at_once)
        ]
    return np.concatenate(found)
