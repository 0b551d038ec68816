"""The queue in front of the model."""

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence

import numpy as np
import pytest

from filterd.errors import Overloaded
from filterd.service import batching
from filterd.service.batching import Batcher, Logits
from filterd.service.threads import Threads


class Model:
    """Scores a window by the sum of its tokens; can be held up, and remembers its calls."""

    def __init__(self) -> None:
        self.calls: list[int] = []
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self, windows: Sequence[Sequence[int]]) -> Logits:
        self.gate.wait(10)
        self.calls.append(len(windows))
        if any(token < 0 for window in windows for token in window):
            raise ValueError("a token of the wrong sign")
        return np.array([[sum(window)] for window in windows], dtype=np.float32)


@pytest.fixture
def model() -> Model:
    return Model()


@pytest.fixture
async def threads() -> AsyncIterator[Threads]:
    made = Threads(2, "model")
    yield made
    made.shutdown()


def batcher(model: Model, threads: Threads, **limits: int) -> Batcher:
    given = {"workers": 1, "max_messages": 100, "max_tokens": 10_000} | limits
    return Batcher(model, threads, **given)  # type: ignore[arg-type]


async def held_up(queue: Batcher, model: Model, waiting: int) -> list["asyncio.Task[Logits]"]:
    """One message in the model, `waiting` more behind it; open `model.gate` to let them go."""
    model.gate.clear()
    tasks = []
    for i in range(waiting + 1):
        tasks.append(asyncio.create_task(queue.submit([[i]])))
        await asyncio.sleep(0)
    return tasks


async def test_an_idle_queue_answers_at_once(model: Model, threads: Threads) -> None:
    assert (await batcher(model, threads).submit([[1, 2], [4]])).tolist() == [[3.0], [4.0]]
    assert model.calls == [2]


async def test_who_waits_together_goes_together(model: Model, threads: Threads) -> None:
    queue = batcher(model, threads)
    tasks = await held_up(queue, model, 20)
    assert queue.messages_waiting == 20
    model.gate.set()
    assert [(await task).item() for task in tasks] == list(range(21))
    assert model.calls == [1, 20]
    assert queue.tokens_waiting == 0


async def test_a_turn_keeps_to_its_budget(model: Model, threads: Threads) -> None:
    queue = batcher(model, threads, tokens_per_turn=3)
    tasks = await held_up(queue, model, 5)
    model.gate.set()
    await asyncio.gather(*tasks)
    assert model.calls == [1, 3, 2]


@pytest.mark.parametrize(("patience", "order"), [(30.0, [0, 1, 2, 9]), (0.0, [0, 9, 1, 2])])
async def test_the_shortest_goes_first_but_not_for_ever(
    model: Model, threads: Threads, monkeypatch: pytest.MonkeyPatch, patience: float, order: list[int]
) -> None:
    monkeypatch.setattr(batching, "PATIENCE_S", patience)
    queue = batcher(model, threads, tokens_per_turn=1)
    tasks, done = await held_up(queue, model, 0), list[int]()
    tasks[0].add_done_callback(lambda task: done.append(round(task.result().item())))
    for length in (9, 1, 2):
        task = asyncio.create_task(queue.submit([[1] * length]))
        task.add_done_callback(lambda task: done.append(round(task.result().item())))
        tasks.append(task)
        await asyncio.sleep(0)
    model.gate.set()
    await asyncio.gather(*tasks)
    assert done == order


async def test_the_shortest_takes_those_of_its_length_along(model: Model, threads: Threads) -> None:
    queue = batcher(model, threads, tokens_per_turn=9)
    tasks = await held_up(queue, model, 0)
    for length in (2, 8, 3, 8, 1, 2):
        tasks.append(asyncio.create_task(queue.submit([[length] + [0] * (length - 1)])))
        await asyncio.sleep(0)
    model.gate.set()
    assert [(await task).item() for task in tasks] == [0, 2, 8, 3, 8, 1, 2]
    assert model.calls == [1, 4, 1, 1]


async def test_a_message_larger_than_the_budget_is_served(model: Model, threads: Threads) -> None:
    queue = batcher(model, threads, tokens_per_turn=6, max_tokens=8)
    assert (await queue.submit([[1] * 50])).item() == 50


@pytest.mark.parametrize("limits", [{"max_messages": 3}, {"max_tokens": 3}])
async def test_a_full_queue_says_so_at_once(model: Model, threads: Threads, limits: dict[str, int]) -> None:
    queue = batcher(model, threads, **limits)
    tasks = await held_up(queue, model, 3)
    with pytest.raises(Overloaded):
        await queue.submit([[1]])
    model.gate.set()
    await asyncio.gather(*tasks)
    assert (await queue.submit([[7]])).item() == 7


async def test_callers_that_left_cost_nothing(model: Model, threads: Threads) -> None:
    queue = batcher(model, threads)
    tasks = await held_up(queue, model, 10)
    for task in tasks[1:6]:
        task.cancel()
    await asyncio.sleep(0)
    model.gate.set()
    assert [(await task).item() for task in tasks[6:]] == [6, 7, 8, 9, 10]
    assert model.calls == [1, 5]
    assert queue.abandoned == 5


async def test_a_failure_reaches_its_callers_and_no_others(model: Model, threads: Threads) -> None:
    queue = batcher(model, threads)
    with pytest.raises(ValueError, match="sign"):
        await queue.submit([[-1]])
    assert (await queue.submit([[2]])).item() == 2


async def test_draining_waits_for_everyone(model: Model, threads: Threads) -> None:
    queue = batcher(model, threads)
    tasks = await held_up(queue, model, 5)
    drained = asyncio.create_task(queue.drained())
    await asyncio.sleep(0.01)
    assert not drained.done()
    model.gate.set()
    await drained
    assert all(task.done() for task in tasks) or [await task for task in tasks]


async def test_two_workers_run_side_by_side(model: Model, threads: Threads) -> None:
    queue = batcher(model, threads, workers=2, tokens_per_turn=1)
    tasks = await held_up(queue, model, 1)
    assert queue.messages_waiting == 0
    model.gate.set()
    await asyncio.gather(*tasks)
