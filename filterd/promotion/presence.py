"""The daemon that runs on a state folder: who it is, which bundle it judges with, how it is told to reload.

`<state>/filterd.pid` has two lines, the process and the bundle's id. The daemon holds a lock on the file
for as long as it lives, and the system lets go of the lock however it ends; so a number that is left over
is never taken for a daemon. Whoever may write to the state folder may signal: nobody else has to be asked.
"""

import contextlib
import fcntl
import os
import signal
import time
from pathlib import Path
from typing import TextIO

FILE = "filterd.pid"
RELOADED_WITHIN_S = 10.0  # a bundle of 124M parameters is read and checked in three
LOOK_EVERY_S = 0.02


class Presence:
    """A daemon's hold on its state folder."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    @classmethod
    def announce(cls, state: Path) -> "Presence | None":
        """Take the folder; None where another daemon has it already, or where it cannot be written."""
        try:
            stream = (state / FILE).open("a+", encoding="utf-8")
        except OSError:
            return None
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            stream.close()
            return None
        return cls(stream)

    def judges_with(self, model: str) -> None:
        """Say which bundle judges now."""
        with contextlib.suppress(OSError):  # a full disk must not end the daemon
            self._stream.seek(0)
            self._stream.truncate()
            self._stream.write(f"{os.getpid()}\n{model}\n")
            self._stream.flush()

    def forget(self) -> None:
        """Of a process that was forked: the folder is its parent's alone."""
        os.close(self._stream.fileno())

    def leave(self) -> None:
        """Let go of the folder; once more does no harm."""
        if self._stream.closed:
            return
        with contextlib.suppress(OSError):
            self._stream.truncate(0)
        self._stream.close()


def find(state: Path | None) -> tuple[int, str] | None:
    """Process and bundle of the daemon that runs on a state folder; None where there is none."""
    if state is None:
        return None
    try:
        with (state / FILE).open(encoding="utf-8") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except OSError:  # held: the daemon lives
                process, _, model = stream.read(400).partition("\n")
                return int(process), model.strip()
    except (OSError, ValueError):
        return None
    return None


def reload(state: Path | None, model: str = "") -> str:
    """Tell the daemon to take its configuration and bundle anew; returns a line about it, for people.

    model: wait until it judges with this bundle, for RELOADED_WITHIN_S at most.
    """
    daemon = find(state)
    if daemon is None:
        return "no daemon runs on this state folder"
    try:
        os.kill(daemon[0], signal.SIGHUP)
    except OSError as error:
        return f"the daemon (process {daemon[0]}) cannot be told: {error.strerror}; reload it"
    started = time.monotonic()
    while model and time.monotonic() - started < RELOADED_WITHIN_S:
        daemon = find(state)
        if daemon and daemon[1] == model:
            return f"the daemon judges with it (after {time.monotonic() - started:.2f} s)"
        time.sleep(LOOK_EVERY_S)
    return "the daemon has not taken it yet; see its log" if model else "the daemon reloads"
