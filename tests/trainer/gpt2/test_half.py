"""What stands in for PyTorch's operations in bf16 training computes what they compute, forward and back."""

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, scaled_dot_product_attention

from filterd.scoring.bundle import Architecture
from filterd_trainer.gpt2 import half
from filterd_trainer.gpt2.model import GPT2, SpamClassifier

SMALL = Architecture(vocabulary=97, context=24, width=32, layers=3, heads=4)


def reference(qkv: Tensor, heads: int) -> Tensor:
    b, t, c = qkv.shape
    q, k, v = (part.view(b, t, heads, -1).transpose(1, 2) for part in qkv.chunk(3, -1))
    return scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(b, t, c // 3)


@pytest.mark.parametrize("tokens", [1, 2, 7, 24])
def test_attention_and_its_gradient(tokens: int) -> None:
    torch.manual_seed(0)
    ours = torch.randn(3, tokens, 3 * 32, requires_grad=True)
    theirs = ours.detach().clone().requires_grad_()
    towards = torch.randn(3, tokens, 32)
    found, expected = half.attend(ours, 4), reference(theirs, 4)
    torch.autograd.backward([found, expected], [towards, towards])
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(ours.grad, theirs.grad, atol=1e-5, rtol=1e-5)


def test_a_step_in_bf16_goes_where_one_in_floats_does() -> None:
    def gradient(stream: torch.dtype) -> Tensor:
        torch.manual_seed(0)
        model = SpamClassifier(GPT2(SMALL), 2).train()
        model.gpt.stream = stream
        ids, lengths = torch.randint(0, 97, (8, 20)), torch.tensor([20, 3, 7, 20, 11, 1, 19, 5])
        with torch.autocast("cpu", torch.bfloat16, enabled=stream is torch.bfloat16):
            out = model(ids, lengths).float()
        cross_entropy(out, torch.arange(8) % 2).backward()  # type: ignore[no-untyped-call]
        return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])

    floats, halves = gradient(torch.float32), gradient(torch.bfloat16)
    assert torch.cosine_similarity(floats, halves, dim=0) > 0.995
