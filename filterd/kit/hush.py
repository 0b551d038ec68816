"""Libraries that write to stderr past every logger, of what people can do nothing about.

Where /proc/cpuinfo is hidden (ProcSubset=pid of our unit) ONNX Runtime says as it is loaded that it knows
less of the processor; it chooses its kernels by cpuid all the same, and a window takes as long as before. Ray
says that it was told to say less.
"""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

STDERR = 2  # the descriptor
_TURN = threading.RLock()  # of two at once the second would restore what the first had put there


@contextmanager
def hushed() -> Iterator[None]:
    """Nothing of this process on stderr; exceptions say what has failed."""
    with _TURN, Path(os.devnull).open("wb", buffering=0) as nothing:
        try:
            kept = os.dup(STDERR)
        except OSError:  # it is closed
            yield
            return
        try:
            os.dup2(nothing.fileno(), STDERR)
            yield
        finally:
            os.dup2(kept, STDERR)
            os.close(kept)
