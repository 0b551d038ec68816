"""Lists and thresholds in the database of the corrections, so that daemons on one store share them."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

import msgspec
import sqlalchemy as sql
from sqlalchemy import Column

from filterd.api import Kind
from filterd.corrections.database import Database, DatabaseStore
from filterd.errors import BadInput
from filterd.policy.entry import EntryAction, EntryTarget, ListEntry
from filterd.scoring.verdict import Thresholds

MAX_ENTRIES: Final = 20_000  # of all lists; all are in memory, and a site has some hundreds

_TABLES = sql.MetaData()
_ENTRIES = sql.Table(
    "filterd_lists",
    _TABLES,
    Column("number", sql.Integer, primary_key=True),
    Column("do", sql.String(8), nullable=False),
    Column("what", sql.String(16), nullable=False),
    Column("value", sql.Text, nullable=False),
    Column("scope", sql.Text, nullable=False),
    Column("expires", sql.Double),
    Column("note", sql.Text, nullable=False),
    Column("by", sql.Text, nullable=False),
    Column("created", sql.Double, nullable=False),
    sql.UniqueConstraint("what", "value", "scope"),
)
_THRESHOLDS = sql.Table(
    "filterd_thresholds",
    _TABLES,
    Column("scope", sql.String(254), primary_key=True),
    Column("kind", sql.String(8), primary_key=True),
    Column("unsure", sql.Double, nullable=False),
    Column("spam", sql.Double, nullable=False),
)


class ThresholdRule(NamedTuple):
    """Thresholds of a scope ("" site, a domain, an address) and kind, in place of the bundle's."""

    scope: str
    kind: Kind
    thresholds: Thresholds


class PolicyStore(DatabaseStore):
    """What people set, in a database. Its methods may be called from many threads; all raise StoreError."""

    TABLES = _TABLES

    @classmethod
    def open(cls, where: str | Path) -> Self:
        """Open or create. Raises ConfigError too."""
        return cls(Database(where))

    def put(self, entry: ListEntry) -> None:
        """Keep an entry, in place of one of the same value and scope. Raises BadInput for one too many."""
        same = [_ENTRIES.c[name] == getattr(entry, name) for name in ("what", "value", "scope")]
        values: dict[str, Any] = msgspec.to_builtins(entry) | {"created": entry.created or time.time()}
        del values["number"]
        with self._database.writing() as connection:
            connection.execute(_ENTRIES.delete().where(*same))
            counted = connection.execute(sql.select(sql.func.count()).select_from(_ENTRIES)).scalar_one()
            if counted >= MAX_ENTRIES:
                raise BadInput(f"the lists hold {MAX_ENTRIES:,} entries already; remove some")
            connection.execute(_ENTRIES.insert().values(values))

    def get(self, number: int) -> ListEntry | None:
        """An entry by its number."""
        return next((entry for entry in self.entries() if entry.number == number), None)

    def remove(self, number: int) -> bool:
        """Take an entry away; False where there is none."""
        with self._database.writing() as connection:
            return connection.execute(_ENTRIES.delete().where(_ENTRIES.c.number == number)).rowcount > 0

    def entries(self) -> list[ListEntry]:
        """All entries, the newest first."""
        with self._database.reading() as connection:
            rows = connection.execute(sql.select(_ENTRIES).order_by(_ENTRIES.c.number.desc())).all()
        return [
            ListEntry(**row._asdict() | {"do": EntryAction(row.do), "what": EntryTarget(row.what)})
            for row in rows
        ]

    def set_thresholds(self, rule: ThresholdRule) -> None:
        """Set a scope's thresholds of a kind."""
        with self._database.writing() as connection:
            connection.execute(_THRESHOLDS.delete().where(*_same(rule.scope, rule.kind)))
            both = msgspec.to_builtins(rule.thresholds)
            values = {"scope": rule.scope, "kind": rule.kind.value} | both
            connection.execute(_THRESHOLDS.insert().values(values))

    def reset_thresholds(self, scope: str, kind: Kind) -> bool:
        """Go back to the bundle's; False where nothing was set."""
        with self._database.writing() as connection:
            return connection.execute(_THRESHOLDS.delete().where(*_same(scope, kind))).rowcount > 0

    def thresholds(self) -> Sequence[ThresholdRule]:
        """All that were set."""
        with self._database.reading() as connection:
            rows = connection.execute(sql.select(_THRESHOLDS).order_by(_THRESHOLDS.c.scope)).all()
        return [ThresholdRule(row.scope, Kind(row.kind), Thresholds(row.unsure, row.spam)) for row in rows]


def _same(scope: str, kind: Kind) -> tuple[sql.ColumnElement[bool], ...]:
    return (_THRESHOLDS.c.scope == scope, _THRESHOLDS.c.kind == kind.value)
