"""What the pages look at and act on, and the threads that they do it in.

Database reads, templates and explanations run in a small pool of the console's own, so that neither a slow
disk nor a curious administrator holds up the event loop or the threads that mail needs. Who comes while
MAX_WAITING pages are under way is told to come again. What waits for the next hop has threads of its own: it
takes minutes where that does not answer.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple, ParamSpec, TypeVar

import msgspec

from filterd.api import Label
from filterd.console.access import Sessions, Viewer
from filterd.console.accounts import Accounts
from filterd.corrections.correction import Correction
from filterd.corrections.owners import spelled
from filterd.errors import LearningClosed, NotFound, Overloaded
from filterd.history import record
from filterd.history.record import KeyedHashes, Record
from filterd.history.store import HistoryStore, Search
from filterd.reasons import reason
from filterd.scoring.memory import SITE
from filterd.scoring.verdict import log_odds
from filterd.service.service import Service

THREADS: Final = 2
MAX_WAITING: Final = 16  # pages under way; a page takes some 20 ms
SENDERS: Final = 4  # releases at the same time
MAX_SENDING: Final = 16  # releases under way
LEARN_FROM: Final = 2_000  # of the newest messages, those are shown that a label would teach most
LEARN_SHOWN: Final = 25

P = ParamSpec("P")
T = TypeVar("T")


class Controls(NamedTuple):
    """What only the daemon can do; each returns a line for people. Raises BundleError."""

    promote: Callable[[Path], str]
    roll_back: Callable[[], str]


class Pool:
    """Some threads, and a bound on what waits for them."""

    def __init__(self, threads: int, most: int, name: str) -> None:
        self._threads = ThreadPoolExecutor(threads, name)
        self._most, self._waiting = most, 0

    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Do it there. Raises Overloaded where too many wait already."""
        if self._waiting >= self._most:
            raise Overloaded("the console is busy; try again in a moment")
        self._waiting += 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._threads, lambda: work(*args, **kwargs))
        finally:
            self._waiting -= 1

    def close(self) -> None:
        """Take no more work."""
        self._threads.shutdown(wait=False, cancel_futures=True)


@dataclass
class Desk:
    """One console: of a daemon, for all its listeners."""

    service: Service
    history: HistoryStore | None
    keys: KeyedHashes
    accounts: Accounts
    sessions: Sessions
    controls: Controls
    pages: Pool = field(default_factory=lambda: Pool(THREADS, MAX_WAITING, "console"))
    senders: Pool = field(default_factory=lambda: Pool(SENDERS, MAX_SENDING, "release"))

    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Do it in the console's threads. Raises Overloaded where too many wait already."""
        return await self.pages.run(work, *args, **kwargs)

    def close(self) -> None:
        """Take no more work."""
        self.pages.close()
        self.senders.close()

    @property
    def open(self) -> bool:
        """Whether anybody can sign in; the console is not there until somebody can."""
        return bool(self.service.config.console.proxy_header) or len(self.accounts) > 0

    def mine(self, viewer: Viewer) -> tuple[str, ...] | None:
        """Hashes of the recipients whose mail a viewer sees; None for everybody's."""
        if viewer.sees_all:
            return None
        return tuple(map(self.keys.address, viewer.account.addresses))

    def message(self, viewer: Viewer, name: str) -> Record:
        """A message that the viewer may see. Raises NotFound, also for those of others."""
        number = record.decode(name)
        found = self.history.get(number) if self.history and number is not None else None
        mine = self.mine(viewer)
        if not found or (mine is not None and not set(mine) & set(found.recipient_keys)):
            raise NotFound(f"{name[:20]}: no such message, or not yours")
        return found

    def correction(self, row: Record) -> reason.CorrectionReason | None:
        """What was said of this very message."""
        learner = self.service.learner
        found = learner.store.get(row.content_hash) if learner and row.content_hash else None
        return reason.CorrectionReason(found.label, found.time, found.source) if found else None

    def correct(self, viewer: Viewer, name: str, label: Label | None) -> Record:
        """Say what a message is; None takes it back. Raises NotFound, LearningClosed, StoreError."""
        if not viewer.may_correct:
            raise LearningClosed("this account may look and not correct")
        row, learner, history = self.message(viewer, name), self.service.learner, self.history
        kept = history.kept(row.number) if history else None
        if not learner or not history or not row.content_hash:
            raise LearningClosed("it is not correctable here; see history.correctable and feedback")
        if label is None:
            learner.forget_hash(row.content_hash, self._owner(viewer))
        elif not kept:
            raise LearningClosed(
                "it is too old to be corrected here (history.correctable); learn a copy of it"
            )
        else:
            said = _correction(row, label, kept.features, self._text(kept.text), viewer.account.name)
            learner.take(msgspec.structs.replace(said, owner=self._owner(viewer)))
            self.service.metrics.corrections.labels(label, "console").inc()
        history.corrected(row.number, label)
        return row

    def _owner(self, viewer: Viewer) -> str:
        """Whose word it is: who sees everybody's mail speaks for the site."""
        return SITE if self.mine(viewer) is None else spelled(viewer.account.name)

    def _text(self, text: str | None) -> str | None:
        return text if self.service.config.feedback.keep_text else None

    def teaching(self, viewer: Viewer) -> list[Record]:
        """Messages that a label would teach most: uncorrected, each once, nearest to their thresholds."""
        if not self.history:
            return []
        seen: dict[str, Record] = {}
        for row in self.history.search(Search(mine=self.mine(viewer)), LEARN_FROM):
            if row.available and row.content_hash and not row.corrected and row.settled != "gtube":
                seen.setdefault(row.content_hash, row)
        return sorted(seen.values(), key=_certainty)[:LEARN_SHOWN]


def _certainty(row: Record) -> float:
    """How far a message's probability is from the nearer of its thresholds."""
    return min(abs(row.probability - row.unsure), abs(row.probability - row.spam))


def _correction(row: Record, label: Label, features: bytes, text: str | None, who: str) -> Correction:
    return Correction(
        content_hash=row.content_hash,
        label=label,
        kind=row.kind,
        features=features,
        time=datetime.now(UTC),
        text=text,
        verdict=row.label if row.available else None,
        probability=row.probability if row.available else None,
        model=log_odds(row.probability) if row.available and "MEMORY" not in row.tests else None,
        bundle=row.bundle,
        source=f"console:{who}",
        message_id=row.name,
    )
