"""The corrections store: what people have said about messages, durable before it answers.

A message has one correction of each owner. It has a *number*, its place in the order in which the store took
them; a changed label moves it to the end, and so does forgetting, which leaves a row without text behind. The
store's *revision* is the last number given out. So whoever follows the store (the memory, other daemons)
remembers a revision and reads what is newer, unless something older was `rewritten` since, by pruning: then
it starts over. Every write transaction locks the one row of `filterd_state` first, so that numbers become
visible in their order on PostgreSQL too.

Threads that learn at the same time share a commit: one leads and writes for all who came until then,
while the next ones gather.
"""

import contextlib
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Self, TypeVar

import msgspec
import sqlalchemy as sql
from sqlalchemy import Connection

from filterd.api import Label
from filterd.corrections.correction import Correction, correct, decode, encode
from filterd.corrections.database import ChangeListener, Database, DatabaseStore
from filterd.corrections.tables import (
    FORGOTTEN,
    MAX_TEXT,
    PAGE,
    ROWS,
    SCHEMA,
    STATE,
    correction_of,
    create,
    datetime_of,
    migrate,
    row_of,
)
from filterd.errors import StoreError
from filterd.log import log

__all__ = ["MAX_TEXT", "Correction", "Store", "StoreChange", "StorePosition", "StoreStats", "correct"]

MAX_GROUP = 500  # corrections of one commit; more make the first of them wait
KEEP_FORGOTTEN_DAYS = 30  # for followers to see; who was away for longer starts over
USUAL_SHARE, USUAL_ROWS = 0.25, 10  # that pruning by age deletes at once; more means a wrong clock

T = TypeVar("T")


class StorePosition(NamedTuple):
    """How far a store is. rewritten: the last revision at which something older changed or went."""

    revision: int
    rewritten: int


class StoreStats(msgspec.Struct, kw_only=True, frozen=True):
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
    owners: int = 0


class StoreChange(NamedTuple):
    """A change of the store, for who follows it. taken_back: the correction is none any more."""

    correction: Correction
    taken_back: bool


@dataclass(slots=True, eq=False)
class _Waiting:
    """A correction in the queue of a group commit, and its answer."""

    correction: Correction
    changed: bool | None = None
    error: BaseException | None = None

    @property
    def settled(self) -> bool:
        return self.changed is not None or self.error is not None


class Store(DatabaseStore):
    """Corrections in a database. Its methods may be called from many threads; all raise StoreError."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self._waiting: deque[_Waiting] = deque()
        self._turn = threading.Condition()  # guards _waiting and _leading
        self._leading = False
        self._committing = threading.Lock()  # one write transaction at a time: a queue, where SQLite polls

    @classmethod
    def open(cls, where: str | Path) -> Self:
        """Open or create a store: a path, `sqlite:///path` or `postgresql://…`. Raises ConfigError too."""
        return cls(Database(where))

    @classmethod
    def existing(cls, where: str | Path) -> Self | None:
        """Open a store to read; None where there is none, and none comes to be. Raises ConfigError too."""
        database = Database(where, create=False)
        with contextlib.closing(database):  # a store opens its connections when it is used
            there = database.has_table(STATE.name)
        return cls(database) if there else None

    def news(self) -> ChangeListener:
        """What waits until somebody else has written."""
        return self._database.news()

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

    def forget(self, content_hash: str, owner: str = "") -> bool:
        """Take an owner's correction back. False: there was none of his."""
        named = (ROWS.c.content_hash == content_hash) & (ROWS.c.owner == owner) & (ROWS.c.label != FORGOTTEN)
        with self._writing() as connection:
            number = self._lock(connection) + 1
            empty = {"label": FORGOTTEN, "text": None, "message_id": "", "number": number}
            gone = connection.execute(ROWS.update().where(named).values(**empty)).rowcount
            if gone:
                connection.execute(STATE.update().values(revision=number))
        return gone > 0

    def prune(
        self, *, days: float | None = None, max_rows: int | None = None, even_most: bool = False
    ) -> int:
        """Apply the retention: drop what is older than `days`, then the oldest beyond `max_rows`.

        Age is counted by the database's clock. Raises StoreError where more than a quarter is too old at
        once, unless even_most: that is what a wrong clock does.
        """
        dropped = 0
        with self._writing() as connection:
            self._drop_forgotten(connection)
            if days is not None:
                cutoff = self._now(connection) - microseconds_of(days)
                self._refuse_most(connection, cutoff, days) if not even_most else None
                dropped += self._delete(connection, ROWS.c.time < cutoff)
            if max_rows is not None:
                newest = sql.select(ROWS.c.number).order_by(ROWS.c.number.desc())
                last = connection.execute(newest.offset(max_rows).limit(1)).scalar()
                dropped += self._delete(connection, ROWS.c.number <= last) if last is not None else 0
        return dropped

    def get(self, content_hash: str, owner: str | None = None) -> Correction | None:
        """What an owner said about a message, if anything; None: the last word of anybody."""
        named = (ROWS.c.content_hash == content_hash) & (ROWS.c.label != FORGOTTEN)
        if owner is not None:
            named &= ROWS.c.owner == owner
        last = sql.select(ROWS).where(named).order_by(ROWS.c.number.desc()).limit(1)
        with self._database.reading() as connection:
            row = connection.execute(last).first()
        return self._correction(row) if row else None

    def iterate(
        self,
        *,
        since: int = 0,
        until: int | None = None,
        label: Label | None = None,
        owner: str | None = None,
    ) -> Iterator[Correction]:
        """Corrections in the order taken, with since < number <= until; read in pages, memory is bounded."""
        wanted = ROWS.c.label == label.value if label else ROWS.c.label != FORGOTTEN
        if owner is not None:
            wanted &= ROWS.c.owner == owner
        yield from (self._correction(row) for row in self._pages_of(wanted, since, until))

    def follow(self, since: int, until: int) -> Iterator[StoreChange]:
        """What changed after one revision and up to another, in its order."""
        for row in self._pages_of(sql.true(), since, until):
            yield StoreChange(self._correction(row), row.label == FORGOTTEN)

    def _pages_of(
        self, which: sql.ColumnElement[bool], since: int, until: int | None
    ) -> Iterator[sql.Row[Any]]:
        wanted = sql.select(ROWS).where(which).order_by(ROWS.c.number).limit(PAGE)
        if until is not None:
            wanted = wanted.where(ROWS.c.number <= until)
        while True:
            with self._database.reading() as connection:
                rows = connection.execute(wanted.where(ROWS.c.number > since)).all()
            yield from rows
            if len(rows) < PAGE:
                return
            since = rows[-1].number

    def position(self) -> StorePosition:
        """How far the store is; cheap enough to ask before every batch."""
        with self._database.reading() as connection:
            row = connection.execute(sql.select(STATE.c.revision, STATE.c.rewritten)).one()
        return StorePosition(row.revision, row.rewritten)

    def withdrawn(self) -> int:
        """The last revision at which a correction was forgotten or something older changed; 0 for never."""
        last = sql.select(sql.func.max(ROWS.c.number)).where(ROWS.c.label == FORGOTTEN)
        with self._database.reading() as connection:
            rewritten = connection.execute(sql.select(STATE.c.rewritten)).scalar_one()
            return int(max(rewritten, connection.execute(last).scalar() or 0))

    def mark_retrained(self, bundle: str, revision: int) -> None:
        """Note that `bundle`, trained on corrections up to `revision`, was promoted."""
        with self._writing() as connection:
            connection.execute(STATE.update().values(retrained=revision, retrained_bundle=bundle))

    def retrained(self) -> tuple[str, int]:
        """The last promoted retraining: its bundle and revision; ("", 0) where there was none."""
        with self._database.reading() as connection:
            row = connection.execute(sql.select(STATE.c.retrained_bundle, STATE.c.retrained)).one()
        return row.retrained_bundle, row.retrained

    def stats(self) -> StoreStats:
        """Count everything; reads an index or the whole table, for status pages and not for each message."""
        c, count = ROWS.c, sql.func.count
        with self._database.reading() as connection:
            state = connection.execute(sql.select(STATE)).one()
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
                    count(c.owner.distinct()).label("owners"),
                ).where(c.label != FORGOTTEN)
            ).one()
            by_source = sql.select(c.source, count()).where(c.label != FORGOTTEN).group_by(c.source)
            sources = connection.execute(by_source).all()
        return StoreStats(
            total=row.total,
            spam=row.spam,
            ham=row.total - row.spam,
            mail=row.total - row.sms,
            sms=row.sms,
            with_text=row.with_text,
            changed=row.changed,
            oldest=None if row.oldest is None else datetime_of(row.oldest),
            newest=None if row.newest is None else datetime_of(row.newest),
            since_retrain=row.since_retrain,
            retrained_bundle=state.retrained_bundle,
            sources={row[0]: row[1] for row in sorted(sources, key=str)},
            owners=row.owners,
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
            self._database.notify(connection)

    def _put(
        self, connection: Connection, corrections: Sequence[Correction], *, only_newer: bool = False
    ) -> list[bool]:
        """Write corrections in their order; True for each that changed something."""
        number = self._lock(connection)
        latest = self._known(connection, {correction.content_hash for correction in corrections})
        rows, answers = {}, []
        for correction in corrections:
            row = row_of(correction)
            key = (row["content_hash"], row["owner"])
            label, time, changes = latest.get(key, (None, 0, -1))
            changed = label != row["label"] and not (only_newer and label and row["time"] <= time)
            answers.append(changed)
            if changed:
                number += 1
                changes = max(changes + (label != FORGOTTEN), correction.changes)
                latest[key] = (row["label"], row["time"], changes)
                rows[key] = row | {"number": number, "changes": changes}
        self._replace(connection, list(rows.values()), number)
        return answers

    def _replace(self, connection: Connection, rows: list[dict[str, Any]], number: int) -> None:
        if not rows:
            return
        same = (ROWS.c.content_hash == sql.bindparam("hash_")) & (ROWS.c.owner == sql.bindparam("owner_"))
        keys = [{"hash_": row["content_hash"], "owner_": row["owner"]} for row in rows]
        connection.execute(ROWS.delete().where(same), keys)
        connection.execute(ROWS.insert(), rows)
        connection.execute(STATE.update().values(revision=number))

    def _known(
        self, connection: Connection, hashes: Iterable[str]
    ) -> dict[tuple[str, str], tuple[str, int, int]]:
        """Label, time and changes of what the store has of these messages, by message and owner."""
        c, found = ROWS.c, {}
        columns = sql.select(c.content_hash, c.owner, c.label, c.time, c.changes)
        for page in _pages(hashes):
            for row in connection.execute(columns.where(c.content_hash.in_(page))):
                found[row.content_hash, row.owner] = (row.label, row.time, row.changes)
        return found

    def _now(self, connection: Connection) -> int:
        """Microseconds since 1970 by the database's clock."""
        said = "extract(epoch from now())" if connection.dialect.name == "postgresql" else "strftime('%s')"
        return int(connection.execute(sql.text(f"SELECT {said}")).scalar_one()) * 1_000_000

    def _refuse_most(self, connection: Connection, cutoff: int, days: float) -> None:
        count = sql.func.count()
        total = connection.execute(sql.select(count).select_from(ROWS)).scalar_one()
        old = connection.execute(sql.select(count).where(ROWS.c.time < cutoff)).scalar_one()
        if old > max(USUAL_ROWS, USUAL_SHARE * total):
            raise StoreError(
                f"{self._database.name}: {old:,} of {total:,} corrections are older than {days:g} days, more"
                " than are dropped at once; if the clock is right: filterd feedback prune --all"
            )

    def _drop_forgotten(self, connection: Connection) -> None:
        cutoff = self._now(connection) - microseconds_of(KEEP_FORGOTTEN_DAYS)
        old = (ROWS.c.label == FORGOTTEN) & (ROWS.c.time < cutoff)
        last = connection.execute(sql.select(sql.func.max(ROWS.c.number)).where(old)).scalar()
        if last is not None:
            connection.execute(ROWS.delete().where(old))
            before = connection.execute(sql.select(STATE.c.rewritten)).scalar_one()
            connection.execute(STATE.update().values(rewritten=max(last, before)))

    def _delete(self, connection: Connection, which: sql.ColumnElement[bool]) -> int:
        number = self._lock(connection) + 1
        gone = connection.execute(ROWS.delete().where(which)).rowcount
        if gone:
            connection.execute(STATE.update().values(revision=number, rewritten=number))
        return gone

    def _lock(self, connection: Connection) -> int:
        """The revision; until the end of the transaction no other writer gets it."""
        return int(connection.execute(sql.select(STATE.c.revision).with_for_update()).scalar_one())

    def _prepare(self) -> None:
        found = self._schema()
        if found is None:
            with self._database.preparing() as connection:
                create(connection)
        elif found == 1:
            with self._database.preparing() as connection:
                total, renewed = migrate(connection)
            log.warning(
                f"{self._database.name}: {total:,} corrections brought to schema {SCHEMA};"
                f" {total - renewed:,} of them, kept without text, have no effect until given again"
            )
        elif found != SCHEMA:
            raise StoreError(
                f"{self._database.name}: store of schema {found}, this filterd has {SCHEMA};"
                " upgrade filterd, or export there and import here"
            )

    def _schema(self) -> int | None:
        with self._database.reading() as connection:
            if not sql.inspect(connection).has_table(STATE.name):
                return None
            return connection.execute(sql.select(STATE.c.schema)).scalar_one_or_none() or 0

    def _correction(self, row: sql.Row[Any]) -> Correction:
        try:
            return correction_of(row)
        except ValueError as error:
            raise StoreError(
                f"{self._database.name}: correction {row.number}: {error}; forget {row.content_hash}"
            ) from error


def microseconds_of(days: float) -> int:
    """A span of days."""
    return timedelta(days=days) // timedelta(microseconds=1)


def _pages(items: Iterable[T]) -> Iterator[list[T]]:
    page: list[T] = []
    for item in items:
        page.append(item)
        if len(page) == PAGE:
            yield page
            page = []
    if page:
        yield page
