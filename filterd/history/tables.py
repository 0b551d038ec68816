"""The history's tables.

Rows are in the order of their numbers, which is that of time, so a search by time reads a range of the
primary key. What makes a message correctable without its text (its hashed features), and its text where that
is kept, lie in a table of their own, so that looking through the rows does not read them.
"""

import sqlalchemy as sql
from sqlalchemy import Column

from filterd.history.record import at

TABLES = sql.MetaData()
ROWS = sql.Table(
    "filterd_history",
    TABLES,
    Column("number", sql.BigInteger, primary_key=True, autoincrement=False),
    Column("time", sql.Double, nullable=False),
    Column("kind", sql.String(8), nullable=False),
    Column("label", sql.String(8), nullable=False),
    Column("settled", sql.String(16), nullable=False),
    Column("available", sql.Boolean, nullable=False),
    Column("ms", sql.Double, nullable=False),
    Column("probability", sql.Double, nullable=False),
    Column("points", sql.Double, nullable=False),
    Column("unsure", sql.Double, nullable=False),
    Column("spam", sql.Double, nullable=False),
    Column("size", sql.BigInteger, nullable=False),
    Column("corrected", sql.String(8)),
    Column("listener", sql.Text, nullable=False),
    Column("action", sql.Text, nullable=False),
    Column("name", sql.Text, nullable=False, index=True),
    Column("message_key", sql.String(32), nullable=False, index=True),
    Column("content_hash", sql.String(64), nullable=False, index=True),
    Column("sender_key", sql.String(32), nullable=False, index=True),
    Column("tests", sql.Text, nullable=False),
    Column("bundle", sql.Text, nullable=False),
    Column("sender", sql.Text, nullable=False),
    Column("recipients", sql.Text, nullable=False),
    Column("subject", sql.Text, nullable=False),
)
# A literal, or no index is found by it; with its type, or the quotient is a call of FLOOR and a float.
HOUR = ROWS.c.number // sql.literal_column(str(at(3600.0)), sql.BigInteger)
COUNTED = sql.Index(  # PostgreSQL would not use it
    "filterd_history_by_hour", HOUR, *(ROWS.c[name] for name in ("kind", "label", "settled", "ms"))
)
COUNTED.ddl_if(dialect="sqlite")
BY_FLOOR = "filterd_history_hours"  # its predecessor called FLOOR, which not every SQLite has
RECIPIENTS = sql.Table(
    "filterd_history_recipients",
    TABLES,
    Column("key", sql.String(32), primary_key=True),
    Column("number", sql.BigInteger, primary_key=True, autoincrement=False),
    sql.Index("filterd_history_recipients_number", "number"),
)
KEPT = sql.Table(
    "filterd_history_kept",
    TABLES,
    Column("number", sql.BigInteger, primary_key=True, autoincrement=False),
    Column("features", sql.LargeBinary, nullable=False),
    Column("text", sql.Text),
)
# The last writer's number (`record.RecordNumbers`); it came after schema 1 and is added where it is missing.
WRITERS = sql.Table("filterd_history_writers", sql.MetaData(), Column("last", sql.Integer, primary_key=True))
STATE = sql.Table("filterd_history_state", TABLES, Column("schema", sql.Integer, primary_key=True))
