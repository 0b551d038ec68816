"""A correction from end to end: into the store, durably, and into the memory, at once.

Used by the daemon and by commands that work without one. The store is the truth; the memory is brought up
to its revision after every write, so corrections of other daemons on the same store come in as well.
"""

import contextlib
import threading
from pathlib import Path

from filterd.api import Kind, Label, Message
from filterd.config import Config
from filterd.corrections import store as feedback
from filterd.corrections.correction import Correction
from filterd.corrections.recall import MEMORY_FILE, saved
from filterd.corrections.store import Store
from filterd.errors import ModelUnavailable, StoreError
from filterd.reading.text import detect, read
from filterd.scoring import memory
from filterd.scoring.engine import Engine
from filterd.scoring.memory import Memory

MAX_KEPT_TEXT = feedback.MAX_TEXT


class Learner:
    """The store and the memory of one process. Safe to call from several threads."""

    def __init__(self, store: Store, file: Path, config: Config) -> None:
        self.store = store
        self.lock = threading.Lock()  # held by whoever changes or reads the memory
        self.config = config  # as of the last reload
        self._catching_up = threading.Lock()
        self._saved = file
        self.memory = feedback.catch_up(store, saved(file))

    @property
    def prefix(self) -> str:
        """Of our own headers; they are no part of a message."""
        return self.config.headers.prefix

    @classmethod
    def open(cls, config: Config) -> "Learner":
        """Open the configured store and bring the memory up to it. Raises StoreError, ConfigError."""
        return cls(Store.open(config.feedback_url), Path(config.state) / MEMORY_FILE, config)

    def close(self) -> None:
        """Save the memory, so that the next start need not replay the store, and close the store."""
        with contextlib.suppress(StoreError), self.lock:
            self.memory.save(self._saved)
        self.store.close()

    def learn(self, engine: Engine | None, message: Message, label: Label) -> bool:
        """Take a correction; durable and in effect once this returns. False: it was known already.

        engine: says what the verdict was before, None where nobody asks. Raises StoreError.
        """
        kind = message.kind or detect(message.raw)
        before = None
        if engine:
            with contextlib.suppress(ModelUnavailable):  # a correction is kept whatever the model does
                before = engine.judge([message])[0]
        correction = feedback.correct(
            message.raw,
            kind,
            label,
            prefix=self.prefix,
            text=self._text(message, kind),
            verdict=before,
            source=message.source,
            message_id=message.id,
        )
        return self.take(correction)

    def take(self, correction: Correction) -> bool:
        """Take a correction of a message that is not at hand; durable and in effect once this returns."""
        changed = self.store.learn(correction)
        self._catch_up()
        return changed

    def forget(self, message: Message) -> bool:
        """Take a correction back, as if it had never been given. False: there was none."""
        return self.forget_hash(self.content_hash(message))

    def forget_hash(self, content_hash: str) -> bool:
        """The same of a message that is not at hand."""
        forgotten = self.store.forget(content_hash)
        self._catch_up()
        return forgotten

    def content_hash(self, message: Message) -> str:
        """The store's name for a message."""
        kind = message.kind or detect(message.raw)
        return memory.content_hash(memory.normalise(message.raw, kind, self.prefix), kind)

    def prune(self) -> int:
        """Apply the retention; how many corrections went."""
        settings = self.config.feedback
        dropped = self.store.prune(days=settings.retention_days, max_rows=settings.max_corrections)
        self._catch_up()
        return dropped

    def rebuild(self) -> None:
        """Learn the store's corrections anew beside the memory that is asked, and take its place."""
        with self._catching_up:
            self.memory = feedback.catch_up(self.store, Memory())

    def _text(self, message: Message, kind: Kind) -> str | None:
        if not self.config.feedback.keep_text:
            return None
        trusted = self.config.trust.authserv_ids
        return read(Message(message.raw, kind), trusted)[0].canonical[:MAX_KEPT_TEXT]  # without our headers

    def _catch_up(self) -> None:
        with self._catching_up:
            if self.store.position().rewritten > self.memory.revision:
                # rebuilt beside the old one: nobody waits seconds for a verdict because one was forgotten
                self.memory = feedback.catch_up(self.store, Memory())
                return
            with self.lock:
                self.memory = feedback.catch_up(self.store, self.memory)
