"""One retraining at a time, and behind everybody else: a lock, and the lowest priorities there are."""

import ctypes
import fcntl
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filterd.errors import FilterdError, Unwritable

LOCK = "lock"
NICEST = 19
# ioprio_set(2): has no wrapper in the C library. Numbers of the call by machine; who = this process.
IOPRIO_SET = {"x86_64": 251, "aarch64": 30}
IOPRIO_WHO_PROCESS = 1
IOPRIO_IDLE = 3 << 13  # class "idle": only when nobody else wants the disk


class RetrainingBusy(FilterdError):
    """Another retraining is under way."""

    exit_status = 75  # EX_TEMPFAIL


@contextmanager
def only_one(folder: Path) -> Iterator[None]:
    """Hold the folder's lock; the system lets go of it however the process ends. Raises Busy, Unwritable."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        stream = (folder / LOCK).open("a+", encoding="utf-8")
    except OSError as error:
        raise Unwritable(f"{folder}: {error.strerror}; check its owner, mode and space") from error
    with stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            stream.seek(0)
            raise RetrainingBusy(
                f"{folder}: another retraining is under way (process {stream.read(20).strip() or '?'});"
                " this one stops"
            ) from error
        stream.truncate(0)
        with suppress(OSError):  # who it is, is for people; a full disk has better places to be told of
            stream.write(f"{os.getpid()}\n")
            stream.flush()
        yield


def step_back() -> None:
    """Let everything else go first: nice 19, Linux's idle scheduling, idle disk access, where they exist.

    Threads that are started later inherit it; so call it before PyTorch is imported.
    """
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, NICEST)
    if hasattr(os, "SCHED_IDLE"):
        with suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    number = IOPRIO_SET.get(platform.machine()) if platform.system() == "Linux" else None
    if number is not None:
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None, use_errno=True).syscall(number, IOPRIO_WHO_PROCESS, 0, IOPRIO_IDLE)
