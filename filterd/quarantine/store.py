"""The quarantine: files and their index together, in an order in which a crash at any point loses nothing.

    keep      the file is on the disk, then its row is, then the sender is told
    release   the row says that it is being sent, the next hop has taken it, the row says so, the file goes
    over      the row goes, then the file

A file without a row was being kept: it gets its row back. A file whose row says that nobody waits for it was
on its way out: it goes. What the next hop had taken when we died before we noted it is held again after a
while, and may be released again: twice is better than never.
"""

import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, Self

from filterd.api import Message, Verdict
from filterd.config import Config
from filterd.corrections.database import Database
from filterd.errors import FilterdError, NotFound, StoreError
from filterd.history import record
from filterd.history.record import KeyedHashes, RecordNumbers
from filterd.history.recorder import identity, key_of
from filterd.log import log
from filterd.quarantine.files import HeldFiles, HeldMail
from filterd.quarantine.index import (
    WAITING,
    QuarantineEntry,
    QuarantineIndex,
    QuarantineQuery,
    QuarantineState,
)
from filterd.quarantine.nexthop import ReleaseHop
from filterd.quarantine.signing import KEY_FILE, Signer

KEPT_AT_ONCE_S: Final = 60.0  # a file younger than this may be waiting for its row
LOOKED_UP: Final = 500  # numbers of one query


class QuarantineStore:
    """Safe to use from many threads and processes. All but `open` raise StoreError."""

    def __init__(self, config: Config, keys: KeyedHashes, numbers: RecordNumbers) -> None:
        state = Path(config.state)
        self.numbers, self._keys = numbers, keys
        self.files = HeldFiles(state)
        self._said: set[int] = set()  # numbers of files that the log has a line about
        self._key = key_of(state, KEY_FILE)
        self.config = config
        host = f"{socket.gethostname()}:{identity(state)}"
        self.index = QuarantineIndex(Database(config.feedback_url), keys, host)

    @classmethod
    def open(cls, config: Config, numbers: RecordNumbers | None = None) -> Self:
        """As configured. numbers: of the history that its messages are in. Raises ConfigError, StoreError."""
        return cls(config, KeyedHashes(key_of(Path(config.state))), numbers or RecordNumbers())

    @property
    def config(self) -> Config:
        """What is in force; a reload sets another one."""
        return self._config

    @config.setter
    def config(self, config: Config) -> None:
        self._config = config
        self.signer = Signer(self._key, config.headers.prefix)

    def close(self) -> None:
        """Close the index."""
        self.index.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def keep(self, message: Message, found: Verdict) -> int:
        """Keep a message; durable when this returns its number.

        Where it raises the sender keeps it and tries again, so what there is of it here goes.
        """
        now = time.time()
        held = HeldMail(
            number=self.numbers.next(now),
            time=now,
            listener=message.source,
            name=message.id,
            sender=message.sender,
            recipients=message.recipients,
            kind=found.kind,
            label=found.label,
            points=round(found.points, 2),
            subject=found.subject,
            size=len(message.raw),
        )
        self.files.keep(held, message.raw)
        try:
            self.index.put(held)
        except Exception:
            with suppress(StoreError):  # its commit may have come through all the same
                self.index.drop([held.number])
            with suppress(StoreError):
                self.files.remove(held.number)
            raise
        return held.number

    def take_back(self, number: int) -> None:
        """Undo `keep`: its sender was told to try again."""
        self.index.drop([number])
        self.files.remove(number)

    def find(self, name: str, mine: tuple[str, ...] | None = None) -> QuarantineEntry:
        """The row of an id, as who sees only `mine` may see it. Raises NotFound, also for others' mail."""
        number = record.decode(name)
        found = self.index.get(number, mine) if number is not None else None
        if not found:
            raise NotFound(f"{name[:20]}: not in quarantine, or not yours")
        return found

    def release(self, number: int, keys: tuple[str, ...] | None, by: str) -> list[str]:
        """Send a message to those who wait for it; their addresses. keys: only to these, None for all.

        Raises NotFound where nobody waits or nobody takes released mail, ReleaseFailed where the next hop
        does not want it; who had it by then has it, and is noted.
        """
        wanted = self._waiting(number, keys, WAITING)
        hop = ReleaseHop.of(self.config)
        held, raw = self.files.read(number)
        sent = []
        for address in held.recipients:
            key = self._keys.address(address)
            claim = self.index.claim(number, key, by) if key in wanted else None
            if claim is None:  # of two who press, in this process or another, one sends it
                continue
            try:
                hop.send(held.sender, address, self.signer.stamp(raw, number, address))
            except BaseException:
                with suppress(StoreError):
                    self.index.give_back(number, key, claim)
                raise
            sent.append(address)
            self._settle(number, key, QuarantineState.RELEASED, by)
        if not sent:
            raise _unwanted(number)
        return sent

    def delete(self, number: int, keys: tuple[str, ...] | None, by: str) -> None:
        """Let none of these have it any more. keys: as for `release`. Raises NotFound where nobody waits."""
        for key in self._waiting(number, keys, (QuarantineState.HELD,)):
            self._settle(number, key, QuarantineState.DELETED, by)

    def _waiting(
        self, number: int, keys: tuple[str, ...] | None, states: Sequence[QuarantineState]
    ) -> set[str]:
        entry = self.index.get(number, keys, whole=True)
        found = {one.key for one in entry.recipients if one.state in states} if entry else set()
        if not found:
            raise _unwanted(number)
        return found

    def _settle(self, number: int, key: str, state: QuarantineState, by: str) -> None:
        if self.index.settle(number, key, state, by):
            self.files.remove(number)

    def keys(self, address: str) -> tuple[str, ...] | None:
        """For `release` and `delete`: those of one address, None for everybody where it is ""."""
        return (self._keys.address(address),) if address else None

    def message(self, number: int, user: str = "") -> Message:
        """A held message as a correction of it needs it. user: whose word it is. Raises NotFound."""
        held, raw = self.files.read(number)
        return Message(
            raw,
            kind=held.kind,
            id=held.id,
            sender=held.sender,
            recipients=held.recipients,
            source="quarantine",
            user=user,
        )

    def tidy(self, *, settled_s: float = KEPT_AT_ONCE_S) -> int:
        """Mend what a crash left, and drop what the retention no longer covers; how many were dropped.

        A file that cannot be read or removed is said once, and stays; the others are looked after.
        settled_s: age of files that nobody can still be about to index.
        """
        self.index.give_back_abandoned()
        self._mend(settled_s)
        section, dropped = self.config.quarantine, 0
        while numbers := self.index.over(days=section.retention_days, max_bytes=section.max_bytes):
            self.index.drop(numbers)
            for number in numbers:
                with self._each(number):
                    self.files.remove(number)
            dropped += len(numbers)
        return dropped

    def _mend(self, settled_s: float) -> None:
        until = record.at(time.time() - settled_s)
        numbers = [number for number in self.files.numbers() if number < until]
        self._said.intersection_update(numbers)
        for start in range(0, len(numbers), LOOKED_UP):
            some = numbers[start : start + LOOKED_UP]
            known = self.index.known(some)
            self.index.adopt(some)
            for number in some:
                held = None
                with self._each(number):
                    if number not in known:
                        held = self.files.head(number)
                    elif not known[number]:
                        self.files.remove(number)
                if held:
                    self.index.put(held)

    @contextmanager
    def _each(self, number: int) -> Iterator[None]:
        """Work at one file of many: what is wrong with it is said once, and the others' turn comes."""
        try:
            yield
        except NotFound:  # somebody released or deleted it meanwhile
            return
        except FilterdError as error:
            if number not in self._said:
                self._said.add(number)
                fields = {"id": record.encode(number), "reason": str(error)}
                log.error("quarantine: one file left as it is", extra={"fields": fields})

    def search(self, wanted: QuarantineQuery, limit: int) -> list[QuarantineEntry]:
        """As `QuarantineIndex.search`."""
        return self.index.search(wanted, limit)


def _unwanted(number: int) -> NotFound:
    return NotFound(f"{record.encode(number)}: nobody waits for it any more, or it is being sent")
