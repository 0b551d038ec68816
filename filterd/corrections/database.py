"""A SQL database that is opened safely and speaks in one-line errors; SQLite or PostgreSQL.

SQLite: WAL, so that readers never wait for a writer, and synchronous=FULL, so that a commit is on the disk
when it returns. Write transactions begin with BEGIN IMMEDIATE: waiting for the lock at the start is bounded
by a time-out, upgrading a read lock later fails at once. The file is created 0600, its folder 0700.
PostgreSQL: the server's own durability, with synchronous_commit not left off.
"""

import contextlib
import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Self

from sqlalchemy import (
    Connection,
    Engine,
    MetaData,
    Table,
    create_engine,
    event,
    func,
    inspect,
    make_url,
    select,
    text,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError

from filterd.errors import ConfigError, StoreError
from filterd.kit.disk import give_to_owner

LOCK_TIMEOUT_S = 10  # a commit takes milliseconds; who holds a lock for longer is stuck
CHANNEL = "filterd_corrections"  # of LISTEN and NOTIFY
PREPARING = 0x66696C74  # the advisory lock of who makes tables; any number that is ours
CONNECT_TIMEOUT_S = 5  # to a PostgreSQL in the same data centre; a mail server waits behind this

_SQLITE_ADVICE = {
    sqlite3.SQLITE_FULL: "no space left on the disk; free some",
    sqlite3.SQLITE_BUSY: f"locked by another program for {LOCK_TIMEOUT_S} s; try again",
    sqlite3.SQLITE_LOCKED: f"locked by another program for {LOCK_TIMEOUT_S} s; try again",
    sqlite3.SQLITE_READONLY: "may not be written; check its owner and mode and those of its folder",
    sqlite3.SQLITE_PERM: "may not be opened; check its owner and mode and those of its folder",
    sqlite3.SQLITE_CANTOPEN: "cannot be opened; check its owner and mode and those of its folder",
    sqlite3.SQLITE_CORRUPT: "damaged; move it away and import your last export",
    sqlite3.SQLITE_NOTADB: "no SQLite database; move it away or name another file",
}


class Database:
    """Connections to one database. Safe to use from many threads."""

    def __init__(self, where: str | Path, *, create: bool = True) -> None:
        """where: a path, `sqlite:///path` or `postgresql://…`. create: the file, where there is none.

        Raises ConfigError, StoreError.
        """
        url = _url(where)
        self.name = url.database or str(url) if url.drivername == "sqlite" else url.render_as_string()
        self._file = Path(url.database or "") if url.drivername == "sqlite" else None
        if self._file and create:
            _create_private(self._file)
        try:
            self.engine = create_engine(url, pool_pre_ping=url.drivername != "sqlite", **_options(url))
        except ModuleNotFoundError as error:
            raise ConfigError(f"{self.name}: needs psycopg; install filterd[postgres]") from error
        if url.drivername == "sqlite":
            event.listen(self.engine, "connect", _prepare_sqlite)
            event.listen(self.engine, "begin", _begin_sqlite)
        else:
            event.listen(self.engine, "connect", _prepare_postgresql)

    def has_table(self, name: str) -> bool:
        """Whether the database is there and has a table of this name. Raises StoreError."""
        if self._file and not self._file.exists():
            return False
        with self.reading() as connection:
            return inspect(connection).has_table(name)

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection whose statements see one state. Raises StoreError."""
        with self._translated(), self.engine.begin() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction: durable when the block has ended, void when it raised. Raises StoreError."""
        with self._translated(), self.engine.connect() as connection:
            connection.execution_options(filterd_writing=True)
            with connection.begin():
                yield connection

    @contextmanager
    def preparing(self) -> Iterator[Connection]:
        """A `writing` that makes or changes tables: two daemons may start at once. Raises StoreError."""
        with self.writing() as connection:
            if connection.dialect.name == "postgresql":  # SQLite's writers wait for each other anyway
                connection.execute(select(func.pg_advisory_xact_lock(PREPARING)))
            yield connection

    @contextmanager
    def altering(self) -> Iterator[Connection]:
        """A connection of PostgreSQL for what takes long, closed afterwards. Raises StoreError.

        Each statement is a transaction of its own, and waits for others for as long as they take.
        """
        with self._translated(), self.engine.connect() as connection:
            alone = connection.execution_options(isolation_level="AUTOCOMMIT")
            alone.detach()
            alone.exec_driver_sql("SET lock_timeout = 0")
            yield alone

    def insert(self, table: Table) -> postgresql.Insert | sqlite.Insert:
        """An insertion that can say what is done where a row is there already."""
        if self.engine.dialect.name == "postgresql":
            return postgresql.insert(table)
        return sqlite.insert(table)

    def notify(self, connection: Connection) -> None:
        """Tell whoever listens, once this transaction is over; PostgreSQL alone can."""
        if connection.dialect.name == "postgresql":
            connection.execute(text(f"NOTIFY {CHANNEL}"))

    def news(self) -> "ChangeListener":
        """What waits until somebody else has written."""
        return ChangeListener(self.engine)

    def close(self) -> None:
        """Close all connections; the next use opens new ones."""
        self.engine.dispose()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except SQLAlchemyError as error:
            raise StoreError(f"{self.name}: {_advice(error)}") from error


class DatabaseStore:
    """What keeps rows in tables of its own. Opened where its tables can be made or read, closed where not."""

    TABLES: ClassVar[MetaData]

    def __init__(self, database: Database) -> None:
        """Raises StoreError."""
        self._database = database
        try:
            self._prepare()
        except BaseException:
            database.close()
            raise

    def close(self) -> None:
        """Close the connections."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _prepare(self) -> None:
        """Make what is missing."""
        with self._database.preparing() as connection:
            self.TABLES.create_all(connection)


class ChangeListener:
    """A connection of its own on which PostgreSQL says that something was written. Used by one thread.

    SQLite has nothing like it, and a message may be lost while the server is away: whoever waits looks for
    himself after a while.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._connection: Any = None

    def wait(self, seconds: float, ending: threading.Event) -> None:
        """Until something was written, the end has come or so many seconds have passed. Never raises."""
        if self._engine.dialect.name != "postgresql":
            ending.wait(seconds)
            return
        try:
            self._connection = self._connection or self._listening()
            for _ in self._connection.notifies(timeout=seconds, stop_after=1):
                pass
        except (SQLAlchemyError, self._engine.dialect.loaded_dbapi.Error):
            self.close()
            ending.wait(seconds)

    def close(self) -> None:
        """Listen no more."""
        if self._connection is not None:
            with contextlib.suppress(self._engine.dialect.loaded_dbapi.Error):
                self._connection.close()
        self._connection = None

    def _listening(self) -> Any:
        pooled = self._engine.raw_connection()
        connection: Any = pooled.driver_connection
        pooled.detach()  # it is not given back, and no transaction may be open while it listens
        try:
            connection.autocommit = True
            connection.execute(f"LISTEN {CHANNEL}")
        except self._engine.dialect.loaded_dbapi.Error:
            connection.close()
            raise
        return connection


def _url(where: str | Path) -> URL:
    given = str(where)
    if "://" not in given:
        return URL.create("sqlite", database=given)
    try:
        url = make_url(given)
    except ArgumentError as error:
        raise ConfigError(f"{given.split('://', 1)[0]}://…: no URL of sqlite or postgresql") from error
    backend = {"postgres": "postgresql"}.get(url.get_backend_name(), url.get_backend_name())
    if backend not in ("sqlite", "postgresql") or (backend == "sqlite" and not url.database):
        raise ConfigError(f"{url.render_as_string()}: no URL of sqlite (with a path) or postgresql")
    return url.set(drivername="sqlite" if backend == "sqlite" else "postgresql+psycopg")


def _options(url: URL) -> dict[str, Any]:
    if url.drivername == "sqlite":
        return {"connect_args": {"timeout": LOCK_TIMEOUT_S, "isolation_level": None}}
    return {"connect_args": {"connect_timeout": CONNECT_TIMEOUT_S}}


def _create_private(path: Path) -> None:
    """The file with mode 0600, before SQLite would make it with another; WAL files get the same."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            try:
                give_to_owner(descriptor, path.parent)
            finally:
                os.close(descriptor)
        except FileExistsError:
            if path.stat().st_uid == os.geteuid() and path.stat().st_mode & 0o077:
                path.chmod(0o600)
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror}; check the folder's owner, mode and space") from error


def _prepare_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    if connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
        connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")


def _prepare_postgresql(connection: Any, _record: object) -> None:
    connection.execute("SET synchronous_commit = on")
    connection.execute(f"SET lock_timeout = '{LOCK_TIMEOUT_S}s'")
    connection.commit()


def _begin_sqlite(connection: Connection) -> None:
    writing = connection.get_execution_options().get("filterd_writing")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")


def _advice(error: SQLAlchemyError) -> str:
    """What happened, as one line for people."""
    cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    code = getattr(cause, "sqlite_errorcode", None)
    if code is not None and code & 0xFF in _SQLITE_ADVICE:  # the low byte is the primary code
        return _SQLITE_ADVICE[code & 0xFF]
    return f"{(str(cause).splitlines() or [''])[0] or type(cause).__name__}; see the database's log"
