"""What corrections have taught, for who only reads: nothing is created here, and nothing heavy imported where
the saved memory is up to date, since `filterd check` in a pipe pays for it with every message.
"""

import contextlib
import sqlite3
import threading
from dataclasses import dataclass, field
from pathlib import Path

from filterd.config import Config
from filterd.errors import StoreError
from filterd.scoring.memory import Memory

MEMORY_FILE = "memory.bin"  # in the state folder
SQLITE = "sqlite:///"
PEEK_TIMEOUT_S = 1.0  # for the lock; then the store itself waits longer and says what is wrong


@dataclass(frozen=True)
class Recalled:
    """A memory that stays as it is; what an engine asks (`filterd.scoring.engine.Remembering`)."""

    memory: Memory
    prefix: str
    lock: threading.Lock = field(default_factory=threading.Lock)


def recall(config: Config) -> Memory:
    """The memory as of the store's last correction; an empty one without a store. Raises StoreError."""
    url = config.feedback_url
    file = sqlite_file(url)
    if file and not file.exists():
        return Memory()
    known = saved(Path(config.state) / MEMORY_FILE)
    if file and _revision(file) == known.revision:
        return known
    from filterd.corrections.store import Store, catch_up

    store = Store.existing(url)
    if store is None:
        return Memory()
    with store:
        return catch_up(store, known)


def saved(file: Path) -> Memory:
    """The memory that was saved last; an empty one where it is missing or damaged."""
    try:
        return Memory.load(file)
    except StoreError:
        return Memory()


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
