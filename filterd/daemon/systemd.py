"""The two things that a daemon tells systemd: its state, and that it is alive (sd_notify(3)).

Nothing here is needed where systemd is not: without its environment variables every call does nothing.
Sockets that systemd opens for us are `listen.py`'s.
"""

import asyncio
import os
import socket

MICROSECONDS = 1_000_000


def notify(state: str) -> bool:
    """Send e.g. "READY=1" to the service manager; False where there is none."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sending:
        try:
            sending.connect("\0" + address[1:] if address.startswith("@") else address)
            sending.sendall(state.encode())
        except OSError:
            return False
    return True


def watchdog_s() -> float:
    """Within how many seconds systemd wants a sign of life from this process; 0 where it wants none."""
    if os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return 0.0
    return int(os.environ.get("WATCHDOG_USEC", "0") or 0) / MICROSECONDS


async def keep_watchdog() -> None:
    """Tell systemd that the event loop turns, twice in each of its watchdog's periods; for ever."""
    period = watchdog_s()
    while period:
        notify("WATCHDOG=1")
        await asyncio.sleep(period / 2)
