"""The queue in front of the model."""

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from filterd.errors import Overloaded
from filterd.service.batching import Batcher, Logits


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
async def executor() -> AsyncIterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as pool:
        yield pool


def batcher(model: Model, executor: ThreadPoolExecutor, **limits: int) -> Batcher:
    given = {"workers": 1, "max_messages": 100, "max_tokens": 10_000} | limits
    return Batcher(model, executor, **given)  # type: ignore[arg-type]


async def held_up(queue: Batcher, model: Model, waiting: int) -> list["asyncio.Task[Logits]"]:
    """One message in the model, `waiting` more behind it; open `model.gate` to let them go."""
    model.gate.clear()
    tasks = []
    for i in range(waiting + 1):
        tasks.append(asyncio.create_task(queue.submit([[i]])))
        await asyncio.sleep(0)
    return tasks


async def test_an_idle_queue_answers_at_once(model: Model, executor: ThreadPoolExecutor) -> None:
    assert (await batcher(model, executor).submit([[1, 2], [4]])).tolist() == [[3.0], [4.0]]
    assert model.calls == [2]


async def test_who_waits_together_goes_together(model: Model, executor: ThreadPoolExecutor) -> None:
    queue = batcher(model, executor)
    tasks = await held_up(queue, model, 20)
    assert queue.messages_waiting == 20
    model.gate.set()
    assert [(await task).item() for task in tasks] == list(range(21))
    assert model.calls == [1, 20]
    assert queue.tokens_waiting == 0


async def test_a_turn_keeps_to_its_budget(model: Model, executor: ThreadPoolExecutor) -> None:
    queue = batcher(model, executor, tokens_per_turn=3)
    tasks = await held_up(queue, model, 5)
    model.gate.set()
    await asyncio.gather(*tasks)
    assert model.calls == [1, 3, 2]


async def test_the_oldest_goes_first_and_takes_those_of_its_length_along(
    model: Model, executor: ThreadPoolExecutor
) -> None:
    queue = batcher(model, executor, tokens_per_turn=9)
    tasks = await held_up(queue, model, 0)
    for length in (2, 8, 3, 8, 1, 2):
        tasks.append(asyncio.create_task(queue.submit([[length] + [0] * (length - 1)])))
        await asyncio.sleep(0)
    model.gate.set()
    assert [(await task).item() for task in tasks] == [0, 2, 8, 3, 8, 1, 2]
    assert model.calls == [1, 4, 1, 1]


async def test_a_message_larger_than_the_budget_is_served(model: Model, executor: ThreadPoolExecutor) -> None:
    queue = batcher(model, executor, tokens_per_turn=6, max_tokens=8)
    assert (await queue.submit([[1] * 50])).item() == 50


@pytest.mark.parametrize("limits", [{"max_messages": 3}, {"max_tokens": 3}])
async def test_a_full_queue_says_so_at_once(
    model: Model, executor: ThreadPoolExecutor, limits: dict[str, int]
) -> None:
    queue = batcher(model, executor, **limits)
    tasks = await held_up(queue, model, 3)
    with pytest.raises(Overloaded):
        await queue.submit([[1]])
    model.gate.set()
    await asyncio.gather(*tasks)
    assert (await queue.submit([[7]])).item() == 7


async def test_callers_that_left_cost_nothing(model: Model, executor: ThreadPoolExecutor) -> None:
    queue = batcher(model, executor)
    tasks = await held_up(queue, model, 10)
    for task in tasks[1:6]:
        task.cancel()
    await asyncio.sleep(0)
    model.gate.set()
    assert [(await task).item() for task in tasks[6:]] == [6, 7, 8, 9, 10]
    assert model.calls == [1, 5]
    assert queue.abandoned == 5


async def test_a_failure_reaches_its_callers_and_no_others(
    model: Model, executor: ThreadPoolExecutor
) -> None:
    queue = batcher(model, executor)
    with pytest.raises(ValueError, match="sign"):
        await queue.submit([[-1]])
    assert (await queue.submit([[2]])).item() == 2


async def test_draining_waits_for_everyone(model: Model, executor: ThreadPoolExecutor) -> None:
    queue = batcher(model, executor)
    tasks = await held_up(queue, model, 5)
    drained = asyncio.create_task(queue.drained())
    await asyncio.sleep(0.01)
    assert not drained.done()
    model.gate.set()
    await drained
    assert all(task.done() for task in tasks) or [await task for task in tasks]


async def test_two_workers_run_side_by_side(model: Model, executor: ThreadPoolExecutor) -> None:
    queue = batcher(model, executor, workers=2, tokens_per_turn=1)
    tasks = await held_up(queue, model, 1)
    assert queue.messages_waiting == 0
    model.gate.set()
    await asyncio.gather(*tasks)
