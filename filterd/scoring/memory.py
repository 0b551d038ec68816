"""The memory: what corrections have taught since the model was trained, in effect at once, each in its scope.

An *owner* is who said so. Asked for an owner, the memory answers with

- his own word, where he corrected this very message: final, and final for him alone;
- his learner (`owner.py`): how much the model still counts, and the nats that are added to it;
- his word on the campaign (`campaigns.py`), bounded by CAMPAIGN_NATS and by a goal on its side of the
  thresholds: one word is most of it, contradiction takes it away, and campaigns that were wrong for him lose
  their say;
- what *others* agree on: the votes of their learners (`panel.py`) and their words on the campaign. One owner
  alone has no say in what others get, nor have several up to TOLERATED of the agreement that is asked for;
  from there it grows to all of OTHERS_NATS where `agreement` of all owners agree. Who is contradicted by the
  others more often than not is not heard.

A site with one owner is that owner. The owner SITE ("") stands for whoever runs the site, and corrections
that were stored before there were owners; his word is everybody's own.

With no corrections the model's answer stays, to the last bit. Forgetting and changing a correction undo its
own step; not what it changed in the steps after it, nor what it did to the model's and the campaigns' say. No
lock in here: callers serialise.
"""

from collections import OrderedDict
from collections.abc import Iterable
from typing import Final, NamedTuple, Self

from filterd.api import Label
from filterd.scoring.campaigns import NONE, Campaigns
from filterd.scoring.owner import Owner
from filterd.scoring.panel import Panel
from filterd.scoring.traits import Traits, hash_bytes
from filterd.scoring.verdict import MAX_LOG_ODDS

CERTAIN: Final = MAX_LOG_ODDS  # a person's word on this very message outdoes the most confident model
SPAM_GOAL: Final = (
    7.0  # log-odds up to which a campaign moves a mail; thresholds of bundles lie between 0.5 and 6
)
HAM_GOAL: Final = -3.0  # a slip of one person is no certainty about all copies
CAMPAIGN_NATS: Final = 20.0  # of an owner's word on a campaign, at most; one word is 0.8 of it
OTHERS_NATS: Final = 8.0  # of others' learners, at most; half as much again of their campaigns
OTHERS_CAMPAIGN_NATS: Final = 12.0
TOLERATED: Final = 0.8  # of the agreement: so many who collude have no say, a fifth of all as it ships
MORE_THAN_ONE: Final = 1.1  # votes that no single owner can have
FEWEST_AGREE: Final = 3  # owners for all of it, however few there are
MAX_TABLES: Final = 64 << 20  # bytes of owners' learners in memory; the others are read from the store again
MAX_DORMANT: Final = 100_000  # owners without a table that are remembered; 0.5 KB each
SQUASH: Final = 10.0  # log-odds from which fused ones are pressed together, so that none are cut off alike
SITE: Final = ""

Near = list[tuple[int, float]]  # campaigns that a body is like, and how much of the say of each counts


class Recollection(NamedTuple):
    """What the memory has to say about a message, to whom it is judged for.

    weight: of the model's log-odds; shift: nats added to them; campaign: nats added then, as far as the
    goals; word: what was said of this very message, +1 spam, -1 ham, 0 nothing.
    """

    weight: float = 1.0
    shift: float = 0.0
    word: int = 0
    campaign: float = 0.0

    @property
    def silent(self) -> bool:
        """Whether the model's answer stays as it is."""
        return not self.word and self.weight == 1.0 and self.shift == self.campaign == 0.0


def fuse(model_log_odds: float, memory: Recollection) -> float:
    """One calibrated log-odds of spam from the model's and the memory's; pure."""
    if memory.word:
        return memory.word * CERTAIN
    if memory.silent:
        return model_log_odds
    fused = memory.weight * model_log_odds + memory.shift
    if memory.campaign > 0:  # on its side of the thresholds, but no surer than that
        fused = max(fused, min(SPAM_GOAL, fused + memory.campaign))
    else:
        fused = min(fused, max(HAM_GOAL, fused + memory.campaign))
    over = abs(fused) - SQUASH
    if over <= 0:
        return fused
    room = MAX_LOG_ODDS - SQUASH
    pressed = SQUASH + room * over / (over + 4 * room)
    return pressed if fused > 0 else -pressed


class Memory:
    """Learns from corrections, one at a time and in order. agreement: share of owners; see above."""

    def __init__(self, agreement: float = 0.3) -> None:
        self.agreement = agreement
        self.owners: OrderedDict[str, Owner] = OrderedDict()  # the one used last is the last
        self.panel = Panel()  # the owners' learners as others hear them
        self.campaigns = Campaigns()
        self.words: dict[int, float] = {}  # by message and owner: ± (1 + step of the learner)
        self.revision = 0  # of the corrections store that this is the state of; the caller's to set
        self._bytes = 0  # of owners' tables
        self._doubted = 0  # owners who are doubtful
        self.guessed: set[str] = set()  # owners who learned without a table; `awake` puts their steps right

    @classmethod
    def rebuild(cls, corrections: Iterable[tuple[Traits, Label, str, float]]) -> Self:
        """A memory that has learned these: traits, label, owner and the model's log-odds."""
        memory = cls()
        for one in corrections:
            memory.learn(*one)
        return memory

    def __len__(self) -> int:
        return len(self.words)

    def learn(self, traits: Traits, label: Label, owner: str = SITE, model: float = 0.0) -> None:
        """Take one correction; at once the message is known by it, whatever its owner said before."""
        self.forget(traits, owner)
        spam, who = label is Label.SPAM, self._owner(owner)
        self._compare(who, traits, spam)
        campaign, likeness = self.campaigns.find(traits.sketch)
        if campaign != NONE:
            who.judge_campaign(likeness * self.campaigns.own(campaign, who.key), spam)
        if who.table is None:
            self.guessed.add(owner)
        before = who.nbytes
        step = who.learn(traits, spam, model)
        self._bytes += who.nbytes - before
        self.panel.move(who.seat, traits, step if spam else -step)
        self.campaigns.add(traits.sketch, who.key, spam, alone=len(self.owners) == 1)
        self.words[_word_key(traits, owner)] = (1.0 + step) * (1 if spam else -1)
        self._bound()

    def forget(self, traits: Traits, owner: str = SITE) -> bool:
        """Take an owner's correction back. False: there was none."""
        said = self.words.pop(_word_key(traits, owner), 0.0)
        if not said:
            return False
        spam, step, who = said > 0, abs(said) - 1.0, self._owner(owner)
        doubted = who.doubtful
        self.panel.move(who.seat, traits, -step if spam else step)
        who.unlearn(traits, spam, step)
        self.campaigns.add(traits.sketch, who.key, spam, -1)
        if not who.corrections:
            self._bytes -= who.nbytes
            del self.owners[owner]
            self.guessed.discard(owner)
            self._doubted -= doubted
            self.panel.leave(who.seat, doubtful=doubted)
        return True

    def recollect(self, traits: Traits, owner: str | None = None) -> Recollection:
        """What there is to say to this owner; None: nobody is known."""
        if not self.words:
            return Recollection()
        mine = self._mine(owner)
        weight, shift, word, campaign = 1.0, 0.0, 0, 0.0
        near = self.campaigns.near(traits.sketch)
        for name, who in mine.items():
            weight *= who.model_say(traits.kind)
            shift += who.trust(traits.kind) * who.score(traits)
            said = next(filter(None, (share * self.campaigns.own(one, who.key) for one, share in near)), 0.0)
            campaign += CAMPAIGN_NATS * who.campaigns * said
            word = word or _sign(self.words.get(_word_key(traits, name), 0.0))
        agreed, copies = self._others(traits, mine, near)
        return Recollection(weight=weight, shift=shift + agreed, word=word, campaign=campaign + copies)

    def dormant(self, owner: str | None) -> list[str]:
        """Who would be asked, and has no table in memory; see `awake`."""
        return [name for name, who in self._mine(owner).items() if who.table is None]

    def awake(self, name: str, corrections: Iterable[tuple[Traits, Label, float]]) -> None:
        """Give an owner his table again, from all his corrections that are known here.

        Each one's step is from now on what it is in the replay, for his table, the panel and `forget` alike.
        """
        self.guessed.discard(name)
        old = self.owners.get(name)
        if old is None or old.table is not None:
            return
        who = Owner(old.key)
        for traits, label, model in corrections:
            key, spam = _word_key(traits, name), label is Label.SPAM
            said = self.words.get(key, 0.0)
            if _sign(said) == (1 if spam else -1):  # else the store is ahead of us
                now = (1.0 + who.learn(traits, spam, model)) * _sign(said)
                if now != said:
                    self.panel.move(old.seat, traits, now - said)
                    self.words[key] = now
        old.table, old.model = who.table, who.model
        self._bytes += old.nbytes
        self.owners.move_to_end(name)
        self._bound()

    def doubtful(self) -> list[str]:
        """Owners whom the others contradict more often than not."""
        return sorted(name for name, who in self.owners.items() if who.doubtful)

    def take(self, name: str, who: Owner) -> None:
        """Add an owner as he was saved."""
        self.owners[name] = who
        self._doubted += who.doubtful
        self._bytes += who.nbytes

    def _mine(self, owner: str | None) -> dict[str, Owner]:
        """Whose word is the asker's own."""
        if len(self.owners) == 1:
            return dict(self.owners)
        names = dict.fromkeys([owner, SITE] if owner is not None else [SITE])
        return {name: self.owners[name] for name in names if name in self.owners}

    def _others(self, traits: Traits, mine: dict[str, Owner], near: Near) -> tuple[float, float]:
        """Nats that owners who agree add for those who did not say so: for mail like it, for copies."""
        others = len(self.owners) - len(mine) - self._doubted
        if others < 2:  # one alone has no say
            return 0.0, 0.0
        seats = {who.seat for who in mine.values()}
        found = OTHERS_NATS * self._agreed(self.panel.votes(traits, seats), min(others, len(self.panel)))
        keys = [who.key for who in mine.values()]
        said = [share * self._agreed(self._votes(one, keys), others) for one, share in near]
        return found, OTHERS_CAMPAIGN_NATS * max(said, key=abs, default=0.0)

    def _votes(self, campaign: int, but: list[int]) -> float:
        """How many more owners say spam of a campaign than ham, without some of them."""
        everybody = self.campaigns.others(campaign, -1)
        return float(everybody + sum(self.campaigns.others(campaign, key) - everybody for key in but))

    def _agreed(self, votes: float, others: int) -> float:
        """How much of a say so many votes have, -1 … 1; one has none."""
        asked = self.agreement * others
        none = max(1.0, TOLERATED * asked)
        share = min(1.0, max(0.0, abs(votes) - none) / (max(FEWEST_AGREE, asked) - none))
        return share if votes > 0 else -share

    def _compare(self, who: Owner, traits: Traits, spam: bool) -> None:
        """Note whether the others had said so, or the contrary, before this owner said it."""
        campaign, likeness = self.campaigns.find(traits.sketch)
        votes = self.panel.votes(traits, {who.seat}) if len(self.owners) > 1 else 0.0
        if campaign != NONE:
            votes += likeness * self.campaigns.others(campaign, who.key)
        if abs(votes) >= MORE_THAN_ONE:
            before = who.doubtful
            if (votes > 0) == spam:
                who.agreed += 1
            else:
                who.contradicted += 1
            self._doubted += who.doubtful - before
            self.panel.heard[who.seat] -= who.doubtful - before

    def _owner(self, name: str) -> Owner:
        found = self.owners.get(name)
        if found is None:
            found = self.owners[name] = Owner(hash_bytes(name.encode()) & 0xFFFFFFFF)
            found.seat = self.panel.sit()
            self._bytes += found.nbytes
        self.owners.move_to_end(name)
        return found

    def _bound(self) -> None:
        """Let go of the tables of who was not asked for longest, and of who has had none for longest."""
        while self._bytes > MAX_TABLES and len(self.owners) > 1:
            name = next(n for n, who in self.owners.items() if who.table is not None)
            who = self.owners[name]
            self._bytes -= who.nbytes
            who.table = None
            self.owners.move_to_end(name, last=False)
        if len(self.owners) > MAX_DORMANT:
            name, who = self.owners.popitem(last=False)
            self.guessed.discard(name)
            self._doubted -= who.doubtful
            self.panel.leave(who.seat, doubtful=who.doubtful)


def _word_key(traits: Traits, owner: str) -> int:
    return hash_bytes(f"{traits.content_hash}\0{owner}".encode("utf-8", "replace"))


def _sign(said: float) -> int:
    return (said > 0) - (said < 0)
