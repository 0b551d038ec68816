"""Bytes of messages that all listeners together hold in memory, whoever they are.

Each listener bounds one message and its connections; their product is more than any machine has. So whoever
takes bytes from a client takes room for them first, and gives it back when the connection forgets them. What
does not fit is refused at once, as any overload is.
"""

import threading

from filterd.errors import Overloaded


class Room:
    """So many bytes. May be asked from any thread."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.taken = 0
        self._lock = threading.Lock()

    def take(self, size: int) -> None:
        """Room for so many bytes more. Raises Overloaded, and nothing is taken then."""
        with self._lock:
            if self.taken + size > self.size:
                raise Overloaded(
                    f"{self.taken:,} bytes of mail are in memory already (queue.max_bytes); try again later"
                )
            self.taken += size

    def give(self, size: int) -> None:
        """Give so many bytes back."""
        with self._lock:
            self.taken -= size


class Held:
    """What one connection or request has taken of a room; give it all back with `release`."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._size = 0

    def take(self, size: int) -> None:
        """So many bytes more. Raises Overloaded."""
        self._room.take(size)
        self._size += size

    def hold(self, size: int) -> None:
        """So many bytes in all from now on. Raises Overloaded, and what was held is held on."""
        self.take(size - self._size)

    def release(self) -> None:
        """Give all of it back; again and again does no harm."""
        self._room.give(self._size)
        self._size = 0
