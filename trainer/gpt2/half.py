"""The blocks' two costly steps besides the matrices, for training in bf16 on a CPU.

On one core with AMX the products of a step of `filterd-mini` took a fifth of its time; random numbers of the
dropout, GELU's tangent, casts between float32 and bf16 and an attention in floats took the rest. So there the
residual stream itself is bf16 (`GPT2.stream`), and these two stand in for what PyTorch has.
"""

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import gelu as _gelu


def attend(qkv: Tensor, heads: int) -> Tensor:
    """Causal attention without dropout: [B, T, 3C] -> [B, T, C]."""
    found: Tensor = _Causal.apply(qkv, heads)  # type: ignore[no-untyped-call]
    return found


def gelu(x: Tensor) -> Tensor:
    """GELU by the error function, which costs a quarter of the tangent's approximation on a CPU.

    The two differ by at most 5e-4; bf16 has steps of 4e-3 below 1.
    """
    return _gelu(x)


class _Causal(torch.autograd.Function):
    """Softmax of masked scores as plain matrix products, the mask added within the first of them.

    PyTorch's fused kernel takes less time forward and ten times as long back (64 x 43 tokens, ms: 7 and 159,
    here 9 and 10). A softmax in bf16 takes half as long again as one in float32 with both casts.
    """

    @staticmethod
    def forward(ctx: Any, qkv: Tensor, heads: int) -> Tensor:
        """qkv [B, T, 3C] -> [B, T, C]."""
        b, t, width = qkv.shape
        c, d = width // 3, width // 3 // heads
        q, k, v = qkv.view(b, t, 3, heads, d).permute(2, 0, 3, 1, 4).reshape(3, b * heads, t, d)
        later = torch.full((t, t), -math.inf, dtype=qkv.dtype, device=qkv.device).triu(1)
        scores = torch.baddbmm(later, q, k.transpose(1, 2), alpha=d**-0.5)  # [B * H, T, T]
        weights = scores.float().softmax(-1).to(qkv.dtype)
        ctx.save_for_backward(q, k, v, weights)
        ctx.heads = heads
        return torch.bmm(weights, v).view(b, heads, t, d).transpose(1, 2).reshape(b, t, c)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, None]:
        """dy [B, T, C] -> the gradient of qkv [B, T, 3C]."""
        q, k, v, weights = ctx.saved_tensors
        (b, t, c), heads = dy.shape, ctx.heads
        d = c // heads
        dy = dy.view(b, t, heads, d).transpose(1, 2).reshape(b * heads, t, d)
        found = dy.new_empty(3, b * heads, t, d)
        torch.bmm(weights.transpose(1, 2), dy, out=found[2])
        dw = torch.bmm(dy, v.transpose(1, 2))
        ds = torch.ops.aten._softmax_backward_data(dw, weights, -1, weights.dtype)
        torch.baddbmm(found[0], ds, k, beta=0, alpha=d**-0.5, out=found[0])
        torch.baddbmm(found[1], ds.transpose(1, 2), q, beta=0, alpha=d**-0.5, out=found[1])
        return found.view(3, b, heads, t, d).permute(1, 3, 0, 2, 4).reshape(b, t, 3 * c), None
