"""A challenger on trial: it judges beside the champion, acts on nothing, then is promoted or dropped.

A trial is a link `challenger` in the store of bundles and, beside it, `trial.json` with what was counted so
far, so that a restart of the daemon goes on with it. `decide` is pure; the daemon counts and asks it
(`filterd.daemon.worker`).

What speaks against a challenger, as nobody knows the truth of live traffic: that it labels more of it
otherwise than a model of the same family should (MAX_DIFFERS), that it calls spam what the champion lets
through more often than missed spam explains (MAX_NEW_SPAM), and, where people corrected something
meanwhile, that the champion was right more often.
"""

import contextlib
import time
from pathlib import Path
from typing import NamedTuple

import msgspec

from filterd.api import Label
from filterd.errors import BundleError
from filterd.scoring import bundle

FILE = "trial.json"
MIN_SEEN = 100  # messages without which nothing was seen
MAX_DIFFERS = 0.10  # share of messages that the two may label differently
MAX_NEW_SPAM = 0.05  # share that only the challenger calls spam; a filter that misses 5% of all mail is rare
SAVE_EVERY = 50  # messages; what a crash loses
DAY_S = 86_400.0


class TrialCounts(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What was seen of a challenger since `started` (seconds since 1970).

    new_spam: messages that only it calls spam. right, wrong: corrections at which only it, or only the
    champion, had said so.
    """

    challenger: str
    started: float
    seen: int = 0
    differs: int = 0
    new_spam: int = 0
    right: int = 0
    wrong: int = 0


class TrialDecision(NamedTuple):
    """promote: None while it is too early to tell. reason: a line for people."""

    promote: bool | None
    reason: str


def decide(counts: TrialCounts, messages: int, days: float, now: float) -> TrialDecision:
    """What becomes of a challenger after so many messages or days."""
    over = now >= counts.started + days * DAY_S
    if counts.seen < messages and not over:
        return TrialDecision(None, f"{counts.seen} of {messages} messages seen")
    if counts.seen < MIN_SEEN and over:
        return TrialDecision(False, f"{counts.seen} messages in {days:g} days say nothing, {MIN_SEEN} would")
    if counts.wrong > counts.right:
        return TrialDecision(
            False, f"corrections: the champion was right {counts.wrong} times, it {counts.right}"
        )
    if counts.differs > MAX_DIFFERS * counts.seen:
        return TrialDecision(False, f"labels {counts.differs} of {counts.seen} messages otherwise")
    if counts.new_spam > MAX_NEW_SPAM * counts.seen:
        return TrialDecision(
            False, f"calls {counts.new_spam} of {counts.seen} messages spam that passed so far"
        )
    return TrialDecision(True, f"{counts.differs} of {counts.seen} messages labelled otherwise")


class Trial:
    """The trial under way in a store of bundles; counts, and remembers across restarts."""

    def __init__(self, store: Path, counts: TrialCounts) -> None:
        self.counts = counts
        self._store = store

    @classmethod
    def open(cls, store: Path, challenger: str) -> "Trial":
        """Go on with the challenger's trial, or begin it."""
        try:
            found = msgspec.json.decode((store / FILE).read_bytes(), type=TrialCounts)
        except (OSError, msgspec.MsgspecError):
            found = None
        if found and found.challenger == challenger:
            return cls(store, found)
        begun = cls(store, TrialCounts(challenger=challenger, started=time.time()))
        begun.save()
        return begun

    def add(self, champion: Label, challenger: Label) -> None:
        """Count a message that both judged."""
        self.counts.seen += 1
        self.counts.differs += champion is not challenger
        self.counts.new_spam += challenger is Label.SPAM is not champion
        if self.counts.seen % SAVE_EVERY == 0:
            self.save()

    def corrected(self, label: Label, *, champion: Label, challenger: Label) -> None:
        """Count a correction: who of the two had said so?"""
        self.counts.right += challenger is label is not champion
        self.counts.wrong += champion is label is not challenger

    def save(self) -> None:
        """Remember what was counted; a full disk loses it and nothing else."""
        temporary = self._store / f".{FILE}.new"
        with contextlib.suppress(OSError):
            temporary.write_bytes(msgspec.json.encode(self.counts))
            temporary.replace(self._store / FILE)

    def end(self) -> None:
        """Nobody is on trial any more; the bundle itself stays. Raises OSError."""
        bundle.end_trial(self._store)
        (self._store / FILE).unlink(missing_ok=True)


def under_way(store: Path) -> str:
    """The id of the bundle on trial in a store, "" without one."""
    try:
        return bundle.read(store / bundle.CHALLENGER).id if (store / bundle.CHALLENGER).exists() else ""
    except BundleError:
        return ""
