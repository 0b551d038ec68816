"""The index of held messages, in the database of the corrections: who waits for what, and what became of it.

A message is held for each of its recipients: one who has it released gets it, and the others' copies stay. A
row outlives its file as the trace of what became of it, until the retention is over.
"""

import time
from collections.abc import Sequence
from enum import StrEnum
from typing import Any, Final, NamedTuple

import msgspec
import sqlalchemy as sql
from sqlalchemy import Column

from filterd.api import Kind, Label
from filterd.corrections.database import Database, DatabaseStore
from filterd.history import record
from filterd.history.record import KeyedHashes, clean
from filterd.quarantine.files import HeldMail

DAY_S: Final = 86_400.0
MAX_SHOWN: Final = 100  # recipients of one message that are shown in a list
CLAIMED_S: Final = 900.0  # whoever releases has crashed: a copy is sent in 8 replies of 30 s at most
TOLD_AT_ONCE: Final = 1_000  # numbers of one statement; PostgreSQL takes 65,535
ORPHANED_DAYS: Final = 30.0  # beyond the retention: a living owner has pruned long before
MAX_PRUNED: Final = 5_000  # messages dropped in one transaction

_TABLES = sql.MetaData()
_ROWS = sql.Table(
    "filterd_quarantine",
    _TABLES,
    Column("number", sql.BigInteger, primary_key=True, autoincrement=False),
    Column("time", sql.Double, nullable=False),
    Column("host", sql.Text, nullable=False),
    Column("listener", sql.Text, nullable=False),
    Column("name", sql.Text, nullable=False),
    Column("sender", sql.Text, nullable=False),
    Column("subject", sql.Text, nullable=False),
    Column("kind", sql.String(8), nullable=False),
    Column("label", sql.String(8), nullable=False),
    Column("points", sql.Double, nullable=False),
    Column("size", sql.BigInteger, nullable=False),
    Column("kept", sql.Boolean, nullable=False),  # whether its file is still there
)
_PEOPLE = sql.Table(
    "filterd_quarantine_recipients",
    _TABLES,
    Column("key", sql.String(32), primary_key=True),
    Column("number", sql.BigInteger, primary_key=True, autoincrement=False),
    Column("address", sql.Text, nullable=False),
    Column("state", sql.String(16), nullable=False),
    Column("by", sql.Text, nullable=False),
    Column("at", sql.Double),
    Column("told", sql.Double),
    sql.Index("filterd_quarantine_recipients_number", "number"),
    sql.Index("filterd_quarantine_recipients_state", "state", "number"),
)


class QuarantineState(StrEnum):
    """What became of a message for one recipient. releasing: somebody sends it to him just now."""

    HELD = "held"
    RELEASING = "releasing"
    RELEASED = "released"
    DELETED = "deleted"


WAITING: Final = (QuarantineState.HELD, QuarantineState.RELEASING)  # nothing has become of it yet


class Recipient(NamedTuple):
    """One recipient of a held message.

    at: since when it is not held any more; told: when a digest named it.
    """

    key: str
    address: str
    state: QuarantineState
    by: str = ""
    at: float | None = None
    told: float | None = None


class QuarantineEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A row as it is shown; recipients: those that the asker may see."""

    number: int
    time: float
    host: str
    listener: str
    name: str
    sender: str
    subject: str
    kind: Kind
    label: Label
    points: float
    size: int
    kept: bool
    recipients: tuple[Recipient, ...] = ()

    @property
    def id(self) -> str:
        """What people call it by."""
        return record.encode(self.number)

    @property
    def held(self) -> bool:
        """Whether it can be released or deleted for somebody, of those that the asker may see."""
        return any(one.state is QuarantineState.HELD for one in self.recipients)


class QuarantineQuery(NamedTuple):
    """What a row has to fulfil. mine: keys of the recipients whose mail may be seen, None for everybody's.

    state: None for any; of held ones also those that are being released. to, sender: an address. text: in
    subject, sender or id. below, above: numbers.
    """

    state: QuarantineState | None = QuarantineState.HELD
    mine: tuple[str, ...] | None = None
    to: str = ""
    sender: str = ""
    text: str = ""
    below: int | None = None
    above: int | None = None


class QuarantineIndex(DatabaseStore):
    """Rows in a database. Its methods may be called from many threads; all raise StoreError."""

    TABLES = _TABLES

    def __init__(self, database: Database, keys: KeyedHashes, host: str) -> None:
        """host: whose files the rows made here are about; different for each state folder."""
        super().__init__(database)
        self._keys, self.host = keys, host

    def put(self, held: HeldMail) -> None:
        """Note a message whose file is there; nothing happens where it is known."""
        row = msgspec.to_builtins(held) | {"host": self.host, "kept": True}
        row |= {"sender": clean(held.sender), "subject": clean(held.subject), "name": clean(held.name)}
        del row["recipients"]
        people = {self._keys.address(one): one for one in held.recipients}
        with self._database.writing() as connection:
            fresh = (
                self._database.insert(_ROWS).values(row).on_conflict_do_nothing().returning(_ROWS.c.number)
            )
            if connection.execute(fresh).first() is None:
                return
            waiting = {"number": held.number, "state": QuarantineState.HELD.value, "by": ""}
            rows = [waiting | {"key": key, "address": clean(one)} for key, one in people.items()]
            if rows:
                connection.execute(_PEOPLE.insert(), rows)

    def known(self, numbers: Sequence[int]) -> dict[int, bool]:
        """Which of these have a row here, and whether its file should be there."""
        query = sql.select(_ROWS.c.number, _ROWS.c.kept).where(_ROWS.c.number.in_(numbers))
        with self._database.reading() as connection:
            return {row.number: bool(row.kept) for row in connection.execute(query)}

    def adopt(self, numbers: Sequence[int]) -> None:
        """Note that the files of these are here, whatever this host was called when they came."""
        theirs = (_ROWS.c.number.in_(numbers), _ROWS.c.host != self.host)
        with self._database.reading() as connection:
            found = list(connection.execute(sql.select(_ROWS.c.number).where(*theirs)).scalars())
        if found:
            with self._database.writing() as connection:
                change = _ROWS.update().where(_ROWS.c.number.in_(found)).values(host=self.host)
                connection.execute(change)

    def search(self, wanted: QuarantineQuery, limit: int) -> list[QuarantineEntry]:
        """The newest rows that fulfil it; with `above` the ones next to it. Newest first."""
        forward = wanted.above is not None
        order = _ROWS.c.number if forward else _ROWS.c.number.desc()
        query = sql.select(_ROWS).where(*self._conditions(wanted)).order_by(order).limit(limit)
        with self._database.reading() as connection:
            rows = list(connection.execute(query))
            found = [_entry(row, self._people(connection, row.number, wanted.mine)) for row in rows]
        return found[::-1] if forward else found

    def get(
        self, number: int, mine: tuple[str, ...] | None = None, *, whole: bool = False
    ) -> QuarantineEntry | None:
        """A row with the recipients that may be seen; None where there is none of those.

        whole: all of them, not only as many as are shown.
        """
        with self._database.reading() as connection:
            row = connection.execute(sql.select(_ROWS).where(_ROWS.c.number == number)).first()
            people = self._people(connection, number, mine, None if whole else MAX_SHOWN) if row else ()
        return _entry(row, people) if row and (people or mine is None) else None

    def claim(self, number: int, key: str, by: str) -> float | None:
        """Take one recipient's copy to send it; the claim, None where another has it or had it released.

        A claim that is older than CLAIMED_S is a crash's, and the copy is held again.
        """
        now = time.time()
        free = (_PEOPLE.c.state == QuarantineState.HELD) | _abandoned(now)
        change = _PEOPLE.update().where(_PEOPLE.c.number == number, _PEOPLE.c.key == key, free)
        with self._database.writing() as connection:
            said = {"state": QuarantineState.RELEASING.value, "by": clean(by), "at": now}
            taken = connection.execute(change.values(said)).rowcount
        return now if taken else None

    def give_back(self, number: int, key: str, claim: float) -> None:
        """It could not be sent: it is held again."""
        here = (
            _PEOPLE.c.number == number,
            _PEOPLE.c.key == key,
            _PEOPLE.c.state == QuarantineState.RELEASING,
        )
        self._hold_again(*here, _PEOPLE.c.at == claim)

    def give_back_abandoned(self) -> None:
        """What somebody was sending when he crashed is held again."""
        self._hold_again(_abandoned(time.time()))

    def _hold_again(self, *which: sql.ColumnElement[bool]) -> None:
        change = _PEOPLE.update().where(*which).values(state=QuarantineState.HELD.value, by="", at=None)
        with self._database.writing() as connection:
            connection.execute(change)

    def settle(self, number: int, key: str, state: QuarantineState, by: str) -> bool:
        """Note that a recipient got it, or that it was deleted. True: nobody waits for it any more.

        What is being sent is not deleted any more.
        """
        before = WAITING if state is QuarantineState.RELEASED else (QuarantineState.HELD,)
        row = sql.select(_ROWS.c.number).where(_ROWS.c.number == number)
        with self._database.writing() as connection:
            connection.execute(row.with_for_update())  # or of two at once neither is the last (PostgreSQL)
            here = (_PEOPLE.c.number == number, _PEOPLE.c.key == key, _PEOPLE.c.state.in_(before))
            said = {"state": state.value, "by": clean(by), "at": time.time()}
            connection.execute(_PEOPLE.update().where(*here).values(said))
            waits = sql.select(sql.func.count()).where(
                _PEOPLE.c.number == number, _PEOPLE.c.state.in_(WAITING)
            )
            if connection.execute(waits).scalar_one():
                return False
            connection.execute(_ROWS.update().where(_ROWS.c.number == number).values(kept=False))
        return True

    def untold(self, since: float) -> list[tuple[str, str, int]]:
        """Held messages that no digest has named: (address, key, number), by address and the newest first."""
        query = (
            sql.select(_PEOPLE.c.address, _PEOPLE.c.key, _PEOPLE.c.number)
            .where(
                _PEOPLE.c.state == QuarantineState.HELD,
                _PEOPLE.c.told.is_(None),
                _PEOPLE.c.number >= record.at(since),
            )
            .order_by(_PEOPLE.c.address, _PEOPLE.c.number.desc())
        )
        with self._database.reading() as connection:
            return [(row.address, row.key, row.number) for row in connection.execute(query)]

    def tell(self, key: str, numbers: Sequence[int]) -> None:
        """Note that a digest has named messages to a recipient."""
        change = _PEOPLE.update().where(_PEOPLE.c.key == key).values(told=time.time())
        with self._database.writing() as connection:
            for start in range(0, len(numbers), TOLD_AT_ONCE):
                some = _PEOPLE.c.number.in_(numbers[start : start + TOLD_AT_ONCE])
                connection.execute(change.where(some))

    def over(self, *, days: float, max_bytes: int) -> list[int]:
        """Numbers of the messages here that the retention no longer covers, by age and then by size.

        A row whose file is gone, or whose owner is, is nobody's any more: whoever looks drops it by its age.
        """
        c, now = _ROWS.c, time.time()
        orphaned = c.number < record.at(now - (days + ORPHANED_DAYS) * DAY_S)
        ours = (c.host == self.host) | ~c.kept | orphaned
        aged = sql.select(c.number).where(c.number < record.at(now - days * DAY_S), ours).limit(MAX_PRUNED)
        kept = sql.select(c.number, c.size).where(c.kept, c.host == self.host).order_by(c.number.desc())
        with self._database.reading() as connection:
            found = list(connection.execute(aged).scalars())
            total = 0
            for number, size in connection.execute(kept):
                total += size
                if total > max_bytes and len(found) < MAX_PRUNED:
                    found.append(number)
        return list(dict.fromkeys(found))

    def drop(self, numbers: Sequence[int]) -> None:
        """Forget messages."""
        with self._database.writing() as connection:
            for table in (_ROWS, _PEOPLE):  # in the order of `settle`, which would wait for us for ever
                connection.execute(table.delete().where(table.c.number.in_(numbers)))

    def total(self) -> tuple[int, int]:
        """Messages whose files are there, on all machines, and their bytes."""
        query = sql.select(sql.func.count(), sql.func.coalesce(sql.func.sum(_ROWS.c.size), 0)).where(
            _ROWS.c.kept
        )
        with self._database.reading() as connection:
            count, total = connection.execute(query).one()
        return int(count), int(total)

    def _people(
        self,
        connection: sql.Connection,
        number: int,
        mine: tuple[str, ...] | None,
        limit: int | None = MAX_SHOWN,
    ) -> tuple[Recipient, ...]:
        c = _PEOPLE.c
        query = sql.select(c.key, c.address, c.state, c.by, c.at, c.told).where(c.number == number)
        query = query if mine is None else query.where(c.key.in_(mine))
        rows = connection.execute(query.order_by(c.address).limit(limit))
        return tuple(Recipient(*row)._replace(state=QuarantineState(row.state)) for row in rows)

    def _conditions(self, wanted: QuarantineQuery) -> list[sql.ColumnElement[bool]]:
        c, people = _ROWS.c, sql.select(_PEOPLE.c.number).where(_PEOPLE.c.number == _ROWS.c.number)
        found: list[sql.ColumnElement[bool]] = []
        if wanted.below is not None:
            found.append(c.number < wanted.below)
        if wanted.above is not None:
            found.append(c.number > wanted.above)
        if wanted.sender:
            found.append(sql.func.lower(c.sender) == wanted.sender.strip("<> ").lower())
        if wanted.text:
            together = c.subject + "\n" + c.sender + "\n" + c.name  # one look at a row, not three
            found.append(together.icontains(wanted.text, autoescape=True))
        if wanted.mine is not None:
            people = people.where(_PEOPLE.c.key.in_(wanted.mine))
        if wanted.to:
            people = people.where(_PEOPLE.c.key == self._keys.address(wanted.to))
        if wanted.state:
            people = people.where(
                _PEOPLE.c.state.in_(WAITING if wanted.state is QuarantineState.HELD else (wanted.state,))
            )
        if wanted.mine is not None or wanted.to or wanted.state:
            found.append(people.exists())
        return found


def _abandoned(now: float) -> sql.ColumnElement[bool]:
    return sql.and_(_PEOPLE.c.state == QuarantineState.RELEASING, _PEOPLE.c.at < now - CLAIMED_S)


def _entry(row: sql.Row[Any], people: tuple[Recipient, ...]) -> QuarantineEntry:
    typed = {"kind": Kind(row.kind), "label": Label(row.label), "kept": bool(row.kept)}
    return QuarantineEntry(**row._asdict() | typed, recipients=people)
