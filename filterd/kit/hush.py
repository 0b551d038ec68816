"""Libraries that write to stderr past every logger, of what people can do nothing about.

Where /proc/cpuinfo is hidden (ProcSubset=pid of our unit) ONNX Runtime says as it is loaded that it knows
less of the processor; it chooses its kernels by cpuid all the same, and a window takes as long as before. Ray
says that it was told to say less.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

STDERR = 2  # the descriptor


@contextmanager
def hushed() -> Iterator[None]:
    """Nothing of this process on stderr; exceptions say what has failed."""
    try:
        kept = os.dup(STDERR)
    except OSError:  # it is closed
        yield
        return
    nothing = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nothing, STDERR)
        yield
    finally:
        os.dup2(kept, STDERR)
        os.close(kept)
        os.close(nothing)
