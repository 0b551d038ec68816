"""An alarm for whatever holds the event loop: the processor time of each callback, not the clock's.

So it is the same on a machine that is busy with something else.
"""

import asyncio
import gc
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

HELD_S = 0.1


@contextmanager
def loop_alarm(monkeypatch: pytest.MonkeyPatch, most_s: float = HELD_S) -> Iterator[list[tuple[float, str]]]:
    """Fails at its end where one callback took more than `most_s`; a list of those that did.

    What was there before is looked through by no collection, as in a daemon: a test's process holds far more.
    """
    held: list[tuple[float, str]] = []
    run = asyncio.events.Handle._run

    def timed(handle: asyncio.Handle) -> None:
        began = time.thread_time()
        run(handle)
        used = time.thread_time() - began
        if used > most_s:
            held.append((used, repr(handle)))

    with monkeypatch.context() as patched:
        patched.setattr(asyncio.events.Handle, "_run", timed)
        gc.freeze()
        try:
            yield held
        finally:
            gc.unfreeze()
    assert not held, held
