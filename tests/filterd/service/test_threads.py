"""Work in threads for the event loop: results, errors, cancelling, the end."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator

import pytest

from filterd.service.threads import Threads


@pytest.fixture
async def threads() -> AsyncIterator[Threads]:
    made = Threads(2, "test")
    yield made
    made.shutdown()


def fail(error: BaseException) -> None:
    raise error


async def test_each_has_its_own_result(threads: Threads) -> None:
    numbers = range(500)
    assert await asyncio.gather(*(threads.run(pow, i, 2) for i in numbers)) == [i * i for i in numbers]


async def test_an_error_is_its_callers_alone(threads: Threads) -> None:
    work: list[asyncio.Future[object]] = [
        threads.run(fail, KeyError("a")),
        threads.run(fail, StopIteration()),
    ]
    work.append(threads.run(int, "7"))
    found = await asyncio.gather(*work, return_exceptions=True)
    assert isinstance(found[0], KeyError) and isinstance(found[1], RuntimeError) and found[2] == 7


async def test_no_more_at_once_than_there_are_threads(threads: Threads) -> None:
    at_once, most, lock = [0], [0], threading.Lock()

    def work() -> None:
        with lock:
            at_once[0] += 1
            most[0] = max(most[0], at_once[0])
        time.sleep(0.005)
        with lock:
            at_once[0] -= 1

    await asyncio.gather(*(threads.run(work) for _ in range(20)))
    assert most[0] == 2


async def test_who_has_left_is_not_worked_for(threads: Threads) -> None:
    gate, done = threading.Event(), list[int]()
    first = [threads.run(gate.wait, 30) for _ in range(2)]
    others = [threads.run(done.append, i) for i in range(4)]
    others[1].cancel()
    gate.set()
    await asyncio.gather(*first, *(one for one in others if not one.cancelled()))
    assert sorted(done) == [0, 2, 3]


async def test_many_results_are_one_wake_up(threads: Threads, monkeypatch: pytest.MonkeyPatch) -> None:
    loop = asyncio.get_running_loop()
    woken, wake = [0], loop.call_soon_threadsafe

    def counted(*given: object) -> object:
        woken[0] += 1
        return wake(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(loop, "call_soon_threadsafe", counted)
    gate = threading.Event()
    work: list[asyncio.Future[object]] = [threads.run(gate.wait, 30)]
    work += [threads.run(pow, i, 2) for i in range(100)]
    while len(threads._done) < 100:  # the loop does not turn meanwhile
        time.sleep(0.001)
    gate.set()
    await asyncio.gather(*work)
    assert woken[0] <= 3


async def test_after_the_end_nothing_begins(threads: Threads) -> None:
    gate = threading.Event()
    under_way = [threads.run(gate.wait, 30) for _ in range(2)]
    while threads._waiting:
        await asyncio.sleep(0.001)
    waiting = threads.run(int, 1)
    threads.shutdown()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    gate.set()
    assert await asyncio.gather(*under_way) == [True, True]
    await asyncio.sleep(0.05)
    with pytest.raises(RuntimeError):
        threads.run(int, 1)
