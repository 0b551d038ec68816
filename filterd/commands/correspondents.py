"""`filterd sweep --sent`: whom people have written to, from their folders of sent mail."""

import re
from pathlib import Path
from typing import Final

from filterd.commands import mailbox, pipe
from filterd.config import Config
from filterd.history.record import KeyedHashes
from filterd.history.recorder import key_of
from filterd.policy.correspondents import CorrespondentStore
from filterd.reading import fields
from filterd.reading.kind import BOM, header_block
from filterd.reading.sender import mailbox as address_of

MAX_HEAD: Final = 65_536  # bytes of headers that are looked at
TO: Final = (b"to", b"cc", b"bcc")
_ASIDE: Final = re.compile(rb'"(?:[^"\\]|\\.)*+"|\([^()]*+\)')  # display names and comments
_ADDRESS: Final = re.compile(rb"[^\s<>,;()\"]{1,64}@[^\s<>,;()\"@]{1,190}")


def learn(folder: Path, config: Config) -> int:
    """Note From and To of each mail of a Maildir or mbox; the exit status. Raises NotFound, StoreError."""
    if not config.correspondents.enabled:
        pipe.complain("correspondents.enabled is false, so nobody is asked about them yet")
    status, mails, pairs = 0, 0, 0
    inputs = mailbox.items([folder])
    known = CorrespondentStore.open(config, KeyedHashes(key_of(Path(config.state))))
    try:
        for item in inputs:
            if item.message is None:
                pipe.complain(str(item.error or item.name))
                status = status or (item.error.exit_status if item.error else 1)
                continue
            sender, recipients = people(item.message.raw)
            pairs += known.wrote(sender, recipients)
            mails += 1
    finally:
        known.close()
        print(f"sent mails: {mails}, correspondents: {pairs}")
    return status


def people(raw: bytes) -> tuple[str, list[str]]:
    """From's address and those of To, Cc and Bcc."""
    plain = raw[: MAX_HEAD + len(BOM)].removeprefix(BOM)
    head = fields.find(plain, 0, min(header_block(plain), MAX_HEAD))
    sender = address_of(next(iter(head.get(b"from", ())), b"")).address
    values = [_ASIDE.sub(b"", value) for name in TO for value in head.get(name, ())]
    return sender, [one.decode("utf-8", "replace") for value in values for one in _ADDRESS.findall(value)]
