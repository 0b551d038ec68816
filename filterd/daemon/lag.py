"""How late the event loop is: it serves every listener, so whatever holds it holds everybody.

A timer that should come every TICK_S says by how much it came too late. On a machine that is busy with
something else it is late without our fault; so the alarm asks for the loop's own processor time.
"""

import asyncio
import time
from typing import Protocol

from filterd.log import log

TICK_S = 0.05
HELD_S = 0.1  # of the processor between two ticks: more than any one request may take


class Histogram(Protocol):
    """A histogram of seconds."""

    def observe(self, amount: float) -> None:
        """Count one."""


async def watch(lag: Histogram) -> None:
    """Measure for ever, and say so where the loop was held."""
    while True:
        due, before = time.perf_counter() + TICK_S, time.thread_time()
        await asyncio.sleep(TICK_S)
        late, used = time.perf_counter() - due, time.thread_time() - before
        lag.observe(max(0.0, late))
        if late > HELD_S and used > HELD_S:
            log.warning("event loop held", extra={"fields": {"seconds": late, "cpu_seconds": used}})
