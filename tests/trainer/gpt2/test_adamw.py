"""Row by row it is AdamW where every row is seen, and leaves alone what nobody wrote."""

import torch
from torch import Tensor, nn

from filterd_trainer.gpt2.adamw import AdamW, clip

ROWS, WIDTH = 9, 4


def trained(*, sparse: bool, batches: list[list[int]], optimizer: type[torch.optim.AdamW]) -> Tensor:
    torch.manual_seed(0)
    table = nn.Embedding(ROWS, WIDTH, sparse=sparse)
    made = optimizer(table.parameters(), lr=0.1, weight_decay=0.1)
    for ids in batches:
        made.zero_grad()
        table(torch.tensor(ids)).square().sum().backward()
        made.step()
    return table.weight.detach()


def test_where_every_row_is_seen_it_is_adamw() -> None:
    batches = [[*range(ROWS), 2, 2, 5]] * 4
    torch.testing.assert_close(
        trained(sparse=True, batches=batches, optimizer=AdamW),
        trained(sparse=False, batches=batches, optimizer=torch.optim.AdamW),
    )


def test_rows_that_are_not_seen_stay() -> None:
    before = trained(sparse=True, batches=[], optimizer=AdamW)
    after = trained(sparse=True, batches=[[1, 1], [3]], optimizer=AdamW)
    moved = (before != after).any(1)
    assert moved.tolist() == [i in (1, 3) for i in range(ROWS)]


def test_moments_decay_while_a_row_is_away() -> None:
    table = nn.Embedding(ROWS, WIDTH, sparse=True)
    made = AdamW(table.parameters(), lr=0.0, betas=(0.5, 0.9))
    for ids in ([1], [2], [2], [1]):
        made.zero_grad()
        table(torch.tensor(ids)).sum().backward()
        made.step()
    means = made.state[table.weight]["exp_avg"]
    torch.testing.assert_close(means[1], torch.full((WIDTH,), 0.5 * 0.5**3 + 0.5))
    assert means[0].abs().sum() == 0


def test_the_norm_of_all_gradients_together_is_cut() -> None:
    def gradients(*, sparse: bool) -> list[Tensor]:
        torch.manual_seed(0)
        table, out = nn.Embedding(ROWS, WIDTH, sparse=sparse), nn.Linear(WIDTH, 2)
        (out(table(torch.tensor([1, 1, 4]))).sum() * 10).backward()
        both = [table.weight, *out.parameters()]
        clip(both, 1.0) if sparse else torch.nn.utils.clip_grad_norm_(both, 1.0)
        return [p.grad.to_dense() for p in both if p.grad is not None]

    for ours, theirs in zip(gradients(sparse=True), gradients(sparse=False), strict=True):
        torch.testing.assert_close(ours, theirs)
