"""The daemons on one store: each says from time to time that it is there, so that every one knows the others.

A name is the host, the state folder and its identity, so a daemon that was restarted takes its own row again,
and one whose host is called otherwise now (a container that was made anew) removes the row of its old name.
"""

import socket
import time
from pathlib import Path
from typing import Final, NamedTuple, Self

import sqlalchemy as sql
from sqlalchemy import Column

from filterd.config import Config
from filterd.corrections.database import Database, DatabaseStore
from filterd.history.recorder import identity

EVERY_S: Final = 30.0  # between two signs of life
GONE_S: Final = 120.0  # without one it is shown as silent
MAX_NAME: Final = 400  # characters; of a host 253, and of a path what is left
FORGOTTEN_S: Final = 7 * 86_400.0

_TABLES = sql.MetaData()
_ROSTER = sql.Table(
    "filterd_daemons",
    _TABLES,
    Column("name", sql.String(MAX_NAME), primary_key=True),
    Column("version", sql.Text, nullable=False),
    Column("model", sql.Text, nullable=False),
    Column("started", sql.Double, nullable=False),
    Column("judged", sql.BigInteger, nullable=False),
    Column("seen", sql.Double, nullable=False),
)


class Peer(NamedTuple):
    """A daemon as it was last seen. Times: seconds since 1970; judged: messages since its start."""

    name: str
    version: str
    model: str
    started: float
    judged: int
    seen: float = 0.0

    @property
    def silent(self) -> bool:
        """Whether it has not been heard of for too long."""
        return time.time() - self.seen > GONE_S


class Roster(DatabaseStore):
    """Who is there. Its methods may be called from many threads; all raise StoreError."""

    TABLES = _TABLES

    def __init__(self, database: Database, state: Path, own: str) -> None:
        """own: the state folder's identity."""
        super().__init__(database)
        self._identity = f" {own}"
        self.name = f"{socket.gethostname()}:{state}"[: MAX_NAME - len(self._identity)] + self._identity

    @classmethod
    def open(cls, config: Config) -> Self:
        """In the database of the corrections. Raises ConfigError too."""
        state = Path(config.state)
        return cls(Database(config.feedback_url), state, identity(state))

    def announce(self, *, version: str, model: str, started: float, judged: int) -> None:
        """Say that this daemon is there; who was silent for long is forgotten."""
        now = time.time()
        row = Peer(
            name=self.name, version=version, model=model, started=started, judged=judged, seen=now
        )._asdict()
        with self._database.writing() as connection:
            made = self._database.insert(_ROSTER).values(row)
            connection.execute(made.on_conflict_do_update(index_elements=["name"], set_=row))
            connection.execute(_ROSTER.delete().where(_ROSTER.c.seen < now - FORGOTTEN_S))
            renamed = (_ROSTER.c.name.endswith(self._identity), _ROSTER.c.name != self.name)
            connection.execute(_ROSTER.delete().where(*renamed))

    def others(self) -> list[Peer]:
        """All but this one, by name."""
        query = sql.select(_ROSTER).where(_ROSTER.c.name != self.name).order_by(_ROSTER.c.name)
        with self._database.reading() as connection:
            return [Peer(*row) for row in connection.execute(query)]
