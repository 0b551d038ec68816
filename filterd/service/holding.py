"""A message on its way into the quarantine, while its sender waits for an answer within a time.

The thread that keeps it and the event loop that answers agree on one of two things: it is kept and the sender
is told so, or he is told to try again and what was kept too late goes. Else he would bring it twice.
"""

import threading

from filterd.api import Message, Verdict
from filterd.errors import StoreError
from filterd.log import log
from filterd.quarantine.store import QuarantineStore


class HeldCopy:
    """One message. `keep` is called in a thread, `give_up` by whoever waits no longer."""

    def __init__(self, quarantine: QuarantineStore, message: Message, found: Verdict) -> None:
        self._quarantine, self._message, self._found = quarantine, message, found
        self._lock = threading.Lock()
        self._number = 0
        self._given_up = False

    def keep(self) -> int:
        """Its number once it is durable; 0 where it was given up before. Raises StoreError."""
        if not self._wanted(0):
            return 0
        number = self._quarantine.keep(self._message, self._found)
        if self._wanted(number):
            return number
        self.take_back(number)
        return 0

    def take_back(self, number: int) -> None:
        """What nobody was told of goes; as `keep`, in a thread."""
        try:
            self._quarantine.take_back(number)
        except StoreError as error:
            fields = {"name": self._message.id, "reason": str(error)}
            log.error("kept too late, and perhaps twice", extra={"fields": fields})

    def _wanted(self, number: int) -> bool:
        """Whether somebody still waits, who will be told this number."""
        with self._lock:
            if not self._given_up:
                self._number = number
            return not self._given_up

    def give_up(self) -> int:
        """What is not kept yet is not to be; the number of one that is already, else 0."""
        with self._lock:
            self._given_up = not self._number
            return self._number
