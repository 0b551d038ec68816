"""Finds rows of the history by a part of what is in them, by an index of all that is three characters long.

SQLite: an FTS5 table that holds the rows below a number. `catch_up` moves that on by thousands of rows at a
time, as adding each when it comes takes three times the CPU; triggers keep what is below it right, whoever
writes. The newest rows, words of fewer than three characters, and all rows where this Python's SQLite has no
FTS5, are looked at one by one: 1.3 us each.
PostgreSQL: an index by its extension pg_trgm, where this user may create that.
"""

from typing import Final

import sqlalchemy as sql
from sqlalchemy import Connection
from sqlalchemy.exc import NotSupportedError, ProgrammingError

from filterd.corrections.database import Database
from filterd.history.tables import ROWS
from filterd.log import log

SHORTEST: Final = 3  # characters that an index knows
AT_ONCE: Final = 5_000  # rows added in one transaction: 0.3 s, which writers wait for
INDEXING: Final = 0x66696C75  # the advisory lock of who makes the index; any number that is ours

# Of a row all that is searched, in lines: no search is longer than one.
_TEXT: Final = sql.literal_column(
    "name || '\n' || sender || '\n' || recipients || '\n' || subject || '\n' || tests", sql.Text
)
_INDEX: Final = sql.table(
    "filterd_history_texts", *map(sql.column, ("rowid", "words", "filterd_history_texts"))
)
_ALL: Final = _INDEX.c[_INDEX.name]  # what FTS5 calls the whole of a row, and where it takes commands
_INDEXED: Final = sql.Table(
    "filterd_history_indexed", sql.MetaData(), sql.Column("below", sql.BigInteger, nullable=False)
)
_MAKE: Final = """CREATE VIRTUAL TABLE IF NOT EXISTS filterd_history_texts
USING fts5(words, content='', tokenize='trigram')"""
_TRIGGERS: Final = {
    "filterd_history_added": """CREATE TRIGGER filterd_history_added AFTER INSERT ON filterd_history
WHEN new.number < (SELECT below FROM filterd_history_indexed) BEGIN
INSERT INTO filterd_history_texts(rowid, words) VALUES (new.number, new.name || '\n' || new.sender || '\n'
|| new.recipients || '\n' || new.subject || '\n' || new.tests); END""",
    "filterd_history_gone": """CREATE TRIGGER filterd_history_gone AFTER DELETE ON filterd_history
WHEN old.number < (SELECT below FROM filterd_history_indexed) BEGIN
INSERT INTO filterd_history_texts(filterd_history_texts, rowid, words) VALUES ('delete', old.number,
old.name || '\n' || old.sender || '\n' || old.recipients || '\n' || old.subject || '\n' || old.tests); END""",
}
_VALID: Final = "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass('filterd_history_texts')"
_TRIGRAMS_IN_POSTGRESQL: Final = "CREATE EXTENSION IF NOT EXISTS pg_trgm"
_MAKE_IN_POSTGRESQL: Final = """CREATE INDEX CONCURRENTLY filterd_history_texts ON filterd_history USING gin
((name || '\n' || sender || '\n' || recipients || '\n' || subject || '\n' || tests) gin_trgm_ops)"""


class TextSearch:
    """Of one database. Its methods may be called from many threads; all raise StoreError."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def prepare(self, connection: Connection) -> None:
        """Make the index in SQLite, or take it out of use where this SQLite could not keep it up to date."""
        if connection.dialect.name != "sqlite":
            return
        if not _has_fts5(connection):
            for name in _TRIGGERS:
                connection.exec_driver_sql(f"DROP TRIGGER IF EXISTS {name}")
            _INDEXED.drop(connection, checkfirst=True)
        elif not sql.inspect(connection).has_table(_INDEXED.name):
            _make(connection)

    def condition(self, connection: Connection, text: str) -> sql.ColumnElement[bool]:
        """What a row fulfils that has a text, in upper or lower case. connection: of the search."""
        pattern = "%" + "".join(f"/{c}" if c in "/%_" else c for c in text) + "%"
        if connection.dialect.name != "sqlite":
            return _TEXT.ilike(pattern, escape="/")
        below = _below(connection) if len(text) >= SHORTEST else 0
        looked_at = _TEXT.like(pattern, escape="/")  # SQLite's LIKE takes no notice of case
        if not below:
            return looked_at
        phrase = '"' + text.replace('"', '""') + '"'
        indexed = sql.select(_INDEX.c.rowid).where(_ALL.op("MATCH")(phrase))
        return sql.or_(ROWS.c.number.in_(indexed), sql.and_(ROWS.c.number >= below, looked_at))

    def catch_up(self) -> int:
        """Add rows to the index if there are enough: call it until it returns 0, and after so many more."""
        if self._database.engine.dialect.name != "sqlite":
            return 0
        with self._database.writing() as connection:
            below = _below(connection)
            if below is None:
                return 0
            waiting = sql.select(ROWS.c.number).where(ROWS.c.number >= below).order_by(ROWS.c.number)
            last = connection.execute(waiting.offset(AT_ONCE - 1).limit(1)).scalar()
            if last is None:
                return 0
            added = sql.select(ROWS.c.number, _TEXT).where(ROWS.c.number.between(below, last))
            connection.execute(_INDEX.insert().from_select(["rowid", "words"], added))
            connection.execute(_INDEXED.update().values(below=last + 1))
        return AT_ONCE

    def make_in_postgresql(self) -> int:
        """Make the index without a lock that writers would wait for: minutes for millions of rows.

        Returns how many rows it took in, 0 where there is none to make.
        """
        if self._database.engine.dialect.name != "postgresql":
            return 0
        lock = sql.select(sql.func.pg_try_advisory_lock(INDEXING))  # until this connection ends
        with self._database.altering() as connection:
            if not connection.execute(lock).scalar() or connection.exec_driver_sql(_VALID).scalar():
                return 0  # another daemon is about it, or was
            return _fill(connection)


def _fill(connection: Connection) -> int:
    try:
        connection.exec_driver_sql(_TRIGRAMS_IN_POSTGRESQL)
    except (NotSupportedError, ProgrammingError):  # it is not installed, or not for this user to make
        log.info("history is searched without an index", extra={"fields": {"missing": "pg_trgm"}})
        return 0
    connection.exec_driver_sql("DROP INDEX IF EXISTS filterd_history_texts")  # one that was cut off
    connection.exec_driver_sql(_MAKE_IN_POSTGRESQL)
    return int(connection.execute(sql.select(sql.func.count()).select_from(ROWS)).scalar_one())


def _has_fts5(connection: Connection) -> bool:
    """Whether this SQLite can make and keep the index."""
    known = connection.exec_driver_sql("SELECT 1 FROM pragma_module_list WHERE name = 'fts5'").first()
    return known is not None


def _make(connection: Connection) -> None:
    """An empty index, and what keeps it right."""
    _INDEXED.create(connection)
    connection.execute(_INDEXED.insert().values(below=0))
    connection.exec_driver_sql(_MAKE)
    connection.execute(_INDEX.insert().values({_INDEX.name: "delete-all"}))
    for trigger in _TRIGGERS.values():
        connection.exec_driver_sql(trigger)


def _below(connection: Connection) -> int | None:
    """The number below which all rows are in the index; None where there is none in use."""
    if not sql.inspect(connection).has_table(_INDEXED.name):
        return None
    return int(connection.execute(sql.select(_INDEXED.c.below)).scalar_one())
