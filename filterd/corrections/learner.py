"""A correction from end to end: into the store, durably, and into the memory, at once.

Used by the daemon and by commands that work without one. The store is the truth. The memory is brought up to
its revision after every write, and by `follow` when PostgreSQL says that somebody wrote, at the latest every
POLL_S, so that what other daemons, imports and commands wrote comes in as well. Judging takes the memory's
lock alone, which nobody holds while the database is read.
"""

import contextlib
import threading
import time
from pathlib import Path

from filterd.api import Label, Message, Verdict
from filterd.config import Config
from filterd.corrections import correction as corrections
from filterd.corrections import owners
from filterd.corrections.correction import Correction
from filterd.corrections.following import catch_up, wake
from filterd.corrections.recall import MEMORY_FILE, recollected, saved
from filterd.corrections.store import MAX_TEXT, Store
from filterd.errors import StoreError
from filterd.log import log
from filterd.reading.text import CanonicalText, detect
from filterd.scoring.memory import SITE, Memory, Recollection
from filterd.scoring.saved import save

MAX_KEPT_TEXT = MAX_TEXT
POLL_S = 1.0  # between two looks for what others wrote, at the most; a query of one row
ENDING_S = 2.0  # for the thread that follows: a look, or the wait for one
SAVE_S = 300.0  # between two savings of a memory that changed: what a crash has to read again


class Learner:
    """The store and the memory of one process. Safe to call from several threads."""

    def __init__(self, store: Store, file: Path, config: Config) -> None:
        self.store = store
        self.lock = threading.Lock()  # held by whoever changes or reads the memory, for less than 10 ms
        self.config = config  # as of the last reload
        self._catching_up = threading.Lock()  # held while the database is read; judging never takes it
        self._file = file
        self._ending = threading.Event()
        self._follower: threading.Thread | None = None
        self.memory = catch_up(store, saved(file, config.feedback.agreement))

    @property
    def prefix(self) -> str:
        """Of our own headers; they are no part of a message."""
        return self.config.headers.prefix

    @classmethod
    def open(cls, config: Config) -> "Learner":
        """Open the configured store and bring the memory up to it. Raises StoreError, ConfigError."""
        return cls(Store.open(config.feedback_url), Path(config.state) / MEMORY_FILE, config)

    def follow(self) -> None:
        """Look for what others write, from now on until `close`, in a thread of its own."""
        self._follower = threading.Thread(target=self._follow, name="corrections", daemon=True)
        self._follower.start()

    def close(self) -> None:
        """Save the memory, so that the next start need not read the store, and close the store."""
        self._ending.set()
        if self._follower is not None:
            self._follower.join(ENDING_S)
        with contextlib.suppress(StoreError):
            self._save()
        self.store.close()

    def recollect(self, message: Message, text: CanonicalText) -> Recollection:
        """What corrections say about a message to whom it is judged for; text: its first reading."""
        memory, owner = self.memory, None
        if len(memory):
            owner = owners.asked_for(message, memory.owners)
            for name in memory.dormant(owner):
                self._awake(name)
        return recollected(memory, self.lock, message, text, self.prefix)

    def scope(self, message: Message) -> str:
        """Whose corrections count for a message besides everybody's; "" for nobody's."""
        known = self.memory.owners
        owner = owners.asked_for(message, known) if len(known) > 1 else None
        return owner if owner is not None and owner in known else SITE

    def at_hand(self, message: Message) -> bool:
        """Whether `recollect` will wait for nobody."""
        return not self.lock.locked() and not self.memory.dormant(self.scope(message))

    def learn(
        self, message: Message, label: Label, before: Verdict | None = None, model: float | None = None
    ) -> bool:
        """Take a correction; durable and in effect once this returns. False: it was known already.

        before, model: what was said of the message, and the model's own log-odds; None where nobody was
        asked. Raises StoreError.
        """
        kind = message.kind or detect(message.raw)
        text, traits = corrections.seen(message.raw, kind, self.prefix)
        correction = corrections.correct(
            message.raw,
            kind,
            label,
            text=text.canonical[:MAX_KEPT_TEXT] if self.config.feedback.keep_text else None,
            verdict=before,
            model=model,
            owner=owner_of(message),
            source=message.source,
            message_id=message.id,
            traits=traits,
        )
        return self.take(correction)

    def take(self, correction: Correction) -> bool:
        """Take a correction of a message that is not at hand; durable and in effect once this returns."""
        changed = self.store.learn(correction)
        self._catch_up()
        return changed

    def forget(self, message: Message) -> bool:
        """Take one's own correction back, and its step with it (`Memory.forget`). False: there was none."""
        return self.forget_hash(self.content_hash(message), owner_of(message))

    def forget_hash(self, content_hash: str, owner: str = SITE) -> bool:
        """The same of a message that is not at hand."""
        forgotten = self.store.forget(content_hash, owner)
        self._catch_up()
        return forgotten

    def content_hash(self, message: Message) -> str:
        """The store's name for a message."""
        kind = message.kind or detect(message.raw)
        return corrections.seen(message.raw, kind, self.prefix)[1].content_hash

    def prune(self) -> int:
        """Apply the retention; how many corrections went."""
        settings = self.config.feedback
        dropped = self.store.prune(days=settings.retention_days, max_rows=settings.max_corrections)
        self._catch_up()
        return dropped

    def rebuild(self) -> None:
        """Learn the store's corrections anew beside the memory that is asked, and take its place."""
        with self._catching_up:
            self.memory = catch_up(self.store, Memory(self.config.feedback.agreement))

    def _catch_up(self) -> None:
        with self._catching_up:
            self.memory = catch_up(self.store, self.memory, self.lock)

    def _awake(self, name: str) -> None:
        """Read the corrections of an owner who was not asked for for long; without him if that fails."""
        with contextlib.suppress(StoreError):
            wake(self.store, self.memory, name, self.lock)

    def _follow(self) -> None:
        saved_at, failed = time.monotonic(), False
        news = self.store.news()
        while not self._ending.is_set():
            news.wait(POLL_S, self._ending)
            try:
                self._catch_up()
                if time.monotonic() - saved_at > SAVE_S:
                    self._save()
                    saved_at = time.monotonic()
                failed = False
            except StoreError as error:
                if not failed:
                    log.error("corrections of others not seen", extra={"fields": {"reason": str(error)}})
                failed = True
        news.close()

    def _save(self) -> None:
        with self.lock:
            state = save(self.memory)
        state.write(self._file)


def owner_of(message: Message) -> str:
    """Whose word a correction is: the user's that is named, else the site's."""
    return owners.spelled(message.user) if message.user else SITE
