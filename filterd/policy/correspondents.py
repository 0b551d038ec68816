"""Whom a user has written to, kept as keyed hashes of the pair: nobody can read from it who knows whom.

Mail from somebody whom all its recipients have written to, and who is proven to be the sender, is ham up to
a bound. Beyond that it is unsure at the worst: a friend's mailbox may have been broken into. Pairs that were
not renewed for long are forgotten, and the oldest beyond a number.
"""

import time
from collections.abc import Collection
from dataclasses import replace
from typing import Final, Self

import sqlalchemy as sql
from sqlalchemy import Column

from filterd.api import Kind, Label, Message, Verdict
from filterd.config import Config, Correspondents
from filterd.corrections.database import Database, DatabaseStore
from filterd.history.record import KeyedHashes
from filterd.policy.entry import Claims, claims
from filterd.policy.policy import labelled
from filterd.scoring.verdict import Thresholds

TEST: Final = "CORRESPONDENT"
MAX_WRITTEN: Final = 100  # recipients of one mail that are learned; one to more people is no letter
MAX_ASKED: Final = 20  # recipients of one mail that are looked up; nobody's friend writes to more at once
MAX_ADDRESS: Final = 254  # characters, RFC 5321 4.5.3.1.3
DAY_S: Final = 86_400.0
_SPARED: Final = frozenset({"GTUBE", "DENIED", "ALLOWED", "RELEASED"})  # others have decided

_TABLES = sql.MetaData()
_PAIRS = sql.Table(
    "filterd_correspondents",
    _TABLES,
    Column("pair", sql.String(32), primary_key=True),
    Column("last", sql.Double, nullable=False, index=True),
)


class CorrespondentStore(DatabaseStore):
    """The pairs in a database. Its methods may be called from many threads; all raise StoreError."""

    TABLES = _TABLES

    def __init__(self, database: Database, keys: KeyedHashes) -> None:
        super().__init__(database)
        self._keys = keys

    @classmethod
    def open(cls, config: Config, keys: KeyedHashes) -> Self:
        """As configured. keys: of the state folder. Raises ConfigError too."""
        return cls(Database(config.feedback_url), keys)

    def wrote(self, sender: str, recipients: Collection[str]) -> int:
        """Note that somebody has written to these, now; how many they were, 0 for more than a letter has."""
        pairs = {pair for one in recipients if (pair := self._pair(sender, one))}
        if not pairs or len(recipients) > MAX_WRITTEN:
            return 0
        now = time.time()
        with self._database.writing() as connection:
            rows = self._database.insert(_PAIRS).values(
                [{"pair": pair, "last": now} for pair in sorted(pairs)]
            )
            connection.execute(rows.on_conflict_do_update(index_elements=["pair"], set_={"last": now}))
        return len(pairs)

    def knows(self, recipients: Collection[str], sender: str) -> bool:
        """Whether each of the recipients has written to the sender."""
        pairs = {self._pair(one, sender) for one in recipients}
        if not pairs or "" in pairs or len(pairs) > MAX_ASKED:
            return False
        query = sql.select(sql.func.count()).where(_PAIRS.c.pair.in_(pairs))
        with self._database.reading() as connection:
            return int(connection.execute(query).scalar_one()) == len(pairs)

    def prune(self, *, days: float, most: int) -> int:
        """Forget what was not renewed for so long, and the oldest beyond so many; how many went."""
        c = _PAIRS.c
        beyond = sql.select(c.last).order_by(c.last.desc()).offset(most).limit(1)
        with self._database.writing() as connection:
            last = connection.execute(beyond).scalar()
            oldest = max(time.time() - days * DAY_S, -1.0 if last is None else last)
            return int(connection.execute(_PAIRS.delete().where(c.last <= oldest)).rowcount)

    def size(self) -> int:
        """How many pairs are known."""
        with self._database.reading() as connection:
            return int(connection.execute(sql.select(sql.func.count()).select_from(_PAIRS)).scalar_one())

    def _pair(self, sender: str, recipient: str) -> str:
        both = [one.strip().strip("<>").lower() for one in (sender, recipient)]
        if any("@" not in one or len(one) > MAX_ADDRESS or not one.isprintable() for one in both):
            return ""
        return self._keys.of("correspondents", "\0".join(both))


def asked(message: Message, found: Verdict, trusted: Collection[str]) -> Claims | None:
    """Who a message is from, where it matters whether he is known; reads its head only then."""
    matters = found.available and found.kind is Kind.MAIL and found.label is not Label.HAM
    if not matters or not message.recipients or _SPARED & set(found.tests):
        return None
    who = claims(message, trusted)
    return who if who.proven and len(who.froms) == 1 else None


def let_through(found: Verdict, thresholds: Thresholds, section: Correspondents) -> Verdict:
    """The verdict on mail of a known correspondent: ham, or from `bound` on unsure at the worst."""
    if found.probability < section.bound:
        milder = labelled(found, min(found.probability, thresholds.unsure / 2), thresholds)
    else:
        middle = (thresholds.unsure + thresholds.spam) / 2
        milder = labelled(found, min(found.probability, middle), thresholds)
    return replace(milder, tests=(*found.tests, TEST))
