"""Adapters (Houlsby et al. 2019, "Parameter-efficient transfer learning for NLP", arXiv:1902.00751).

Behind the attention's projection and behind the MLP of every block, before each goes back into the residual
stream, stands a small network with a bottleneck: x + U gelu(D x + d) + u. U begins as 0, so training begins
with the model as it was. As in the paper (section 2.1) adapters, LayerNorms and the head train, and nothing
else does. What stands behind a nonlinearity cannot be merged into a matrix: the file and the graph carry it.
"""

from torch import Tensor, nn
from torch.nn.functional import gelu

SIZE = 32  # units; the paper's best for small tasks is 8 to 64 of 1,024 channels (its figure 3, section 3.6)
INITIAL_STD = 1e-2  # the paper's, section 3.6


class Adapter(nn.Module):
    """One bottleneck, [..., C] -> [..., C]."""

    def __init__(self, width: int, size: int) -> None:
        super().__init__()
        self.down, self.up = nn.Linear(width, size), nn.Linear(size, width)
        nn.init.normal_(self.down.weight, std=INITIAL_STD)
        nn.init.zeros_(self.down.bias)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, x: Tensor) -> Tensor:
        """[..., C] -> [..., C]."""
        out: Tensor = x + self.up(gelu(self.down(x), approximate="tanh"))
        return out
