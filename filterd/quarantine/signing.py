"""What proves that a message was released, and a link that releases one: signed with this site's key.

A released mail carries a header, so that filterd does not hold it again on its way through. It names the one
recipient, the time and a hash of all that stands below it, so one that was copied into another mail, or sent
to somebody else, counts for nothing. A link is for one message and recipient and a time; it has done its work
once, for what was released is not held any more.
"""

import base64
import hashlib
import hmac
import re
import time
from typing import Final, NamedTuple

from filterd.api import Message
from filterd.history import record

DAY_S: Final = 86_400.0
KEY_FILE: Final = "quarantine.key"
NAME: Final = "Released"  # of the header, after the prefix of ours
GOOD_FOR_S: Final = 5 * 86_400.0  # as long as mail servers keep trying (RFC 5321 4.5.4.1)
MAX_HEAD: Final = 262_144  # bytes in which the header is looked for: other servers put theirs above it
_LINE: Final = 1_000  # bytes in which a mail shows how it ends its lines
MAX_TOKEN: Final = 200  # characters of a link's token; ours have 110
_VALUE: Final = re.compile(rb"([0-9A-Z]{13}) t=(\d{1,12}) h=([0-9a-f]{64}) s=([0-9a-f]{64})\s*")


class SignedLink(NamedTuple):
    """What a link is for. key: of the recipient. until: seconds since 1970."""

    number: int
    key: str
    until: int


class Signer:
    """Makes and reads signatures. key: of the state folder."""

    def __init__(self, key: bytes, prefix: str) -> None:
        self._key, self.name = key, f"{prefix}{NAME}"
        self._found = re.compile(rb"(?im)^%b:[ \t]*([^\r\n]{0,300})\r?\n" % re.escape(self.name.encode()))
        self._line = f"\n{self.name.lower()}:".encode()

    def stamp(self, raw: bytes, number: int, recipient: str) -> bytes:
        """A message with the header on top that lets it through to this recipient."""
        said = f"{record.encode(number)} t={int(time.time())} h={_digest(raw)}"
        line_end = b"\r\n" if b"\r\n" in raw[:MAX_HEAD] else b"\n"
        return f"{self.name}: {said} s={self._of_mail(said, recipient)}".encode("ascii") + line_end + raw

    def released(self, message: Message) -> bool:
        """Whether a message is one that was released for its recipient."""
        if len(message.recipients) != 1:
            return False
        found = self._found.search(message.raw, 0, MAX_HEAD)
        value = _VALUE.fullmatch(found[1]) if found else None
        if not found or not value:
            return False
        said = found[1].rpartition(b" s=")[0].decode("ascii")
        signed = self._of_mail(said, message.recipients[0])
        if not hmac.compare_digest(signed.encode(), value[4]):
            return False
        in_time = -60 <= time.time() - int(value[2]) <= GOOD_FOR_S
        return in_time and _digest(message.raw[found.end() :]).encode() == value[3]

    def may_be(self, message: Message) -> bool:
        """Whether it is worth looking closer: its head has such a header. Costs microseconds."""
        raw, end = message.raw, MAX_HEAD
        blanks = (b"\n\r\n", b"\n\n") if b"\r\n" in raw[:_LINE] else (b"\n\n", b"\n\r\n")
        for blank in blanks:  # first the one that this mail is likely to have
            found = raw.find(blank, 0, end)
            end = end if found < 0 else found
        return (b"\n" + raw[:end].lower()).find(self._line) >= 0

    def link(self, number: int, key: str, days: float) -> str:
        """A token that releases a message for a recipient."""
        said = f"{record.encode(number)}.{key}.{int(time.time() + days * DAY_S)}"
        return f"{said}.{self._of_link(said)}"

    def read(self, token: str) -> SignedLink | None:
        """What a token is for; None for a forged or outdated one."""
        said, _, signature = token[:MAX_TOKEN].rpartition(".")
        if not hmac.compare_digest(signature.encode(), self._of_link(said).encode()):
            return None
        name, key, until = said.split(".")  # we wrote it
        number = record.decode(name)
        return (
            SignedLink(number, key, int(until)) if number is not None and int(until) > time.time() else None
        )

    def _of_mail(self, said: str, recipient: str) -> str:
        whom = recipient.strip("<> ").lower()
        return self._sign(f"mail\0{said}\0{whom}").hex()

    def _of_link(self, said: str) -> str:
        return base64.urlsafe_b64encode(self._sign(f"link\0{said}")).decode("ascii").rstrip("=")

    def _sign(self, said: str) -> bytes:
        return hmac.new(self._key, said.encode("utf-8", "replace"), hashlib.sha256).digest()


def _digest(raw: bytes) -> str:
    """Of a message whatever its line ends: servers change those, and what stands behind the last line."""
    return hashlib.sha256(raw.replace(b"\r\n", b"\n").rstrip(b"\n")).hexdigest()
