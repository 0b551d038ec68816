"""What one owner's corrections have taught: a linear learner that makes good what the model gets wrong.

With m the model's calibrated log-odds and x a message's ids (two blocks, head and words, of norm 1 together):

    z = a * m + w · x

A correction moves z to its side of the thresholds, to SPAM_GOAL or HAM_GOAL, by at most STEP nats at once
(passive-aggressive, Crammer 2006): first `a`, the say of the model, by a little, as far as the model was
wrong; then w, along x. So the model's mistakes are learned, not what it knows; where it keeps being wrong it
loses its say. One correction says nothing of other mail: w and a count by n² / (n² + RAMP²) after n, of which
those count little that have none of the other label beside them.

A correction's whole effect on w is its step times x: taking it back is the same with the sign turned.
"""

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from filterd.api import Kind
from filterd.scoring.traits import BITS, Ids, Traits

SPAM_GOAL: Final = 9.0  # log-odds; thresholds of bundles lie between 1 and 6
HAM_GOAL: Final = -6.0
STEP: Final = 5.0  # nats that one correction moves its own message, at most
RAMP: Final = 50.0  # corrections after which they count half; fewer lose more ham (docs/experiments.md)
ONE_SIDED: Final = 0.25  # of a correction, where there is none of the other label to set against it
MODEL_RATE: Final = 0.05  # of `a`, for a message that is wrong by 4 nats or more
MODEL_MOST: Final = 1.5
MODEL_SCALE: Final = 4.0  # nats at which the model is sure of itself
CAMPAIGN_RATE: Final = 0.2  # of the say of campaigns, where they were wrong or right
CAMPAIGN_LEAST: Final = 0.1
FEWEST_BITS, MOST_BITS = 12, 20  # places of w: from 8 KB to 2 MB
CELLS_EACH: Final = 256  # places a correction; a mail has a thousand ids, most of them known by then
KINDS: Final = {Kind.MAIL: 0, Kind.SMS: 1}
DISTRUST_AT: Final = 5  # contradictions from which an owner may be named


class Owner:
    """One owner; 8 KB at first, 64 KB after 100 corrections. Callers serialise."""

    def __init__(self, key: int) -> None:
        self.key = key
        self.weights: NDArray[np.float16] | None = np.zeros(1 << FEWEST_BITS, dtype=np.float16)
        self.counts = [[0, 0], [0, 0]]  # by kind and label (ham, spam)
        self.model = [1.0, 1.0]  # `a`, by kind
        self.campaigns = 1.0  # the say of campaigns
        self.agreed = self.contradicted = 0  # with what the others had said
        self.seat = -1  # of the panel

    @property
    def corrections(self) -> int:
        """How many there are."""
        return sum(map(sum, self.counts))

    @property
    def doubtful(self) -> bool:
        """Whether the others contradict him more often than not."""
        return self.contradicted >= max(DISTRUST_AT, self.agreed)

    def trust(self, kind: Kind) -> float:
        """How much what was learned counts, 0 … 1.

        Who has only heard of spam cannot tell it from the ham that comes the same way: pairs count.
        """
        fewer, more = sorted(self.counts[KINDS[kind]])
        n = 2 * fewer + ONE_SIDED * (more - fewer)
        return n * n / (n * n + RAMP * RAMP)

    def model_say(self, kind: Kind) -> float:
        """The weight of the model's log-odds."""
        return 1.0 + (self.model[KINDS[kind]] - 1.0) * self.trust(kind)

    def score(self, traits: Traits) -> float:
        """w · x in nats."""
        return score(self.weights, traits) if self.weights is not None else 0.0

    def learn(self, traits: Traits, spam: bool, model: float) -> float:
        """Take a correction; returns its step, for `unlearn`. model: its log-odds, 0.0 for unknown."""
        kind, side = KINDS[traits.kind], 1.0 if spam else -1.0
        self.counts[kind][int(spam)] += 1
        self._grow()
        goal, w = SPAM_GOAL if spam else HAM_GOAL, self.score(traits)
        missing = side * (goal - self.model[kind] * model - w)
        if missing <= 0:
            return 0.0
        moved = MODEL_RATE * min(1.0, missing / 4) * side * math.tanh(model / MODEL_SCALE)
        self.model[kind] = min(MODEL_MOST, max(0.0, self.model[kind] + moved))
        step = min(STEP, max(0.0, side * (goal - self.model[kind] * model - w)))
        self._move(traits, side * step)
        return step

    def unlearn(self, traits: Traits, spam: bool, step: float) -> None:
        """Take a correction back."""
        counts = self.counts[KINDS[traits.kind]]
        counts[int(spam)] = max(0, counts[int(spam)] - 1)
        self._move(traits, -step if spam else step)
        if not self.corrections:  # nothing lingers, not even a rounding
            weights, seat = self.weights, self.seat
            self.__init__(self.key)  # type: ignore[misc]
            self.seat = seat
            self.weights = np.zeros_like(weights) if weights is not None else None

    def judge_campaign(self, said: float, spam: bool) -> None:
        """Learn whether a campaign's say was right."""
        if abs(said) > 0.1:
            right = (said > 0) == spam
            goal = 1.0 if right else CAMPAIGN_LEAST
            self.campaigns += CAMPAIGN_RATE * (goal - self.campaigns)

    def _move(self, traits: Traits, nats: float) -> None:
        if self.weights is not None:
            move(self.weights, traits, nats)

    def _grow(self) -> None:
        """Double the places of w as corrections come: each half has what the whole had."""
        if self.weights is None:
            return
        bits = max(FEWEST_BITS, min(MOST_BITS, (self.corrections * CELLS_EACH - 1).bit_length()))
        if len(self.weights) < 1 << bits:
            self.weights = np.repeat(self.weights, (1 << bits) // len(self.weights))


def score(weights: NDArray[np.floating], traits: Traits) -> float:
    """w · x in nats, of a table of any power of two of places."""
    total = 0.0
    for ids, share in blocks(traits, len(weights)):
        total += share * float(weights[ids].sum(dtype=np.float32))
    return total


def move(weights: NDArray[np.floating], traits: Traits, nats: float) -> None:
    """Move w along x so that this message's score goes by `nats`."""
    for ids, share in blocks(traits, len(weights)):
        weights[ids] += weights.dtype.type(nats * share)


def blocks(traits: Traits, places: int) -> list[tuple[Ids, float]]:
    """Places of the head's and the words' ids, and the value of each; their squares sum to 1."""
    blocks = [_folded(ids, places) for ids in (traits.head, traits.words) if len(ids)]
    return [(ids, 1.0 / math.sqrt(len(blocks) * len(ids))) for ids in blocks]


def _folded(ids: Ids, places: int) -> Ids:
    """Places in a smaller table, each once; sorted, as ids are."""
    found = ids >> np.uint32(BITS - (places.bit_length() - 1))
    new = np.ones(len(found), dtype=bool)
    np.not_equal(found[1:], found[:-1], out=new[1:])
    return found[new]
