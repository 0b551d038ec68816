"""What is kept too late goes, whoever of the two threads is first."""

import asyncio
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from filterd.api import Action, Message, Verdict, Way
from filterd.config import Config
from filterd.quarantine.store import QuarantineStore
from filterd.service import service as service_module
from filterd.service.holding import HeldCopy
from filterd.service.service import Service
from tests.filterd import fakes
from tests.filterd.quarantine.made import ANN, SPAM, mail, quarantine_of

WAY = Way(frozenset({Action.TAG, Action.TEMPFAIL, Action.QUARANTINE}))


def left(store: QuarantineStore) -> tuple[int, int]:
    """Rows and files."""
    return store.index.total()[0], len(list(store.files.numbers()))


def test_what_is_kept_in_time_stays(tmp_path: Path) -> None:
    with quarantine_of(tmp_path / "state") as store:
        copy = HeldCopy(store, mail(), SPAM)
        number = copy.keep()
        assert copy.give_up() == number > 0
        assert left(store) == (1, 1)


def test_what_is_given_up_before_is_not_kept(tmp_path: Path) -> None:
    with quarantine_of(tmp_path / "state") as store:
        copy = HeldCopy(store, mail(), SPAM)
        assert copy.give_up() == 0 == copy.keep()
        assert left(store) == (0, 0)


class Slow:
    """A disk that takes its time: `keep` has written all, and answers when `gate` opens."""

    def __init__(self, store: QuarantineStore, monkeypatch: pytest.MonkeyPatch) -> None:
        self.gate, self.written = threading.Event(), threading.Event()
        self._keep = store.keep
        monkeypatch.setattr(store, "keep", self)

    def __call__(self, message: Message, found: Verdict) -> int:
        number = self._keep(message, found)
        self.written.set()
        assert self.gate.wait(10)
        return number


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.001)


async def test_what_was_kept_before_the_sender_left_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, gate, keep = threading.Event(), threading.Event(), HeldCopy.keep

    def late(copy: HeldCopy) -> int:
        number = keep(copy)
        kept.set()
        assert gate.wait(10)
        return number

    monkeypatch.setattr(HeldCopy, "keep", late)
    service = Service(Config(), fakes.engine()[0], None)
    with quarantine_of(tmp_path / "state") as store:
        service.quarantine = store
        asked = asyncio.create_task(service._hold(replace(mail(), way=WAY), SPAM))
        await until(kept.is_set)
        assert left(store) == (1, 1)
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
        gate.set()
        await until(lambda: left(store) == (0, 0))
        await service.close(1)


@pytest.mark.parametrize("leaves", [False, True], ids=["too late", "the sender has left"])
async def test_a_message_that_is_brought_again_is_there_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, leaves: bool
) -> None:
    monkeypatch.setattr(service_module, "HOLD_DEADLINE_S", 10 if leaves else 0.05)
    service = Service(Config(), fakes.engine()[0], None)
    with quarantine_of(tmp_path / "state") as store:
        service.quarantine = store
        slow = Slow(store, monkeypatch)
        message = Message(
            mail().raw,
            kind=SPAM.kind,
            id="q1",
            sender="win@bad.example",
            recipients=(ANN,),
            source="milter",
            way=WAY,
        )
        asked = asyncio.create_task(service._hold(message, SPAM))
        await until(slow.written.is_set)
        if leaves:
            asked.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asked
        else:
            assert await asked == (Action.TEMPFAIL, 0)
        slow.gate.set()
        await until(lambda: not service._holding)
        assert left(store) == (0, 0)
        monkeypatch.setattr(service_module, "HOLD_DEADLINE_S", 10)
        action, number = await service._hold(message, SPAM)
        assert (action, number > 0, left(store)) == (Action.QUARANTINE, True, (1, 1))
        await service.close(1)
