"""Whose a correction is and for whom a message is judged: one spelling for each person.

An owner is a name in lower case without a detail behind "+" (RFC 5233). Mail is addressed to
`ann@example.org`, Dovecot and the shell say `ann`: both are asked for, the address first.
"""

from collections.abc import Container
from typing import Final

from filterd.api import Message

MAX_NAME: Final = 254  # of an address, RFC 5321 4.5.3.1


def spelled(name: str) -> str:
    """The owner that a name or address stands for."""
    local, at, domain = name.strip().strip("<>").lower().rpartition("@")
    if not at:
        local, domain = domain, ""
    return (local.partition("+")[0] + at + domain)[:MAX_NAME]


def asked_for(message: Message, known: Container[str]) -> str | None:
    """The owner for whom a message is judged, as the memory knows him; None where that is several or nobody.

    known: owners that have corrected something.
    """
    names = [message.user] if message.user else list(message.recipients[:2])
    if len(names) != 1:
        return None
    owner = spelled(names[0])
    plain = owner.partition("@")[0]
    return plain if owner not in known and plain in known else owner
