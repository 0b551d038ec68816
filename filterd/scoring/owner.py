"""What one owner's corrections have taught: a linear learner that makes good what the model gets wrong.

With m the model's calibrated log-odds and x a message's places (two blocks, head and words, of norm 1 each):

    z = a * m + w · x

A correction is a step of logistic regression on z: what is known already moves nothing, what was wrong moves
most; but a label that contradicts all that is known moves little, as one in NOISE is a slip. First `a`, the
say of the model, by a little, as far as the model was wrong; then w, along x. So the model's mistakes are
learned, not what it knows; where it keeps being wrong it loses its say.

What most of his corrected mail has in common says nothing: a place counts by its inverse document frequency,
as it is when the message is judged. Corrections of the label that is the commoner by far count less,
so that spam alone does not lift whatever comes the same way as spam. One correction says nothing of other
mail: w and `a` count by n² / (n² + RAMP²) after n.

A table is small for who says little, and ids that share a place have signs (Weinberger 2009), so that they
cancel each other out rather than add up. A correction's whole effect on w is its step times x without those
frequencies: taking it back is the same with the sign turned. Not taken back is what it changed in the steps
that came after it, in `a` and in the say of campaigns; and where the table has grown since, the copies of its
step in the places beside its own (`Table.grown`).
"""

import math
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from filterd.api import Kind
from filterd.scoring.grams import is_new
from filterd.scoring.traits import BITS, Ids, Traits

RATE: Final = 20.0  # nats of a step, for a message of nothing but news and a label that all speaks against
NOISE: Final = 0.02  # of labels are slips
TEMPER: Final = 2.0  # nats of model and learner that are one: both are surer than they are right
BALANCE: Final = 8  # corrections of one label alone that count whole
RAMP: Final = 30.0  # corrections after which they count half
MODEL_RATE: Final = 0.05  # of `a`, for a message that is wholly wrong
MODEL_MOST: Final = 1.25  # 1.5 loses more ham, 1 hears slips more
MODEL_SCALE: Final = 4.0  # nats at which the model is sure of itself
CAMPAIGN_RATE: Final = 0.2  # of the say of campaigns, where they were wrong or right
CAMPAIGN_LEAST: Final = 0.1
FEWEST_BITS, MOST_BITS = 14, 20  # places of w: from 64 KB to 4 MB
CELLS_EACH: Final = 128  # places a correction; a mail has a thousand ids, most of them known by then
MOST_SEEN: Final = 65_535  # corrections that a place can be in; as many as a count of two bytes holds
KINDS: Final = {Kind.MAIL: 0, Kind.SMS: 1}
DISTRUST_AT: Final = 5  # contradictions from which an owner may be named

Floats = NDArray[np.float32]


class Table(NamedTuple):
    """w, and in how many corrections each place was; both [places], a power of two."""

    weights: NDArray[np.float16]
    seen: NDArray[np.uint16]

    @classmethod
    def empty(cls, places: int) -> "Table":
        """Nothing is known."""
        return cls(np.zeros(places, dtype=np.float16), np.zeros(places, dtype=np.uint16))

    @property
    def nbytes(self) -> int:
        """Of memory."""
        return self.weights.nbytes + self.seen.nbytes

    def grown(self, places: int) -> "Table":
        """The same in more places: each part of one has what the whole had."""
        times = places // len(self.weights)
        return Table(np.repeat(self.weights, times), np.repeat(self.seen, times))


class Owner:
    """One owner; 64 KB up to 128 corrections, 4 MB from 8,192 on. Callers serialise."""

    def __init__(self, key: int) -> None:
        self.key = key
        self.table: Table | None = Table.empty(1 << FEWEST_BITS)
        self.counts = [[0, 0], [0, 0]]  # by kind and label (ham, spam)
        self.model = [1.0, 1.0]  # `a`, by kind
        self.campaigns = 1.0  # the say of campaigns
        self.agreed = self.contradicted = 0  # with what the others had said
        self.seat = -1  # of the panel
        self._telling = _telling(0)

    @property
    def corrections(self) -> int:
        """How many there are."""
        return sum(map(sum, self.counts))

    @property
    def nbytes(self) -> int:
        """Of the table, if there is one."""
        return self.table.nbytes if self.table is not None else 0

    @property
    def doubtful(self) -> bool:
        """Whether the others contradict him more often than not."""
        return self.contradicted >= max(DISTRUST_AT, self.agreed)

    def trust(self, kind: Kind) -> float:
        """How much what was learned counts, 0 … 1."""
        n = sum(self.counts[KINDS[kind]])
        return n * n / (n * n + RAMP * RAMP)

    def model_say(self, kind: Kind) -> float:
        """The weight of the model's log-odds."""
        return 1.0 + (self.model[KINDS[kind]] - 1.0) * self.trust(kind)

    def score(self, traits: Traits) -> float:
        """w · x in nats."""
        if self.table is None:
            return 0.0
        total, blocks = 0.0, cells(traits, len(self.table.weights))
        telling = self._frequencies()
        for places, signs, _ in blocks:
            values = (
                telling.take(self.table.seen[places], mode="clip") * signs
            )  # a word may be in both blocks
            norm = math.sqrt(len(blocks) * float(values @ signs)) or 1.0
            total += float(self.table.weights[places].astype(np.float32) @ values) / norm
        return total

    def learn(self, traits: Traits, spam: bool, model: float) -> float:
        """Take a correction; returns its step, for `unlearn`. model: its log-odds, 0.0 for unknown."""
        kind, side = KINDS[traits.kind], 1.0 if spam else -1.0
        known = side * (self.model[kind] * model + self.score(traits)) / TEMPER
        counts = self.counts[kind]
        counts[int(spam)] += 1
        share = (
            _sigmoid(-known)
            * _believed(known)
            * min(1.0, (counts[not spam] + BALANCE) / (counts[spam] + BALANCE))
        )
        moved = MODEL_RATE * share * side * math.tanh(model / MODEL_SCALE)
        self.model[kind] = min(MODEL_MOST, max(0.0, self.model[kind] + moved))
        self._grow()
        self._move(traits, side * RATE * share, 1)
        return RATE * share

    def unlearn(self, traits: Traits, spam: bool, step: float) -> None:
        """Take a correction's own step back; what stays of it is said above."""
        counts = self.counts[KINDS[traits.kind]]
        counts[int(spam)] = max(0, counts[int(spam)] - 1)
        self._move(traits, -step if spam else step, -1)
        if not self.corrections:  # nothing lingers, not even a rounding
            places, seat = len(self.table.weights) if self.table is not None else 0, self.seat
            self.__init__(self.key)  # type: ignore[misc]
            self.seat = seat
            self.table = Table.empty(places) if places else None

    def judge_campaign(self, said: float, spam: bool) -> None:
        """Learn whether a campaign's say was right."""
        if abs(said) > 0.1:
            right = (said > 0) == spam
            goal = 1.0 if right else CAMPAIGN_LEAST
            self.campaigns += CAMPAIGN_RATE * (goal - self.campaigns)

    def _move(self, traits: Traits, nats: float, times: int) -> None:
        if self.table is None:
            return
        weights, seen = self.table
        for places, signs, share in cells(traits, len(weights)):
            weights[places] += (nats * share * signs).astype(np.float16)
            counted = seen[places]
            seen[places] = np.minimum(counted, MOST_SEEN - 1) + 1 if times > 0 else counted - (counted > 0)

    def _frequencies(self) -> Floats:
        """What a place counts by the number of corrections that it was in; see `_telling`."""
        n = min(self.corrections, MOST_SEEN)
        coarse = 1 << max(0, n.bit_length() - 7)  # of 100,000 corrections not each needs a table anew
        rounded = -(-n // coarse) * coarse
        if len(self._telling) != rounded + 1:
            self._telling = _telling(rounded)
        return self._telling

    def _grow(self) -> None:
        """Double the table as corrections come."""
        bits = max(FEWEST_BITS, min(MOST_BITS, (self.corrections * CELLS_EACH - 1).bit_length()))
        if self.table is not None and len(self.table.weights) < 1 << bits:
            self.table = self.table.grown(1 << bits)


def _believed(known: float) -> float:
    """How far a label is one, where so many tempered nats speak for it."""
    right = (1.0 - 2 * NOISE) * _sigmoid(known)
    return right / (NOISE + right)


def _sigmoid(nats: float) -> float:
    return 1.0 / (1.0 + math.exp(-max(-50.0, min(50.0, nats))))


def _telling(corrections: int) -> Floats:
    """Inverse document frequency [corrections + 1], of what was never seen 1, of what all share 0."""
    seen = np.arange(corrections + 1)
    found = np.log((corrections + 1.5) / (seen + 0.5)) / math.log((corrections + 1.5) / 0.5)
    values: Floats = found.clip(0.0).astype(np.float32)
    return values


def cells(traits: Traits, places: int) -> list[tuple[Ids, Floats, float]]:
    """Of each block: its places, each once; the sum of the signs of the ids in each; what one id counts, so
    that the squares of both blocks sum to 1."""
    shift = np.uint32(BITS - (places.bit_length() - 1))
    blocks = [ids for ids in (traits.head, traits.words) if len(ids)]
    return [(*_folded(ids, shift), 1.0 / math.sqrt(len(blocks) * len(ids))) for ids in blocks]


def _folded(ids: Ids, shift: np.uint32) -> tuple[Ids, Floats]:
    found = ids >> shift
    starts = np.flatnonzero(is_new(found))
    signs = 1 - 2 * (ids & np.uint32(1)).astype(np.float32)  # of the lowest bit; places are of the highest
    return found[starts], np.add.reduceat(signs, starts)
