"""Which messages make up each step of an epoch, and their rows as one padded tensor.

Every order is drawn from torch's global generator at the beginning of an epoch, and only there, so that a
run is repeated by its seed and resumed in the middle of an epoch from the generator's state.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.data import DataLoader

Batch = list[int]  # positions of messages in their split
Order = Callable[[], list[Batch]]  # draws one epoch

# Messages are sorted by length within pools of this many batches: large enough that a batch's rows differ by
# a token or two, small enough that each batch is still a random draw.
POOL_BATCHES = 50


@dataclass(frozen=True)
class Rows:
    """Rows of different lengths, one a message: token ids, or what the frozen blocks made of them.

    flat: [all tokens] int32 or [all tokens, width] float32; may be memory-mapped.
    offsets: [n + 1]; row i is flat[offsets[i] : offsets[i + 1]].
    """

    flat: Tensor
    offsets: list[int]

    @classmethod
    def of(cls, rows: Sequence[Sequence[int]]) -> "Rows":
        """Token ids of n messages, none of them empty."""
        offsets = [0]
        for row in rows:
            offsets.append(offsets[-1] + len(row))
        return cls(torch.tensor([i for row in rows for i in row], dtype=torch.int32), offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def row(self, i: int) -> Tensor:
        """Row i, a view."""
        return self.flat[self.offsets[i] : self.offsets[i + 1]]

    def lengths(self) -> list[int]:
        """Tokens of each row."""
        return [end - start for start, end in zip(self.offsets, self.offsets[1:], strict=False)]

    def batch(self, indices: Batch, pad: int = 0) -> tuple[Tensor, Tensor]:
        """Rows padded on the right to the longest among them: [B, T] or [B, T, width], and lengths [B]."""
        rows = [self.row(i) for i in indices]
        lengths = torch.tensor([len(row) for row in rows])
        padded = torch.full((len(rows), int(lengths.max()), *self.flat.shape[1:]), pad, dtype=self.flat.dtype)
        for place, row in zip(padded, rows, strict=True):
            place[: len(row)] = row
        return padded, lengths


def shuffled(count: int, batch_size: int) -> Order:
    """The lecture's order: torch's own DataLoader, shuffling, last incomplete batch dropped."""
    loader = _loader(count, batch_size, shuffle=True)
    return lambda: list(loader)


def in_sequence(count: int, batch_size: int) -> Order:
    """The lecture's order of validation and test: as they stand, all of them."""
    loader = _loader(count, batch_size, shuffle=False)
    return lambda: list(loader)


def _loader(count: int, batch_size: int, shuffle: bool) -> "DataLoader[int]":
    indices: list[int] = list(range(count))
    return DataLoader(indices, batch_size, shuffle=shuffle, drop_last=shuffle, collate_fn=list)  # type: ignore[arg-type]


def by_length(
    lengths: Sequence[int],
    batch_size: int,
    groups: Sequence[object] | None = None,
    messages: int = 0,
    *,
    root: bool = False,
) -> Order:
    """Random batches of messages of like length; with `groups`, each group has a share of an epoch of
    `messages`, by default as many as there are; see `shares`."""

    def epoch() -> list[Batch]:
        drawn = _permuted(range(len(lengths))) if groups is None else _balanced(groups, messages, root=root)
        pool = POOL_BATCHES * batch_size
        batches = [
            batch
            for start in range(0, len(drawn), pool)
            for batch in sorted_batches(lengths, batch_size, drawn[start : start + pool])
        ]
        return [batches[i] for i in _permuted(range(len(batches)))]

    return epoch


def sorted_batches(lengths: Sequence[int], batch_size: int, of: Sequence[int] | None = None) -> list[Batch]:
    """Messages sorted by length and cut into batches; for passes whose order does not matter."""
    order = sorted(range(len(lengths)) if of is None else of, key=lengths.__getitem__)
    return [order[i : i + batch_size] for i in range(0, len(order), batch_size)]


def _permuted(items: Sequence[int]) -> list[int]:
    return [items[i] for i in torch.randperm(len(items)).tolist()]


def _balanced(groups: Sequence[object], messages: int = 0, *, root: bool = False) -> list[int]:
    """An epoch's worth of messages, from each group its share.

    A small group is gone through several times; of a large one a random part is left out this epoch.
    """
    members: dict[object, list[int]] = {}
    for i, group in enumerate(groups):
        members.setdefault(group, []).append(i)
    of = shares({group: len(indices) for group, indices in members.items()}, root=root)
    drawn: list[int] = []
    for group, indices in members.items():
        share = math.ceil((messages or len(groups)) * of[group])
        rounds = -(-share // len(indices))
        drawn += [i for _ in range(rounds) for i in _permuted(indices)][:share]
    return _permuted(drawn)


def shares(sizes: Mapping[object, int], *, root: bool = False) -> dict[object, float]:
    """Each group's part of an epoch: the same for all.

    root: groups are named "kind label source"; each kind and label has the same part, and within it a source
    as the square root of its size.
    """
    if not root:
        return dict.fromkeys(sizes, 1 / len(sizes))
    of_class: dict[str, float] = {}
    for group, size in sizes.items():
        of_class[_class(group)] = of_class.get(_class(group), 0.0) + math.sqrt(size)
    return {g: math.sqrt(size) / of_class[_class(g)] / len(of_class) for g, size in sizes.items()}


def _class(group: object) -> str:
    return " ".join(str(group).split(" ")[:2])
