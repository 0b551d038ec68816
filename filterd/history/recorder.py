"""Writes the trace of judged messages beside the mail, in a thread of its own: log line, then row.

Strategy: the event loop only appends to a bounded queue. The thread wakes a few times a second and writes all
that has come in one transaction. Where it does not keep up (a slow disk, a locked database) it first leaves
out what makes a message correctable, then whole rows, and counts them: mail never waits for it.
"""

import contextlib
import os
import tempfile
import threading
import time
from collections import deque
from pathlib import Path
from typing import Final

from filterd.api import Kind, Label, Message
from filterd.config import Config
from filterd.corrections.correction import Correction, correct
from filterd.errors import FilterdError, StoreError
from filterd.history.record import (
    MAX_RECIPIENTS,
    KeyedHashes,
    Record,
    RecordNumbers,
    VerdictEvent,
    clean,
    domains,
    message_id,
    settled,
)
from filterd.history.store import HistoryStore, MessageContent
from filterd.history.textsearch import AT_ONCE
from filterd.kit.disk import give_to_owner
from filterd.log import log
from filterd.reading.text import read

KEY_FILE: Final = "history.key"
IDENTITY_FILE: Final = "identity"  # not secret: only told apart by it
KEY_LENGTH: Final = 32  # bytes
MAX_WAITING: Final = 2_000  # messages between two writes; a second of more than any machine has judged
MAX_WAITING_BYTES: Final = 64 << 20  # of their bytes
BUSY: Final = 300  # messages in one write from which their features are left out, at 1 ms each
EVERY_S: Final = 0.3  # between two writes
PRUNE_EVERY_S: Final = 600.0
INDEXED_S: Final = 1.0  # an end waits so long for a small index; PostgreSQL ends or drops a large one
KEPT_TEXT: Final = 20_000  # characters; what the model reads of a mail is shorter


class Recorder:
    """An observer of a service's verdicts. `start` before the first, `close` after the last."""

    def __init__(self, config: Config, history: HistoryStore | None) -> None:
        self.dropped = 0  # messages that left no row
        self.keys = KeyedHashes(key_of(Path(config.state)))
        self._config, self.history = config, history
        self.numbers = RecordNumbers(history.enter() if history else None)
        self._waiting: deque[VerdictEvent] = deque()
        self._bytes = 0
        self._wake = threading.Condition()
        self._ending = False
        self._pruned = 0.0
        self._unindexed = AT_ONCE  # rows since the index of texts was brought up to date, or it is unknown
        self._thread = threading.Thread(target=self._run, name="history", daemon=True)
        self._indexing = threading.Thread(target=self._index, name="history-index", daemon=True)

    @classmethod
    def open(cls, config: Config) -> "Recorder":
        """With the configured store. Raises ConfigError, StoreError."""
        return cls(config, HistoryStore.open(config.history_url) if config.history.keep else None)

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()
        self._indexing.start()

    def reload(self, config: Config) -> None:
        """Go on with another configuration; the store stays."""
        self._config = config

    def judged(self, event: VerdictEvent) -> None:
        """Take a verdict; returns at once, whatever the disk does."""
        size = len(event.message.raw)
        with self._wake:
            if len(self._waiting) >= MAX_WAITING or self._bytes + size > MAX_WAITING_BYTES:
                self.dropped += 1
                return
            self._waiting.append(event)
            self._bytes += size

    def close(self) -> None:
        """Write what has come and close the store."""
        with self._wake:
            self._ending = True
            self._wake.notify()
        if self._thread.is_alive():
            self._thread.join()
        if self._indexing.is_alive():
            self._indexing.join(INDEXED_S)
        if self.history:
            self.history.close()

    def flush(self) -> None:
        """Write what has come until now, in the caller's thread."""
        with self._wake:
            events, self._waiting, self._bytes = list(self._waiting), deque(), 0
        if events:
            self._write(events)

    def _run(self) -> None:
        told = 0
        while not self._ending:
            if self.dropped > told:
                told = self.dropped
                log.warning("left out of the history", extra={"fields": {"messages": told}})
            with self._wake:
                self._wake.wait(EVERY_S)
            try:
                self.flush()
                self._prune()
                self._catch_up()
            except FilterdError as error:
                log.error("history not written", extra={"fields": {"reason": str(error)}})
            except Exception:
                log.exception("history not written")
        self.flush()

    def _write(self, events: list[VerdictEvent]) -> None:
        rows = []
        for event in events:
            kept, row = self._row(event, correctable=len(events) < BUSY)
            rows.append((row, kept))
            if self._config.log.messages:
                log.info("judged", extra={"fields": line(row, event.message, self._config.log.addresses)})
        if self.history:
            try:
                self.history.add(rows)
                self._unindexed += len(rows)
            except StoreError:
                self.dropped += len(rows)
                raise

    def _row(self, event: VerdictEvent, *, correctable: bool) -> tuple[MessageContent | None, Record]:
        message, found = event.message, event.verdict
        settings = self._config.history
        known = self._correction(event) if correctable and self.history and settings.correctable else None
        row = Record(
            number=event.number or self.numbers.next(event.time),
            time=event.time,
            listener=message.source,
            name=clean(message.id),
            message_key=self.keys.message_id(message_id(message.raw)) if found.kind is Kind.MAIL else "",
            sender_key=self.keys.address(message.sender),
            recipient_keys=tuple(dict.fromkeys(map(self.keys.address, message.recipients[:MAX_RECIPIENTS]))),
            kind=found.kind,
            label=found.label,
            probability=round(found.probability, 6),
            points=round(found.points, 2),
            available=found.available,
            settled=settled(found),
            tests=found.tests,
            action=event.action,
            size=len(message.raw),
            ms=round(found.seconds * 1000, 2),
            bundle=found.model,
            unsure=event.thresholds.unsure,
            spam=event.thresholds.spam,
            content_hash=known.content_hash if known else "",
            sender=_shown((message.sender,), settings.addresses),
            recipients=_shown(message.recipients[:MAX_RECIPIENTS], settings.addresses),
            subject=clean(found.subject) if settings.subjects else "",
        )
        return (MessageContent(known.features, known.text) if known else None), row

    def _correction(self, event: VerdictEvent) -> Correction:
        """What would be kept of the message if somebody corrected it; its label is nobody's."""
        message, kind = event.message, event.verdict.kind
        trusted = self._config.trust.authserv_ids
        found = read(Message(message.raw, kind=kind), trusted)[0] if self._config.history.text else None
        text = found.canonical[:KEPT_TEXT] if found else None
        return correct(message.raw, kind, Label.HAM, prefix=self._config.headers.prefix, text=text)

    def _prune(self) -> None:
        if not self.history or time.monotonic() < self._pruned:
            return
        kept = self._config.history
        limits = {"days": kept.retention_days, "max_rows": kept.max_messages, "correctable": kept.correctable}
        while self.history.prune(**limits) and not self._ending:
            self.flush()
        self._pruned = time.monotonic() + PRUNE_EVERY_S

    def _catch_up(self) -> None:
        if not self.history or self._unindexed < AT_ONCE:
            return
        self._unindexed = total = 0
        while (added := self.history.catch_up()) and not self._ending:
            total += added
            self.flush()
        _say_indexed(total)

    def _index(self) -> None:
        """Make what takes too long for the thread that writes; where it fails, searches are slower."""
        try:
            _say_indexed(self.history.make_index() if self.history else 0)
        except StoreError as error:
            log.error("history's index not made", extra={"fields": {"reason": str(error)}})
        except Exception:
            log.exception("history's index not made")


def _say_indexed(rows: int) -> None:
    if rows > AT_ONCE:  # more than come between two looks: an older filterd's
        log.info("older messages are in the history's index now", extra={"fields": {"messages": rows}})


def key_of(state: Path, name: str = KEY_FILE) -> bytes:
    """The key of this site's hashes, or another of that name, made once, 0600. Raises StoreError."""
    path = state / name
    try:
        if path.exists():
            return _read_key(path)
        descriptor, part = tempfile.mkstemp(prefix=f".{name}-", dir=state)
        try:
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(os.urandom(KEY_LENGTH))
                stream.flush()
                os.fsync(stream.fileno())
                give_to_owner(stream.fileno(), state)
            with contextlib.suppress(FileExistsError):  # another worker was first; its key is whole as well
                os.link(part, path)
        finally:
            Path(part).unlink()
        return _read_key(path)
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror}; check its owner and mode") from error


def identity(state: Path) -> str:
    """What tells a state folder from all others, whatever its host is called today. Raises StoreError."""
    return key_of(state, IDENTITY_FILE).hex()[:12]


def _read_key(path: Path) -> bytes:
    key = path.read_bytes()
    if len(key) != KEY_LENGTH:
        raise StoreError(f"{path}: damaged; remove it, and what was made with it counts no more")
    return key


def line(row: Record, message: Message, addresses: str) -> dict[str, object]:
    """The fields of a message's line in the log; of its addresses the domains, where those are allowed."""
    fields: dict[str, object] = {
        "id": row.id,
        "listener": row.listener or "other",
        "kind": row.kind.value,
        "label": row.label.value if row.available else "unavailable",
        "p": row.probability,
        "points": row.points,
        "settled": row.settled,
        "action": row.action or "answer",
        "size": row.size,
        "ms": row.ms,
    }
    fields |= {"name": row.name} if row.name else {}
    fields |= {"message": row.message_key[:12]} if row.message_key else {}
    if addresses == "domains":
        fields |= {"from": ",".join(domains((message.sender,))), "to": ",".join(domains(message.recipients))}
    return fields


def _shown(addresses: tuple[str, ...], how: str) -> str:
    if how == "none":
        return ""
    return ", ".join(domains(addresses) if how == "domains" else map(clean, addresses))
