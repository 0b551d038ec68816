"""The panel: what owners' learners say together, so that nobody outvotes the others by saying more.

Owners are dealt to SEATS, the emptiest first, each with a learner of its own: the sum of its owners'. A seat
has one vote, for spam or for ham, however many nats lie behind it, and abstains below HEARD of a vote. So
a thousand corrections of one owner are one vote, and what agreement is needed is a number of votes
(`memory.py`). A seat all of whose owners are doubtful is not heard; hearing it again takes nothing but that
its owners are believed again.
"""

import math
from collections.abc import Collection
from typing import Final

import numpy as np
from numpy.typing import NDArray

from filterd.scoring.grams import is_new
from filterd.scoring.traits import BITS as ID_BITS
from filterd.scoring.traits import Ids, Traits

SEATS: Final = 64  # more owners share them; 256 KB each
BITS: Final = 16  # places of a seat's table
VOTE: Final = 16.0  # nats of a seat's learner that are a whole vote: most of a step for what nobody expected
HEARD: Final = 0.5  # of a vote: what mail has in common by chance stays below

Floats = NDArray[np.float32]


class Panel:
    """All seats of one memory. Callers serialise."""

    def __init__(self) -> None:
        self.tables: Floats = np.zeros((1 << BITS, 1), dtype=np.float32)  # a message reads whole rows
        self.owners = np.zeros(SEATS, dtype=np.int32)  # at each seat
        self.heard = np.zeros(SEATS, dtype=np.int32)  # of these, who are believed

    def __len__(self) -> int:
        return int((self.heard > 0).sum())

    def sit(self) -> int:
        """A seat for one more owner."""
        seat = int(np.argmin(self.owners))
        while seat >= self.tables.shape[1]:
            self.tables = np.hstack([self.tables, np.zeros_like(self.tables)])
        self.owners[seat] += 1
        self.heard[seat] += 1
        return seat

    def leave(self, seat: int, *, doubtful: bool) -> None:
        """An owner has nothing to say any more; the last one at a seat leaves nothing behind."""
        self.owners[seat] -= 1
        self.heard[seat] -= not doubtful
        if not self.owners[seat]:
            self.tables[:, seat] = 0.0

    def move(self, seat: int, traits: Traits, nats: float) -> None:
        """Move a seat's learner so that this message's score goes by `nats`."""
        for ids, share in _blocks(traits):
            self.tables[ids, seat] += np.float32(nats * share)

    def votes(self, traits: Traits, but: Collection[int] = ()) -> float:
        """How many more seats say spam than ham, without some of them."""
        total: Floats = np.zeros(self.tables.shape[1], dtype=np.float32)
        for ids, share in _blocks(traits):
            total += np.float32(share / VOTE) * self.tables[ids].sum(axis=0)
        said = np.clip((np.abs(total) - HEARD) / (1.0 - HEARD), 0.0, 1.0) * np.sign(total)
        said[self.heard[: len(said)] <= 0] = 0.0
        said[list(but)] = 0.0
        return float(said.sum())

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """Everything, to be saved."""
        return {"panel": self.tables.copy(), "seated": self.owners.copy(), "heard": self.heard.copy()}

    def take(self, arrays: dict[str, NDArray[np.generic]]) -> None:
        """Be what `arrays` gave. Raises KeyError, ValueError."""
        tables, owners, heard = arrays["panel"], arrays["seated"], arrays["heard"]
        if tables.shape[:1] != (1 << BITS,) or not len(owners) == len(heard) == SEATS:
            raise ValueError("panel")
        self.tables = tables.astype(np.float32)
        self.owners, self.heard = owners.astype(np.int32), heard.astype(np.int32)


def _blocks(traits: Traits) -> list[tuple[Ids, float]]:
    """Places of the head's and the words' ids, and the value of each; their squares sum to 1."""
    blocks = [_folded(ids) for ids in (traits.head, traits.words) if len(ids)]
    return [(ids, 1.0 / math.sqrt(len(blocks) * len(ids))) for ids in blocks]


def _folded(ids: Ids) -> Ids:
    """Places in a smaller table, each once; sorted, as ids are."""
    found = ids >> np.uint32(ID_BITS - BITS)
    return found[is_new(found)]
