"""What people set, applied to a verdict: thresholds first, then the lists. In memory, read anew when told.

A verdict is given by the model from the message alone and remembered by content; what is set depends on who
writes to whom, so it is applied after that, to every message, in some microseconds where nothing is set.
"""

import time
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import NamedTuple

from filterd.api import RELEASED, Kind, Label, Message, Verdict
from filterd.config import Config
from filterd.policy.entry import Claims, EntryAction, ListEntry, claims, decide, names
from filterd.policy.store import PolicyStore
from filterd.scoring import verdict as scale
from filterd.scoring.verdict import MAX_LOG_ODDS, Thresholds, sigmoid


class PolicyDecision(NamedTuple):
    """A verdict as it goes out, and the thresholds that it was labelled by."""

    verdict: Verdict
    thresholds: Thresholds


class Policy:
    """The rules in force. `refresh` reads them; `decide` may be called from any thread."""

    def __init__(self, config: Config, rules: PolicyStore | None) -> None:
        self.rules = rules
        self._entries: Sequence[ListEntry] = ()
        self._set: dict[tuple[str, Kind], Thresholds] = {}
        self._configured: dict[tuple[str, Kind], Thresholds] = {}
        self._trusted: Collection[str] = ()
        self.reload(config)
        self.refresh()

    @classmethod
    def open(cls, config: Config) -> "Policy":
        """With the configured store. Raises ConfigError, StoreError."""
        return cls(config, PolicyStore.open(config.feedback_url))

    def close(self) -> None:
        """Close the store."""
        if self.rules:
            self.rules.close()

    def reload(self, config: Config) -> None:
        """Go on with another configuration; the store stays."""
        self._trusted = config.trust.authserv_ids
        self._configured = {
            (scope.lower().lstrip("@"), kind): Thresholds(one.unsure, one.spam)
            for one in config.thresholds
            for scope in one.recipients or ("",)
            for kind in one.kinds
        }

    def refresh(self) -> None:
        """Read what is set; other daemons and commands may have changed it. Raises StoreError."""
        if self.rules:
            self._entries = self.rules.entries()
            self._set = {(rule.scope, rule.kind): rule.thresholds for rule in self.rules.thresholds()}

    def thresholds(self, kind: Kind, recipients: Collection[str], bundle: Thresholds) -> Thresholds:
        """Those of a message: the nearest that are set for each recipient, of several the mildest."""
        if not self._set and not self._configured:
            return bundle
        found = [self._of(kind, one.strip("<> ").lower(), bundle) for one in recipients or ("",)]
        return max(found, key=lambda one: (one.spam, one.unsure))

    def _of(self, kind: Kind, recipient: str, bundle: Thresholds) -> Thresholds:
        for scope in [*(names(recipient) if recipient else ()), ""]:
            for known in (self._set, self._configured):  # what is set outdoes what is configured
                if found := known.get((scope, kind)):
                    return found
        return bundle

    def decide(self, message: Message, found: Verdict, bundle: Thresholds) -> PolicyDecision:
        """A verdict as people have set it. bundle: its own thresholds."""
        if not found.available or "GTUBE" in found.tests:
            return PolicyDecision(found, bundle)
        thresholds = self.thresholds(found.kind, message.recipients, bundle)
        if thresholds != bundle:
            found = labelled(found, found.probability, thresholds)
        if not self._entries:
            return PolicyDecision(found, thresholds)
        return PolicyDecision(self._listed(message, found, thresholds), thresholds)

    def _listed(self, message: Message, found: Verdict, thresholds: Thresholds) -> Verdict:
        if found.kind is Kind.MAIL:
            who = claims(message, self._trusted)
        else:
            who = Claims(froms=frozenset(), senders=frozenset({message.sender.strip().lower()} - {""}))
        who = who._replace(hosts=frozenset(found.hosts))
        chosen = decide(self._entries, who, message.recipients, time.time())
        if chosen.entry:
            denied = chosen.entry.do is EntryAction.DENY
            found = labelled(found, sigmoid(MAX_LOG_ODDS if denied else -MAX_LOG_ODDS), thresholds)
            label = Label.SPAM if denied else Label.HAM
            return replace(found, label=label, tests=(*found.tests, "DENIED" if denied else "ALLOWED"))
        if chosen.unproven:
            return replace(found, tests=(*found.tests, "ALLOW_UNPROVEN"))
        return found


def released(found: Verdict, thresholds: Thresholds) -> Verdict:
    """The verdict on a message that somebody has had released from quarantine."""
    let_through = labelled(found, sigmoid(-MAX_LOG_ODDS), thresholds)
    return replace(let_through, label=Label.HAM, tests=(*found.tests, RELEASED))


def labelled(found: Verdict, probability: float, thresholds: Thresholds) -> Verdict:
    """The same verdict with another probability or by other thresholds."""
    return replace(
        found,
        label=scale.label(probability, thresholds),
        probability=probability,
        points=scale.points(probability, thresholds),
    )
