"""AdamW (Loshchilov and Hutter 2019), fused, and of the token table only the rows that a step has seen.

A step of 64 messages holds some 1,000 of the 50,257 tokens. To move the whole table each time was a tenth of
a step, and moves words that nobody wrote. A row's moments decay by the steps since it was last seen, as dense
AdamW's would; it moves and shrinks when it is seen, and else stays what it was.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor


class AdamW(torch.optim.AdamW):
    """PyTorch's, and row by row for a parameter whose gradient is sparse (`nn.Embedding(sparse=True)`)."""

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One step with the gradients that are there; sparse ones are taken away."""
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None and p.grad.is_sparse:
                    self._move(p, self.state[p], group)
                    p.grad = None
        super().step(closure)

    def _move(self, p: Tensor, state: dict[str, Tensor], group: dict[str, Any]) -> None:
        if not state:
            state |= {"step": torch.zeros(()), "seen": torch.zeros(len(p), device=p.device)}
            state |= {name: torch.zeros_like(p) for name in ("exp_avg", "exp_avg_sq")}
        gradient = p.grad.coalesce()  # type: ignore[union-attr]
        rows, values = gradient.indices()[0], gradient.values()
        state["step"] += 1
        step = state["step"].item()
        gap = (step - state["seen"][rows])[:, None]
        state["seen"][rows] = step
        powers = values, values.square()
        means = []
        for name, beta, power in zip(("exp_avg", "exp_avg_sq"), group["betas"], powers, strict=True):
            mean = state[name][rows] * beta**gap + (1 - beta) * power
            state[name][rows] = mean
            means.append(mean / (1 - beta**step))
        shrunk = p[rows] * (1 - group["lr"] * group["weight_decay"])
        p[rows] = shrunk - group["lr"] * means[0] / (means[1].sqrt() + group["eps"])


@torch.no_grad()
def clip(parameters: Iterable[Tensor], most: float) -> None:
    """Scale all gradients so that their norm together is at most `most`; sparse ones become coalesced."""
    gradients = []
    for p in parameters:
        if p.grad is not None and p.grad.is_sparse:
            p.grad = p.grad.coalesce()
        if p.grad is not None:
            gradients.append(p.grad.values() if p.grad.is_sparse else p.grad)
    norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
    torch._foreach_mul_(gradients, torch.clamp(most / (norm + 1e-6), max=1.0))
