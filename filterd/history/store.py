"""The history in a database: SQLite beside the corrections, or PostgreSQL for several daemons."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

import msgspec
import sqlalchemy as sql
from sqlalchemy import Connection
from sqlalchemy.schema import CreateIndex

from filterd.api import Kind, Label
from filterd.corrections.database import Database, DatabaseStore
from filterd.errors import StoreError
from filterd.history import record
from filterd.history.record import Record, clean
from filterd.history.tables import BY_FLOOR, COUNTED, HOUR, KEPT, RECIPIENTS, ROWS, STATE, TABLES, WRITERS
from filterd.history.textsearch import TextSearch

SCHEMA = 1
DAY_S = 86_400.0
MAX_PRUNED = 8_000  # rows deleted in one transaction: half a second, which writers wait for


class MessageContent(NamedTuple):
    """What is kept of a message besides its row. features: packed, of the memory; text: canonical or None."""

    features: bytes
    text: str | None


class Search(NamedTuple):
    """What a row has to fulfil; None and "" are no conditions. since, until: seconds since 1970.

    to, sender: keyed hashes. text: in the name, the sender, the recipients or the subject, without case.
    mine: hashes of the recipients whose mail may be seen, None for all mail. below: only smaller numbers.
    """

    since: float | None = None
    until: float | None = None
    label: Label | None = None
    kind: Kind | None = None
    to: str = ""
    sender: str = ""
    text: str = ""
    mine: tuple[str, ...] | None = None
    below: int | None = None
    above: int | None = None


class HourlyCount(NamedTuple):
    """Messages of one hour and kind with the same label and stage. hour: since 1970."""

    hour: int
    kind: str
    label: str
    settled: str
    messages: int
    ms: float  # all together


class Change(NamedTuple):
    """Messages that were labelled `now` and would have been `then`. corrected: what people said of them."""

    now: str
    then: str
    corrected: str | None
    messages: int


class HistoryStore(DatabaseStore):
    """Rows in a database. Its methods may be called from many threads; all raise StoreError."""

    def __init__(self, database: Database) -> None:
        self._texts = TextSearch(database)
        super().__init__(database)

    @classmethod
    def open(cls, where: str | Path) -> Self:
        """Open or create: a path, `sqlite:///path` or `postgresql://…`. Raises ConfigError too."""
        return cls(Database(where))

    def enter(self) -> int:
        """A number for who is about to write, given to nobody else until WRITERS others have come."""
        after = (WRITERS.c.last + 1) % record.WRITERS
        with self._database.writing() as connection:
            return int(
                connection.execute(WRITERS.update().values(last=after).returning(WRITERS.c.last)).scalar_one()
            )

    def add(self, rows: Sequence[tuple[Record, MessageContent | None]]) -> None:
        """Write rows in one transaction."""
        if not rows:
            return
        concerned = [{"key": key, "number": row.number} for row, _ in rows for key in row.recipient_keys]
        kept = [{"number": row.number} | one._asdict() for row, one in rows if one]
        with self._database.writing() as connection:
            connection.execute(ROWS.insert(), [_values(row) for row, _ in rows])
            for table, values in ((RECIPIENTS, concerned), (KEPT, kept)):
                if values:
                    connection.execute(table.insert(), values)

    def search(self, wanted: Search, limit: int) -> list[Record]:
        """The newest rows that fulfil a search; with `above` the ones next to it. Newest first."""
        forward = wanted.above is not None
        order = ROWS.c.number if forward else ROWS.c.number.desc()
        query = sql.select(ROWS).where(*_conditions(wanted)).order_by(order).limit(limit)
        with self._database.reading() as connection:
            if text := clean(wanted.text):
                query = query.where(self._texts.condition(connection, text))
            rows = [_record(row) for row in connection.execute(query)]
        return rows[::-1] if forward else rows

    def get(self, number: int) -> Record | None:
        """One row with the hashes of its recipients."""
        keys = sql.select(RECIPIENTS.c.key).where(RECIPIENTS.c.number == number)
        with self._database.reading() as connection:
            row = connection.execute(sql.select(ROWS).where(ROWS.c.number == number)).first()
            found = tuple(connection.execute(keys).scalars()) if row else ()
        return msgspec.structs.replace(_record(row), recipient_keys=found) if row else None

    def kept(self, number: int) -> MessageContent | None:
        """What makes a message correctable; None once it is too old."""
        query = sql.select(KEPT.c.features, KEPT.c.text).where(KEPT.c.number == number)
        with self._database.reading() as connection:
            row = connection.execute(query).first()
        return MessageContent(row.features, row.text) if row else None

    def find(self, *, name: str = "", message_key: str = "", content_hash: str = "") -> Record | None:
        """The newest row of a caller's id, of a Message-ID's hash or of a content hash."""
        given = {"name": name, "message_key": message_key, "content_hash": content_hash}
        conditions = [ROWS.c[column] == value for column, value in given.items() if value]
        query = (
            sql.select(ROWS.c.number).where(sql.or_(sql.false(), *conditions)).order_by(ROWS.c.number.desc())
        )
        with self._database.reading() as connection:
            number = connection.execute(query.limit(1)).scalar() if conditions else None
        return self.get(number) if number is not None else None

    def corrected(self, number: int, label: Label | None) -> None:
        """Note what a person said of a message; None once it is taken back."""
        with self._database.writing() as connection:
            here = ROWS.update().where(ROWS.c.number == number)
            connection.execute(here.values(corrected=label.value if label else None))

    def counts(self, since: float, mine: tuple[str, ...] | None = None) -> list[HourlyCount]:
        """Messages by hour, kind, label and stage, from the hour of `since` (seconds since 1970) on."""
        by = (HOUR, ROWS.c.kind, ROWS.c.label, ROWS.c.settled)
        query = sql.select(*by, sql.func.count(), sql.func.sum(ROWS.c.ms)).group_by(*by)
        query = query.where(int(since // 3600) <= HOUR, *_conditions(Search(mine=mine)))
        with self._database.reading() as connection:
            return [HourlyCount(*row) for row in connection.execute(query)]

    def preview(self, kind: Kind, *, unsure: float, spam: float, since: float) -> list[Change]:
        """How many messages each label would have had by other thresholds, by label and correction."""
        c = ROWS.c
        then = sql.case((c.probability >= spam, "spam"), (c.probability >= unsure, "unsure"), else_="ham")
        by = (c.label, then.label("then"), c.corrected)
        judged = (c.available, c.settled.notin_(record.BY_RULE))
        query = sql.select(*by, sql.func.count()).where(*_conditions(Search(since=since, kind=kind)), *judged)
        with self._database.reading() as connection:
            return [Change(*row) for row in connection.execute(query.group_by(*by))]

    def size(self) -> int:
        """How many rows there are."""
        with self._database.reading() as connection:
            return int(connection.execute(sql.select(sql.func.count()).select_from(ROWS)).scalar_one())

    def prune(self, *, days: float, max_rows: int, correctable: int) -> int:
        """Apply the retention: MAX_PRUNED rows at most, so call it until it returns 0."""
        last = self._nth(ROWS, max_rows)
        oldest = max(record.at(time.time() - days * DAY_S), last + 1)
        gone = sql.select(ROWS.c.number).where(ROWS.c.number < oldest).order_by(ROWS.c.number)
        with self._database.writing() as connection:
            until = connection.execute(gone.offset(MAX_PRUNED).limit(1)).scalar()
            for table in (RECIPIENTS, KEPT):
                connection.execute(table.delete().where(table.c.number < (until or oldest)))
            dropped = connection.execute(ROWS.delete().where(ROWS.c.number < (until or oldest))).rowcount
        beyond = self._nth(KEPT, correctable)
        with self._database.writing() as connection:
            connection.execute(KEPT.delete().where(KEPT.c.number <= beyond))
        return int(dropped)

    def catch_up(self) -> int:
        """Take rows into the index of texts: call it until it returns 0, and after AT_ONCE more rows."""
        return self._texts.catch_up()

    def make_index(self) -> int:
        """Make PostgreSQL's index of texts, in a thread of its own; how many rows it took in."""
        return self._texts.make_in_postgresql()

    def _prepare(self) -> None:
        with self._database.preparing() as connection:
            _create(connection)
            found = connection.execute(sql.select(STATE.c.schema)).scalar_one_or_none()
            if found == SCHEMA:
                self._texts.prepare(connection)
        if found != SCHEMA:
            raise StoreError(
                f"{self._database.name}: history of schema {found}, this filterd has {SCHEMA}; move it away"
            )

    def _nth(self, table: sql.Table, place: int) -> int:
        """The number at a place from the newest, -1 where there are fewer."""
        query = sql.select(table.c.number).order_by(table.c.number.desc()).offset(place).limit(1)
        with self._database.reading() as connection:
            found = connection.execute(query).scalar()
        return -1 if found is None else int(found)


def _conditions(wanted: Search) -> list[sql.ColumnElement[bool]]:
    c = ROWS.c
    given: list[tuple[object, sql.ColumnElement[bool]]] = [
        (wanted.since is not None, c.number >= record.at(wanted.since or 0)),
        (wanted.until is not None, c.number < record.at(wanted.until or 0)),
        (wanted.below is not None, c.number < (wanted.below or 0)),
        (wanted.above is not None, c.number > (wanted.above or 0)),
        (wanted.label, c.label == str(wanted.label)),
        (wanted.kind, c.kind == str(wanted.kind)),
        (wanted.sender, c.sender_key == wanted.sender),
    ]
    found = [condition for holds, condition in given if holds]
    if wanted.to:
        found.append(_concerns((wanted.to,)))
    if wanted.mine is not None:
        found.append(_concerns(wanted.mine))
    return found


def _concerns(keys: tuple[str, ...]) -> sql.ColumnElement[bool]:
    return ROWS.c.number.in_(sql.select(RECIPIENTS.c.number).where(RECIPIENTS.c.key.in_(keys)))


def _values(row: Record) -> dict[str, Any]:
    values: dict[str, Any] = msgspec.to_builtins(row)
    del values["recipient_keys"]
    return values | {"tests": " ".join(row.tests)}


def _record(row: sql.Row[Any]) -> Record:
    values = row._asdict()
    corrected = Label(row.corrected) if row.corrected else None
    typed = {"kind": Kind(row.kind), "label": Label(row.label), "corrected": corrected}
    return Record(**values | typed | {"tests": tuple(row.tests.split()), "available": bool(row.available)})


def _create(connection: Connection) -> None:
    if not sql.inspect(connection).has_table(STATE.name):
        TABLES.create_all(connection)
        connection.execute(STATE.insert().values(schema=SCHEMA))
    if not sql.inspect(connection).has_table(WRITERS.name):
        WRITERS.create(connection)
        connection.execute(WRITERS.insert().values(last=0))
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql(f"DROP INDEX IF EXISTS {BY_FLOOR}")
        connection.execute(CreateIndex(COUNTED, if_not_exists=True))
