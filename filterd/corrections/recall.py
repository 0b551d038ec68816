"""What corrections have taught, for who only reads: nothing is created here, and nothing heavy imported where
the saved memory is up to date, since `filterd check` in a pipe pays for it with every message.
"""

import contextlib
import sqlite3
import threading
from dataclasses import dataclass, field
from pathlib import Path

from filterd.api import Message
from filterd.config import Config
from filterd.corrections.owners import asked_for
from filterd.errors import StoreError
from filterd.reading.text import CanonicalText
from filterd.scoring.memory import Memory, Recollection
from filterd.scoring.saved import load
from filterd.scoring.traits import of_message

MEMORY_FILE = "memory.bin"  # in the state folder
SQLITE = "sqlite:///"
PEEK_TIMEOUT_S = 1.0  # for the lock; then the store itself waits longer and says what is wrong


@dataclass(frozen=True)
class FrozenMemory:
    """A memory that stays as it is; what an engine asks (`filterd.scoring.engine.CorrectionMemory`)."""

    memory: Memory
    prefix: str
    lock: threading.Lock = field(default_factory=threading.Lock)

    def recollect(self, message: Message, text: CanonicalText) -> Recollection:
        """What corrections say about a message to whom it is judged for; text: its first reading."""
        return recollected(self.memory, self.lock, message, text, self.prefix)


def recollected(
    memory: Memory, lock: threading.Lock, message: Message, text: CanonicalText, prefix: str
) -> Recollection:
    """What a memory says of a message; its traits are told without the lock."""
    if not len(memory):
        return Recollection()
    traits = of_message(message.raw, text, prefix)
    with lock:
        return memory.recollect(traits, asked_for(message, memory.owners))


def recall(config: Config) -> Memory:
    """The memory as of the store's last correction; an empty one without a store. Raises StoreError."""
    url = config.feedback_url
    file = sqlite_file(url)
    if file and not file.exists():
        return Memory(config.feedback.agreement)
    known = saved(Path(config.state) / MEMORY_FILE, config.feedback.agreement)
    if file and _revision(file) == known.revision:
        return known
    from filterd.corrections.following import catch_up
    from filterd.corrections.store import Store

    store = Store.existing(url)
    if store is None:
        return Memory()
    with store:
        return catch_up(store, known)


def saved(file: Path, agreement: float) -> Memory:
    """The memory that was saved last; an empty one where it is missing or damaged."""
    try:
        return load(file, agreement)
    except StoreError:
        return Memory(agreement)


def sqlite_file(url: str) -> Path | None:
    """The database file that a store's URL or path names; None for a server's, or with options."""
    if "://" not in url:
        return Path(url)
    return Path(url.removeprefix(SQLITE)) if url.startswith(SQLITE) and "?" not in url else None


def _revision(file: Path) -> int | None:
    """The store's revision, without SQLAlchemy, which takes 0.2 s to import; None where it cannot be told."""
    with contextlib.suppress(sqlite3.Error):
        peek = sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", PEEK_TIMEOUT_S, uri=True)
        with contextlib.closing(peek):
            row = peek.execute("SELECT revision FROM filterd_state").fetchone()
            return int(row[0]) if row else None
    return None
