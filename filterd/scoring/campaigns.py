"""Campaigns: bodies that somebody corrected, known again in other copies by their sketch.

A correction joins the campaign that its body is like, or begins one. Each owner has a count of his words for
spam and for ham on it. What many campaigns share (a footer, a provider's lines) is boilerplate and counts for
nothing: each shingle remembers how many campaigns brought it.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from filterd.scoring.traits import MIN_SHINGLES, SKETCH, Ids, likeness

INDEX_BITS: Final = 20  # places of shingles; 100,000 campaigns leave each some of its 32
COMMON: Final = 4  # campaigns from which on a shingle is boilerplate
JOINS: Final = 0.75  # likeness from which a copy is the campaign itself …
UNLIKE: Final = 0.5  # … and up to which it is nothing to do with it
LOOKED_AT: Final = 3  # campaigns compared in full, those with the most shingles in common
NONE: Final = -1
_NO_SHINGLE: Final = np.uint32(0xFFFFFFFF)


class Campaigns:
    """All campaigns of one memory; 0.2 KB each."""

    def __init__(self) -> None:
        self.sketches = np.full((64, SKETCH), _NO_SHINGLE, dtype=np.uint32)
        self.sides = np.zeros((64, 2), dtype=np.int32)  # owners who say ham, spam, on the whole
        self.latest = np.zeros(1 << INDEX_BITS, dtype=np.uint32)  # 1 + the last campaign with a shingle
        self.spread = np.zeros(1 << INDEX_BITS, dtype=np.uint8)  # in how many campaigns a shingle is
        self.bringer = np.zeros(1 << INDEX_BITS, dtype=np.uint16)  # who brought a shingle last
        self.count = 0
        self.words: dict[int, int] = {}  # by campaign and owner: words for spam << 16 | for ham

    def find(self, sketch: Ids) -> tuple[int, float]:
        """The campaign that a body is most like, and how much of its say counts, 0 … 1; (NONE, 0.0)."""
        return next(iter(self.near(sketch)), (NONE, 0.0))

    def near(self, sketch: Ids) -> list[tuple[int, float]]:
        """The campaigns that a body is like, and how much of the say of each counts; the most alike first."""
        own = self._telling(sketch)
        if len(own) < MIN_SHINGLES:
            return []
        seen = self.latest[_places(own)]
        found, shared = np.unique(seen[seen > 0], return_counts=True)
        alike = [
            (place - 1, likeness(own, self._telling(self._sketch(place - 1))))
            for place in found[np.argsort(-shared, kind="stable")[:LOOKED_AT]].tolist()
        ]
        counting = [(one, min(1.0, (how - UNLIKE) / (JOINS - UNLIKE))) for one, how in alike if how > UNLIKE]
        return sorted(counting, key=lambda found: -found[1])

    def add(self, sketch: Ids, owner: int, spam: bool, times: int = 1, *, alone: bool = True) -> None:
        """Count a word of an owner's on a body; times: -1 takes it back. alone: there is no other owner."""
        campaign, share = self.find(sketch)
        if share < 1.0:
            if times < 0 or len(self._telling(sketch)) < MIN_SHINGLES:
                return
            campaign = self._begin(sketch, owner & 0xFFFF, alone)
        key = campaign << 32 | owner
        before = self.words.get(key, 0)
        after = max(0, before + (times << 16 if spam else times))
        self._sided(campaign, before, -1)
        self._sided(campaign, after, 1)
        if after:
            self.words[key] = after
        else:
            self.words.pop(key, None)

    def own(self, campaign: int, owner: int) -> float:
        """An owner's word on a campaign, -1 … 1: grows with agreement, shrinks with contradiction."""
        word = self.words.get(campaign << 32 | owner, 0)
        spam, ham = word >> 16, word & 0xFFFF
        return (spam - ham) / (spam + ham + 0.25) if word else 0.0

    def others(self, campaign: int, owner: int) -> int:
        """How many more of the other owners say spam than ham; negative for ham."""
        word = self.words.get(campaign << 32 | owner, 0)
        return int(self.sides[campaign, 1] - self.sides[campaign, 0]) - _side(word)

    def _sided(self, campaign: int, word: int, times: int) -> None:
        side = _side(word)
        if side:
            self.sides[campaign, int(side > 0)] += times

    def _begin(self, sketch: Ids, owner: int, alone: bool) -> int:
        """A campaign of its own. Of several owners one alone makes nothing boilerplate: the others' campaigns
        would be forgotten by it."""
        if self.count == len(self.sketches):
            more = np.full_like(self.sketches, _NO_SHINGLE)
            self.sketches = np.concatenate([self.sketches, more])
            self.sides = np.concatenate([self.sides, np.zeros_like(self.sides)])
        campaign, self.count = self.count, self.count + 1
        self.sketches[campaign, : len(sketch)] = sketch
        places = _places(sketch)
        self.latest[places] = self.count
        another = (self.bringer[places] != owner) | alone
        self.spread[places] += (self.spread[places] < COMMON) & another
        self.bringer[places] = owner
        return campaign

    def _sketch(self, campaign: int) -> Ids:
        row: Ids = self.sketches[campaign]
        known: Ids = row[row != _NO_SHINGLE]
        return known

    def _telling(self, sketch: Ids) -> Ids:
        """The shingles that are no boilerplate."""
        return sketch[self.spread[_places(sketch)] < COMMON]

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """Everything, to be saved."""
        return {
            "sketches": self.sketches[: self.count],
            "sides": self.sides[: self.count],
            "latest": self.latest,
            "spread": self.spread,
            "bringer": self.bringer,
            "campaign_keys": np.fromiter(self.words, np.uint64, len(self.words)),
            "campaign_words": np.fromiter(self.words.values(), np.uint32, len(self.words)),
        }

    def take(self, arrays: dict[str, NDArray[np.generic]]) -> None:
        """Be what `arrays` gave. Raises KeyError."""
        self.count = len(arrays["sketches"])
        room = max(64, self.count)
        self.sketches = np.full((room, SKETCH), _NO_SHINGLE, dtype=np.uint32)
        self.sides = np.zeros((room, 2), dtype=np.int32)
        self.sketches[: self.count], self.sides[: self.count] = arrays["sketches"], arrays["sides"]
        self.latest, self.spread = arrays["latest"].copy(), arrays["spread"].copy()  # type: ignore[assignment]
        self.bringer = arrays["bringer"].copy()  # type: ignore[assignment]
        keys, words = arrays["campaign_keys"].tolist(), arrays["campaign_words"].tolist()
        self.words = dict(zip(keys, words, strict=True))


def _places(sketch: Ids) -> NDArray[np.uint32]:
    return sketch & np.uint32((1 << INDEX_BITS) - 1)  # the low bits: a sketch holds the smallest hashes


def _side(word: int) -> int:
    """Of an owner's words on a campaign: 1 mostly spam, -1 mostly ham, 0 neither."""
    spam, ham = word >> 16, word & 0xFFFF
    return (spam > ham) - (spam < ham)
