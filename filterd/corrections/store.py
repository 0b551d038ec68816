"""The corrections store: what people have said about messages, durable before it answers.

Each correction has a *number*, its place in the order in which the store took them; a changed label moves
it to the end. The store's *revision* is the last number given out; forgetting and pruning take one as well.
So whoever follows the store (the memory, other daemons, retraining) remembers a revision and reads what is
newer, unless something older was `rewritten` since: then it starts over. Every write transaction locks the
one row of `filterd_state` first, so that numbers become visible in their order on PostgreSQL too.

Threads that learn at the same time share a commit: one leads and writes for all who came until then,
while the next ones gather.
"""

import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Self, TypeVar

import msgspec
import sqlalchemy as sql
from sqlalchemy import Column, Connection

from filterd.api import Kind, Label
from filterd.corrections.correction import Correction, correct, decode, encode
from filterd.corrections.database import Database
from filterd.errors import StoreError
from filterd.scoring import memory

__all__ = ["Correction", "Position", "Stats", "Store", "catch_up", "correct"]

SCHEMA = 1
PAGE = 200  # corrections read or written at a time: 2 MB of features and text, below SQLite's 999 variables
MAX_GROUP = 500  # corrections of one commit; more make the first of them wait
MAX_TEXT = 65_536  # characters; the model reads far fewer
MAX_NAME = 998  # characters of an id or source, as of a header line

T = TypeVar("T")

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class Position(NamedTuple):
    """How far a store is. rewritten: the last revision at which something older changed or went."""

    revision: int
    rewritten: int


class Stats(msgspec.Struct, frozen=True):
    """Counts for people and metrics. since_retrain: corrections taken after the last promoted bundle."""

    total: int = 0
    spam: int = 0
    ham: int = 0
    mail: int = 0
    sms: int = 0
    with_text: int = 0
    changed: int = 0
    oldest: datetime | None = None
    newest: datetime | None = None
    since_retrain: int = 0
    retrained_bundle: str = ""
    sources: dict[str, int] = {}


_TABLES = sql.MetaData()
_ROWS = sql.Table(
    "filterd_corrections",
    _TABLES,
    Column("content_hash", sql.String(64), primary_key=True),
    Column("number", sql.BigInteger, nullable=False, unique=True),
    Column("label", sql.String(8), nullable=False),
    Column("kind", sql.String(8), nullable=False),
    Column("features", sql.LargeBinary, nullable=False),
    Column("time", sql.BigInteger, nullable=False, index=True),  # microseconds since 1970, UTC
    Column("text", sql.Text),
    Column("verdict", sql.String(8)),
    Column("probability", sql.Double),
    Column("bundle", sql.Text, nullable=False),
    Column("source", sql.Text, nullable=False),
    Column("message_id", sql.Text, nullable=False),
    Column("changes", sql.Integer, nullable=False),
)
_STATE = sql.Table(
    "filterd_state",
    _TABLES,
    Column("schema", sql.Integer, primary_key=True),
    Column("revision", sql.BigInteger, nullable=False),
    Column("rewritten", sql.BigInteger, nullable=False),
    Column("retrained", sql.BigInteger, nullable=False),
    Column("retrained_bundle", sql.Text, nullable=False),
)


@dataclass(slots=True, eq=False)
class _Waiting:
    """A correction in the queue of a group commit, and its answer."""

    correction: Correction
    changed: bool | None = None
    error: BaseException | None = None

    @property
    def settled(self) -> bool:
        return self.changed is not None or self.error is not None


class Store:
    """Corrections in a database. Its methods may be called from many threads; all raise StoreError."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: deque[_Waiting] = deque()
        self._turn = threading.Condition()  # guards _waiting and _leading
        self._leading = False
        self._committing = threading.Lock()  # one write transaction at a time: a queue, where SQLite polls

    @classmethod
    def open(cls, where: str | Path) -> Self:
        """Open or create a store: a path, `sqlite:///path` or `postgresql://…`. Raises ConfigError too."""
        store = cls(Database(where))
        try:
            store._check_schema()
        except BaseException:
            store.close()
            raise
        return store

    @classmethod
    def existing(cls, where: str | Path) -> Self | None:
        """Open a store to read; None where there is none, and none comes to be. Raises ConfigError too."""
        store = cls(Database(where, create=False))
        try:
            if store._database.has_table(_STATE.name):
                store._check_schema()
                return store
        except BaseException:
            store.close()
            raise
        store.close()
        return None

    def close(self) -> None:
        """Close the connections."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def learn(self, correction: Correction) -> bool:
        """Keep a correction; durable once this returns. False: this label was known, nothing changed."""
        waiting = _Waiting(correction)
        with self._turn:
            self._waiting.append(waiting)
        while not waiting.settled:
            if group := self._wait_or_lead(waiting):
                self._commit(group)
        if waiting.error is not None:
            raise StoreError(str(waiting.error)) from waiting.error
        return bool(waiting.changed)

    def learn_many(self, corrections: Iterable[Correction]) -> int:
        """Keep all or, where something fails, none; one commit. Returns how many changed something."""
        with self._writing() as connection:
            return sum(sum(self._put(connection, page)) for page in _pages(corrections))

    def forget(self, content_hash: str) -> bool:
        """Take a correction back. False: there was none."""
        with self._writing() as connection:
            return self._delete(connection, _ROWS.c.content_hash == content_hash) > 0

    def prune(self, *, days: float | None = None, max_rows: int | None = None) -> int:
        """Apply the retention: drop what is older than `days`, then the oldest beyond `max_rows`."""
        dropped = 0
        with self._writing() as connection:
            if days is not None:
                cutoff = _microseconds(datetime.now(UTC) - timedelta(days=days))
                dropped += self._delete(connection, _ROWS.c.time < cutoff)
            if max_rows is not None:
                newest = sql.select(_ROWS.c.number).order_by(_ROWS.c.number.desc())
                last = connection.execute(newest.offset(max_rows).limit(1)).scalar()
                dropped += self._delete(connection, _ROWS.c.number <= last) if last is not None else 0
        return dropped

    def get(self, content_hash: str) -> Correction | None:
        """What was said about a message, if anything."""
        with self._database.reading() as connection:
            row = connection.execute(sql.select(_ROWS).where(_ROWS.c.content_hash == content_hash)).first()
        return self._correction(row) if row else None

    def iterate(
        self, *, since: int = 0, until: int | None = None, label: Label | None = None
    ) -> Iterator[Correction]:
        """Corrections in the order taken, with since < number <= until; read in pages, memory is bounded."""
        wanted = sql.select(_ROWS).order_by(_ROWS.c.number).limit(PAGE)
        if until is not None:
            wanted = wanted.where(_ROWS.c.number <= until)
        if label is not None:
            wanted = wanted.where(_ROWS.c.label == label.value)
        while True:
            with self._database.reading() as connection:
                rows = connection.execute(wanted.where(_ROWS.c.number > since)).all()
            yield from (self._correction(row) for row in rows)
            if len(rows) < PAGE:
                return
            since = rows[-1].number

    def position(self) -> Position:
        """How far the store is; cheap enough to ask before every batch."""
        with self._database.reading() as connection:
            row = connection.execute(sql.select(_STATE.c.revision, _STATE.c.rewritten)).one()
        return Position(row.revision, row.rewritten)

    def mark_retrained(self, bundle: str, revision: int) -> None:
        """Note that `bundle`, trained on corrections up to `revision`, was promoted."""
        with self._writing() as connection:
            connection.execute(_STATE.update().values(retrained=revision, retrained_bundle=bundle))

    def retrained(self) -> tuple[str, int]:
        """The last promoted retraining: its bundle and revision; ("", 0) where there was none."""
        with self._database.reading() as connection:
            row = connection.execute(sql.select(_STATE.c.retrained_bundle, _STATE.c.retrained)).one()
        return row.retrained_bundle, row.retrained

    def stats(self) -> Stats:
        """Count everything; reads an index or the whole table, for status pages and not for each message."""
        c, count = _ROWS.c, sql.func.count
        with self._database.reading() as connection:
            state = connection.execute(sql.select(_STATE)).one()
            row = connection.execute(
                sql.select(
                    count().label("total"),
                    count().filter(c.label == "spam").label("spam"),
                    count().filter(c.kind == "sms").label("sms"),
                    count(c.text).label("with_text"),
                    count().filter(c.changes > 0).label("changed"),
                    sql.func.min(c.time).label("oldest"),
                    sql.func.max(c.time).label("newest"),
                    count().filter(c.number > state.retrained).label("since_retrain"),
                )
            ).one()
            sources = connection.execute(sql.select(c.source, count()).group_by(c.source)).all()
        return Stats(
            total=row.total,
            spam=row.spam,
            ham=row.total - row.spam,
            mail=row.total - row.sms,
            sms=row.sms,
            with_text=row.with_text,
            changed=row.changed,
            oldest=None if row.oldest is None else _datetime(row.oldest),
            newest=None if row.newest is None else _datetime(row.newest),
            since_retrain=row.since_retrain,
            retrained_bundle=state.retrained_bundle,
            sources={row[0]: row[1] for row in sorted(sources, key=str)},
        )

    def export_lines(self, stream: BinaryIO) -> int:
        """Write all corrections as JSON, one a line, in the order taken; returns how many."""
        written = 0
        for correction in self.iterate():
            stream.write(encode(correction))
            written += 1
        return written

    def import_lines(self, stream: BinaryIO, name: str = "stdin") -> int:
        """Take an export; of two words on a message the later wins. Returns how many changed something.

        All or nothing: raises BadInput that names the first bad line, and then nothing was imported.
        """
        with self._writing() as connection:
            pages = _pages(decode(stream, name))
            return sum(sum(self._put(connection, page, only_newer=True)) for page in pages)

    def _wait_or_lead(self, waiting: _Waiting) -> list[_Waiting]:
        """Wait until it is settled or nobody commits; returns whose corrections the caller has to commit."""
        with self._turn:
            self._turn.wait_for(lambda: waiting.settled or not self._leading)
            if waiting.settled:
                return []
            self._leading = True
            return [self._waiting.popleft() for _ in range(min(MAX_GROUP, len(self._waiting)))]

    def _commit(self, group: list[_Waiting]) -> None:
        try:
            with self._writing() as connection:
                answers = self._put(connection, [waiting.correction for waiting in group])
        except BaseException as error:  # whatever it is, nobody may wait forever
            for waiting in group:
                waiting.error = error
            if not isinstance(error, Exception):
                raise
        else:
            for waiting, changed in zip(group, answers, strict=True):
                waiting.changed = changed
        finally:
            with self._turn:
                self._leading = False
                self._turn.notify_all()

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        with self._committing, self._database.writing() as connection:
            yield connection

    def _put(
        self, connection: Connection, corrections: Sequence[Correction], *, only_newer: bool = False
    ) -> list[bool]:
        """Write corrections in their order; True for each that changed something."""
        number = self._lock(connection)
        hashes = {correction.content_hash for correction in corrections}
        stored = self._known(connection, hashes)
        latest, rows, answers = dict(stored), {}, []
        for correction in corrections:
            label, time, changes = latest.get(correction.content_hash, (None, 0, -1))
            taken_at = _microseconds(correction.time)
            changed = label != correction.label.value and not (only_newer and label and taken_at <= time)
            answers.append(changed)
            if changed:
                number += 1
                changes = max(changes + 1, correction.changes)
                latest[correction.content_hash] = (correction.label.value, taken_at, changes)
                rows[correction.content_hash] = _row(correction) | {"number": number, "changes": changes}
        self._replace(connection, rows, stored.keys() & rows.keys(), number)
        return answers

    def _replace(
        self, connection: Connection, rows: dict[str, dict[str, Any]], old: Iterable[str], number: int
    ) -> None:
        if not rows:
            return
        if outdated := list(old):
            for page in _pages(outdated):
                connection.execute(_ROWS.delete().where(_ROWS.c.content_hash.in_(page)))
            connection.execute(_STATE.update().values(rewritten=number))
        connection.execute(_ROWS.insert(), list(rows.values()))
        connection.execute(_STATE.update().values(revision=number))

    def _known(self, connection: Connection, hashes: Iterable[str]) -> dict[str, tuple[str, int, int]]:
        """Label, time and changes of those messages that the store has."""
        columns = sql.select(_ROWS.c.content_hash, _ROWS.c.label, _ROWS.c.time, _ROWS.c.changes)
        found: dict[str, tuple[str, int, int]] = {}
        for page in _pages(hashes):
            for row in connection.execute(columns.where(_ROWS.c.content_hash.in_(page))):
                found[row.content_hash] = (row.label, row.time, row.changes)
        return found

    def _delete(self, connection: Connection, which: sql.ColumnElement[bool]) -> int:
        number = self._lock(connection) + 1
        gone = connection.execute(_ROWS.delete().where(which)).rowcount
        if gone:
            connection.execute(_STATE.update().values(revision=number, rewritten=number))
        return gone

    def _lock(self, connection: Connection) -> int:
        """The revision; until the end of the transaction no other writer gets it."""
        return int(connection.execute(sql.select(_STATE.c.revision).with_for_update()).scalar_one())

    def _check_schema(self) -> None:
        with self._database.reading() as connection:
            there = sql.inspect(connection).has_table(_STATE.name)
        if not there:
            self._create()
        with self._database.reading() as connection:
            found = connection.execute(sql.select(_STATE.c.schema)).scalar_one_or_none()
        if found != SCHEMA:
            raise StoreError(
                f"{self._database.name}: store of schema {found}, this filterd has {SCHEMA};"
                " upgrade filterd, or export there and import here"
            )

    def _create(self) -> None:
        with self._database.writing() as connection:
            if connection.dialect.name == "postgresql":  # two daemons may start at once
                connection.execute(sql.select(sql.func.pg_advisory_xact_lock(0x66696C74)))
            if not sql.inspect(connection).has_table(_STATE.name):
                _TABLES.create_all(connection)
                first = {
                    "schema": SCHEMA,
                    "revision": 0,
                    "rewritten": 0,
                    "retrained": 0,
                    "retrained_bundle": "",
                }
                connection.execute(_STATE.insert().values(first))

    def _correction(self, row: sql.Row[Any]) -> Correction:
        values = row._asdict()
        try:
            return Correction(
                **values
                | {
                    "label": Label(row.label),
                    "kind": Kind(row.kind),
                    "verdict": row.verdict and Label(row.verdict),
                    "time": _datetime(row.time),
                }
            )
        except ValueError as error:
            raise StoreError(
                f"{self._database.name}: correction {row.number}: {error}; forget {row.content_hash}"
            ) from error


def catch_up(store: Store, known: memory.Memory) -> memory.Memory:
    """The memory at the store's revision: the same object with what is new, or another one where something
    was forgotten, changed or pruned (3 s for 10,000 corrections then). Raises StoreError.
    """
    position = store.position()
    if position.rewritten > known.revision or position.revision < known.revision:
        known = memory.Memory()
    if position.revision > known.revision:
        for correction in store.iterate(since=known.revision, until=position.revision):
            known.learn(memory.unpack(correction.features), correction.label)
    known.revision = position.revision
    return known


def _row(correction: Correction) -> dict[str, Any]:
    text = correction.text
    return msgspec.structs.asdict(correction) | {
        "label": correction.label.value,
        "kind": correction.kind.value,
        "verdict": correction.verdict and correction.verdict.value,
        "time": _microseconds(correction.time),
        "text": None if text is None else _storable(text, MAX_TEXT),
        "bundle": _storable(correction.bundle, MAX_NAME),
        "source": _storable(correction.source, MAX_NAME),
        "message_id": _storable(correction.message_id, MAX_NAME),
    }


def _storable(text: str, length: int) -> str:
    """Text that both databases take: PostgreSQL refuses NUL, both refuse lone surrogates."""
    return text[:length].replace("\0", "").encode("utf-8", "replace").decode()


def _microseconds(time: datetime) -> int:
    return (time - _EPOCH) // _MICROSECOND


def _datetime(microseconds: int) -> datetime:
    return _EPOCH + microseconds * _MICROSECOND


def _pages(items: Iterable[T]) -> Iterator[list[T]]:
    page: list[T] = []
    for item in items:
        page.append(item)
        if len(page) == PAGE:
            yield page
            page = []
    if page:
        yield page
