"""The store's tables, how a correction lies in them, and how those of an older filterd are renewed.

Schema 1 had one correction a message, whoever said so, and features that are of no use any more. `migrate`
makes each the site's own word (owner "") and gives it features of its text, where that was kept; the others
stay for retraining's counts and have no effect until somebody corrects the message again.
"""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import sqlalchemy as sql
from sqlalchemy import Column, Connection

from filterd.api import Kind, Label
from filterd.corrections.correction import Correction, old_features

SCHEMA = 2
PAGE = 200  # corrections read or written at a time: 2 MB of features and text, below SQLite's 999 variables
MAX_TEXT = 65_536  # characters; the model reads far fewer
MAX_NAME = 998  # characters of an id or source, as of a header line
FORGOTTEN = "none"  # label of a correction that was taken back

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_OLD = "filterd_corrections_1"  # what the table of schema 1 is called while it is read

TABLES = sql.MetaData()
ROWS = sql.Table(
    "filterd_corrections",
    TABLES,
    Column("content_hash", sql.String(64), primary_key=True),
    Column("owner", sql.String(254), primary_key=True),
    Column("number", sql.BigInteger, nullable=False, unique=True),
    Column("label", sql.String(8), nullable=False),
    Column("kind", sql.String(8), nullable=False),
    Column("features", sql.LargeBinary, nullable=False),
    Column("time", sql.BigInteger, nullable=False, index=True),  # microseconds since 1970, UTC
    Column("text", sql.Text),
    Column("verdict", sql.String(8)),
    Column("probability", sql.Double),
    Column("model", sql.Double),
    Column("bundle", sql.Text, nullable=False),
    Column("source", sql.Text, nullable=False),
    Column("message_id", sql.Text, nullable=False),
    Column("changes", sql.Integer, nullable=False),
    sql.Index("filterd_corrections_owner", "owner"),
)
STATE = sql.Table(
    "filterd_state",
    TABLES,
    Column("schema", sql.Integer, primary_key=True),
    Column("revision", sql.BigInteger, nullable=False),
    Column("rewritten", sql.BigInteger, nullable=False),
    Column("retrained", sql.BigInteger, nullable=False),
    Column("retrained_bundle", sql.Text, nullable=False),
)


def create(connection: Connection) -> None:
    """Make the tables of an empty store, if nobody else has meanwhile; `Database.preparing`, as `migrate`."""
    if not sql.inspect(connection).has_table(STATE.name):
        TABLES.create_all(connection)
        none = {"revision": 0, "rewritten": 0, "retrained": 0, "retrained_bundle": ""}
        connection.execute(STATE.insert().values(schema=SCHEMA, **none))


def migrate(connection: Connection) -> tuple[int, int]:
    """Bring a store of schema 1 to this one, within one transaction: how many corrections, and how many of
    them have features again. (0, 0) where somebody else did so meanwhile."""
    if connection.execute(sql.select(STATE.c.schema)).scalar_one() != 1:
        return 0, 0
    connection.execute(sql.text("DROP INDEX ix_filterd_corrections_time"))
    connection.execute(sql.text(f"ALTER TABLE {ROWS.name} RENAME TO {_OLD}"))
    ROWS.create(connection)
    counts = _renew(connection)
    connection.execute(sql.text(f"DROP TABLE {_OLD}"))
    revision = connection.execute(sql.select(STATE.c.revision)).scalar_one() + 1
    connection.execute(STATE.update().values(schema=SCHEMA, revision=revision, rewritten=revision))
    return counts


def _renew(connection: Connection) -> tuple[int, int]:
    names = [column.name for column in ROWS.columns if column.name not in ("owner", "model")]
    old = sql.table(_OLD, *(sql.column(name, ROWS.c[name].type) for name in names))
    wanted = sql.select(old).order_by(old.c.number).limit(PAGE)
    last, total, renewed = 0, 0, 0
    while rows := connection.execute(wanted.where(old.c.number > last)).all():
        known = [
            row._asdict()
            | {"owner": "", "features": old_features(row.content_hash, row.text, Kind(row.kind))}
            for row in rows
        ]
        connection.execute(ROWS.insert(), known)
        last, total = rows[-1].number, total + len(rows)
        renewed += sum(bool(row.text) for row in rows)
    return total, renewed


def row_of(correction: Correction) -> dict[str, Any]:
    """The columns of a correction."""
    text = correction.text
    return msgspec.structs.asdict(correction) | {
        "label": correction.label.value,
        "kind": correction.kind.value,
        "verdict": correction.verdict and correction.verdict.value,
        "time": microseconds(correction.time),
        "text": None if text is None else storable(text, MAX_TEXT),
        "bundle": storable(correction.bundle, MAX_NAME),
        "owner": storable(correction.owner, 254),
        "source": storable(correction.source, MAX_NAME),
        "message_id": storable(correction.message_id, MAX_NAME),
    }


def correction_of(row: sql.Row[Any]) -> Correction:
    """The correction of a row. Raises ValueError where it is damaged."""
    given = {
        "label": Label.HAM if row.label == FORGOTTEN else Label(row.label),
        "kind": Kind(row.kind),
        "verdict": row.verdict and Label(row.verdict),
        "time": datetime_of(row.time),
    }
    return Correction(**row._asdict() | given)


def storable(text: str, length: int) -> str:
    """Text that both databases take: PostgreSQL refuses NUL, both refuse lone surrogates."""
    return text[:length].replace("\0", "").encode("utf-8", "replace").decode()


def microseconds(time: datetime) -> int:
    """Since 1970."""
    return (time - _EPOCH) // _MICROSECOND


def datetime_of(microseconds: int) -> datetime:
    """The inverse."""
    return _EPOCH + microseconds * _MICROSECOND
