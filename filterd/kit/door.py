"""How many clients a listener has at a time, and who goes where one more comes.

A connection that has not sent a whole request holds a place for nothing, and silence costs its client
nothing. So where all places are taken, whoever has kept us waiting longest for his request gives his place
up. Where everybody is being answered, or has only just come, the new one is refused: told so and closed at
once, so that no listener ever uses more descriptors than its places and a few.

Where silence between two requests is a client's right (a mail server's, between two mails), the server calls
`asked` as soon as its guest is in, and never `waits`.
"""

import asyncio
import contextlib
import sys
import time
from typing import Protocol

from filterd.kit.room import Room

PATIENCE_S = 1.0  # a client that came less than this ago is not slow
LINGER_S = 1.0  # that a refused client is left to read why: closing on what it still sends would reset that
ENDING_S = 1.0  # for the event loop to end connections that were cut off
LINGERING = 32  # refused clients at a time that are left so; more are closed at once


class Guest(Protocol):
    """A connection that holds a place."""

    def finish(self) -> None:
        """The daemon ends: take no further request, and end once what was asked for is answered."""

    def abort(self) -> None:
        """End at once."""


class Door:
    """The places of one listener. closing: nobody comes in any more, and who is answered has to go.

    room: what the bytes of its guests may take of the memory, together with those of all other listeners.
    """

    def __init__(self, places: int, room: Room | None = None) -> None:
        self.closing = False
        self.room = room or Room(sys.maxsize)
        self._places = places
        self._empty = asyncio.Event()
        self._waiting: dict[Guest, float] = {}  # since when for its request, the longest first
        self._busy: set[Guest] = set()
        self._lingering = 0

    def __len__(self) -> int:
        """Places that are taken."""
        return len(self._waiting) + len(self._busy)

    def enter(self, guest: Guest) -> bool:
        """Take a place; False where there is none for this one."""
        if self.closing or (len(self) >= self._places and not self._make_room()):
            return False
        self.waits(guest)
        return True

    def waits(self, guest: Guest) -> None:
        """From now on its next request is waited for."""
        self._busy.discard(guest)
        self._waiting.pop(guest, None)
        self._waiting[guest] = time.monotonic()

    def asked(self, guest: Guest) -> None:
        """Its request is there: the place is its own until it is answered."""
        if self._waiting.pop(guest, None) is not None:
            self._busy.add(guest)

    def leave(self, guest: Guest) -> None:
        """Its place is free."""
        self._waiting.pop(guest, None)
        self._busy.discard(guest)
        if not len(self):
            self._empty.set()

    async def drain(self, seconds: float) -> None:
        """Let everybody finish, for at most so long, then end those that are left; all are gone then."""
        self.closing = True
        for guest in self.guests:
            guest.finish()
        await self._gone(seconds)
        for guest in self.guests:
            guest.abort()
        await self._gone(ENDING_S)

    @property
    def guests(self) -> list[Guest]:
        """Those who hold a place."""
        return [*self._waiting, *self._busy]

    async def _gone(self, seconds: float) -> None:
        self._empty.clear()
        if len(self):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._empty.wait()

    def refuse(self, transport: asyncio.Transport, why: bytes) -> None:
        """Tell a client that there is no place, and close; what it sends has to be ignored from now on."""
        transport.write(why)
        if self._lingering >= LINGERING:
            transport.abort()
            return
        self._lingering += 1
        transport.write_eof()
        asyncio.get_running_loop().call_later(LINGER_S, self._end, transport)

    def _end(self, transport: asyncio.Transport) -> None:
        self._lingering -= 1
        transport.abort()

    def _make_room(self) -> bool:
        slowest = next(iter(self._waiting), None)
        if slowest is None or time.monotonic() - self._waiting[slowest] < PATIENCE_S:
            return False
        self.leave(slowest)
        slowest.abort()
        return True
