"""Headers for mails that come without any: invented by one recipe for all labels, so that they tell none.

Half of such mails get a sender, a recipient, a date and an id; the others stay as they are. Without this,
product mail of templates would be mail without a head and phishing mail with one: a sender would mean spam.
"""

import hashlib
import random
import re
from email.utils import formatdate
from typing import Final

from filterd.reading.kind import header_block
from filterd_trainer.data import templates

SHARE: Final = 0.5  # of mails without headers that get some
OWN_LINKS: Final = 0.5  # of those with a link: the sender's domain is the link's
YEARS: Final = (1104537600, 1798761600)  # dates from 2005 to 2026
LOWER: Final = 0.1  # written without capitals
MAX_LOOKED: Final = 65_536  # bytes searched for a link

_NAMED = re.compile(rb"^(?:from|date|message-id|received):", re.IGNORECASE | re.MULTILINE)
_LINK = re.compile(
    rb"https?://(?:www\.)?([a-z0-9-]{2,40}(?:\.[a-z0-9-]{2,40}){1,3})(?=[/\"'\s>?])", re.IGNORECASE
)


def is_bare(raw: bytes) -> bool:
    """Whether a mail lacks who sent it, when and by what id: of a table, or a corpus that lost them."""
    return len({name.lower() for name in _NAMED.findall(raw[: header_block(raw)])}) < 2


def addressed(raw: bytes) -> bytes | None:
    """A bare mail with invented headers before its own; None for the half that gets none."""
    draw = random.Random(hashlib.sha256(raw[:4096]).digest())  # noqa: S311 — no secret
    if draw.random() >= SHARE:
        return None
    link = _LINK.search(raw[:MAX_LOOKED])
    written = templates.written("{domain}\n{user}\n{|{full}|{full}|{company}}\n{name2}{#2}@{domain2}", draw)
    domain, user, shown, to = written.lower().split("\n") if draw.random() < LOWER else written.split("\n")
    if link and draw.random() < OWN_LINKS:
        domain = link[1].decode("ascii").lower()
    sender = f"{shown} <{user}@{domain}>" if shown else f"{user}@{domain}"
    headers = {
        "From": "" if re.match(rb"from:", raw, re.IGNORECASE) else sender,
        "To": to.lower(),
        "Date": formatdate(draw.randrange(*YEARS)),
        "Message-ID": f"<{draw.getrandbits(64):x}@{domain}>",
    }
    head = "".join(f"{name}: {value}\n" for name, value in headers.items() if value)
    return head.encode("utf-8", "replace") + raw
