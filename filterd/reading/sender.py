"""Who a mail says it is from, and how that fits the rest of it: the head of the canonical text.

A few lines in fixed order, each a key and words (docs/text.md has the list). What is the same for all mails
of a place, year or program never becomes a word: no dates, no hosts of receivers, no names of lists or
programs. What is not known has no line: absence means nothing, good or bad.
"""

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from email.utils import mktime_tz, parsedate_tz
from functools import lru_cache
from itertools import islice
from typing import Final

from filterd.reading import authentication
from filterd.reading.charsets import decode_words
from filterd.reading.domains import is_number, organisation
from filterd.reading.fields import Fields
from filterd.reading.unicode import normalise

__all__ = ["KEYS", "Link", "again", "head", "hosts", "hosts_in"]

Link = tuple[str, str]  # where a link leads, and the text that is shown for it

KEYS: Final = (
    "from",
    "name",
    "reply",
    "to",
    "links",
    "list",
    "thread",
    "id",
    "date",
    "parts",
    "read",
    "auth",
)
FREE: Final = ("from ", "reply ", "parts ")  # lines with words of the sender's; all others are our own
MAX_NAME: Final = 48  # characters of a display name; a phone shows about 30
MAX_SHOWN: Final = 256  # characters of one that is looked at
MAX_ADDRESS: Final = 64  # its end is what tells who it is
MAX_LINE: Final = 120  # characters of one line of the head
MAX_LINKS: Final = 200  # of one mail that are compared with its sender
MAX_ADDRESSES: Final = 20  # of To and Cc that are counted
MAX_TYPES: Final = 3  # kinds of attachments that are named
MANY: Final = 4  # recipients from which a mail is for many
MAX_DATE_OFF_S: Final = 4 * 86_400  # between Date and the receiving server's clock; mail is retried for days

# A mail with one of these has a head; others were stored as subject and text alone.
_ENVELOPE: Final = frozenset(b"from to cc date message-id received reply-to".split())
_ANGLE = re.compile(rb"\s*+((?:\"(?:[^\"\\]|\\.)*+\"?|[^<\"]++)*+)<([^<>]*+)", re.DOTALL)
_BARE = re.compile(rb"[^\s<>,;()\"]{1,256}@[^\s<>,;()\"]{1,256}")
_COMMENT = re.compile(rb"\(([^()]*+)\)")
_AT = re.compile(rb"[^\s<>,;@\"]@[^\s<>,;@\"]")
_REPLY = re.compile(
    r"\s*(?:re|aw|sv|antw|vs|odp|rv|res|回复|答复|ответ|fwd?|wg|tr|enc|转发)\s*(?:\[\d+\])?\s*[:：]",
    re.IGNORECASE,
)
_HOST_IN_TEXT = re.compile(
    r"(?<![\w@.\-])(?:[a-z0-9\-]{1,63}\.){1,8}[a-z]{2,24}(?![\w\-@]|\.\w)", re.IGNORECASE
)
_HOST = re.compile(
    r"\s*+(?:https?:)?[/\\]{2}(?:[^/\\?#@\s]{0,256}@)?(\[[0-9a-f:.]{2,64}\]|[^/\\?#\s:]{1,256})",
    re.IGNORECASE,
)
_DATE = re.compile(
    rb"(?:[a-z]{3},?\s+)?[0-3]?\d\s+[a-z]{3}\s+(?:19|20)?\d\d\s+[0-2]?\d:[0-5]\d(?::[0-6]\d)?\s*"
    rb"(?:[+-](?:0\d|1[0-4])[0-5]\d|[a-z]{1,5})?\s*(?:\([^()]*\)?)?\s*",
    re.IGNORECASE,
)
# Nine dates in ten; the standard library takes ten times as long.
_USUAL_DATE = re.compile(
    rb"(?:[A-Za-z]{3}, {1,2})?(\d{1,2}) ([A-Za-z]{3}) ([12]\d{3}) (\d\d):(\d\d):(\d\d)"
    rb" ([+-])(\d\d)(\d\d)(?<!-0000)(?: \(|\Z)"
)
_MONTHS: Final = {
    name: number
    for number, name in enumerate(b"jan feb mar apr may jun jul aug sep oct nov dec".split(), start=1)
}
_EPOCH: Final = date(1970, 1, 1).toordinal()
_HELD: Final = {
    "hidden-text": "hidden",
    "mostly-hidden": "mostly",
    "truncated": "cut",
    "tangled-html": "tangled",
}


@dataclass(frozen=True, slots=True)
class Mailbox:
    """A display name and an address, as a person sees them (RFC 5322 3.4)."""

    name: str
    address: str

    @property
    def organisation(self) -> str:
        return _organisation_of(self.address)


def head(
    fields: Fields,
    subject: str,
    links: Iterable[Link],
    facts: Sequence[str],
    shown: str,
    trusted: Collection[str] = (),
) -> tuple[str, ...]:
    """The lines of a mail's head; none where it has no headers that say who sent it.

    shown: "plain", "html" or "both", what of it is text. trusted: ids of servers whose word counts.
    """
    if not _ENVELOPE & fields.keys():
        return ()
    sender = mailbox(_first(fields, b"from"))
    lines = (
        _from(sender),
        _name(sender),
        _reply(_address(_parted(_first(fields, b"reply-to"))[1]), sender),
        _to(fields, sender),
        _links(links, sender.organisation),
        _list(fields),
        _thread(fields, subject),
        _id(fields, sender.organisation),
        _date(fields),
        _parts(shown, facts),
        _read(facts),
        authentication.words(fields, sender.organisation, trusted) if trusted else "",
    )
    return tuple(_normalised(line) if line.startswith(FREE) else line for line in lines if line)


@lru_cache(maxsize=512)  # "parts html" and "reply gmail.com" are in many mails
def _normalised(line: str) -> str:
    return normalise(line, MAX_LINE).replace("\n", " ")


def again(lines: Iterable[str]) -> tuple[str, ...]:
    """The lines of a head that were changed, as `head` would write them; what is none of its lines goes."""
    return tuple(_normalised(line) for line in lines if line.partition(" ")[0] in KEYS)


# -- addresses ---------------------------------------------------------------------------------


def mailbox(value: bytes) -> Mailbox:
    """The first mailbox of a field's value; empty where there is none."""
    name, address = _parted(value)
    shown = normalise(decode_words(name).replace('"', " "), MAX_SHOWN).replace("\n", " ").strip("' ")
    written = _address(address)
    return Mailbox("" if shown.lower() == written else shown, written)


def _parted(value: bytes) -> tuple[bytes, bytes]:
    """The name and the address of a field's first mailbox, as they stand."""
    if angle := _ANGLE.match(value):
        return angle[1], angle[2]
    bare = _BARE.search(_COMMENT.sub(b"", value))
    comment = _COMMENT.search(value)
    return (comment[1] if comment else b""), (bare[0] if bare else b"")


def _address(written: bytes) -> str:
    return "".join(decode_words(written).lower().split())[-MAX_ADDRESS:].strip(".@")


def _organisation_of(address: str) -> str:
    return organisation(address.rpartition("@")[2])


def _first(fields: Fields, name: bytes) -> bytes:
    return next(iter(fields.get(name, ())), b"")


# -- the lines ---------------------------------------------------------------------------------------------


def _from(sender: Mailbox) -> str:
    if not sender.address:
        return f"from {sender.name or 'nobody'}"
    name = sender.name[:MAX_NAME].rstrip()
    return f"from {name} <{sender.address}>" if name else f"from {sender.address}"


def _name(sender: Mailbox) -> str:
    """Whether the display name holds a host or an address of somebody else."""
    named = {organisation(host) for host in _HOST_IN_TEXT.findall(sender.name.replace("@", " "))}
    return "name unlike" if named and sender.organisation not in named else ""


def _reply(reply: str, sender: Mailbox) -> str:
    other = _organisation_of(reply)
    return f"reply {other}" if other and other != sender.organisation else ""


def _to(fields: Fields, sender: Mailbox) -> str:
    values = [*fields.get(b"to", ()), *fields.get(b"cc", ())]
    count = sum(len(_AT.findall(value)[:MAX_ADDRESSES]) for value in values)
    if not count:
        return "to nobody"
    if sender.address and _address(_parted(_first(fields, b"to"))[1]) == sender.address:
        return "to self"
    return "to one" if count == 1 else "to some" if count < MANY else "to many"


def hosts(links: Iterable[Link]) -> tuple[str, ...]:
    """The hosts that a mail's first links lead to, each once, in small letters."""
    return tuple(dict.fromkeys(host for host, _ in _leading(links)))


def hosts_in(text: str) -> tuple[str, ...]:
    """The first hosts that a text names, as an SMS does; each once, in small letters."""
    found = islice(_HOST_IN_TEXT.finditer(text), MAX_LINKS)
    return tuple(dict.fromkeys(match[0].lower() for match in found))


def _leading(links: Iterable[Link]) -> Iterator[tuple[str, str]]:
    """Host and shown text of the first links that have a host."""
    for _, (href, text) in zip(range(MAX_LINKS), links, strict=False):
        if match := _HOST.match(href):
            yield match[1].strip(".").lower(), text


def _links(links: Iterable[Link], own: str) -> str:
    found: dict[str, None] = {}
    for host, text in _leading(links):
        if is_number(host):
            found["number"] = None
            continue
        leads = organisation(host)
        found["same" if leads == own else "other"] = None
        said = _HOST_IN_TEXT.search(text[:200])
        if said and organisation(said[0]) != leads:
            found["unlike"] = None
    order = ("same", "other", "number", "unlike")
    return " ".join(["links", *(word for word in order if word in found)]) if found else ""


def _list(fields: Fields) -> str:
    if fields.get(b"list-unsubscribe"):
        return "list unsubscribe"
    bulk = _first(fields, b"precedence").lower() in (b"bulk", b"list", b"junk")
    return "list bulk" if bulk or fields.get(b"list-id") else ""


def _thread(fields: Fields, subject: str) -> str:
    if fields.get(b"in-reply-to") or fields.get(b"references"):
        return "thread reply"
    return "thread pretends" if _REPLY.match(subject) else ""


def _id(fields: Fields, own: str) -> str:
    value = _first(fields, b"message-id").strip(b"<> \t\r\n").decode("ascii", "replace")
    if not value:
        return "id none"
    host = value.rpartition("@")[2] if "@" in value else ""
    if not host:
        return "id odd"
    return "id same" if organisation(host[-253:]) == own else "id other"


def _date(fields: Fields) -> str:
    value = _first(fields, b"date")
    if not value:
        return "date none"
    if len(value) > 100 or not _DATE.fullmatch(value):
        return "date odd"
    sent = _seconds(value)
    came = _seconds(_first(fields, b"received").rpartition(b";")[2].strip()[:100])
    return "date odd" if sent and came and abs(sent - came) > MAX_DATE_OFF_S else ""


def _seconds(written: bytes) -> int | None:
    """A date of RFC 5322 3.3 as seconds since 1970; None where it is none."""
    try:
        if (usual := _USUAL_DATE.match(written)) and (month := _MONTHS.get(usual[2].lower())):
            days = date(int(usual[3]), month, 1).toordinal() - _EPOCH + int(usual[1]) - 1
            east = (int(usual[8]) * 60 + int(usual[9])) * (-1 if usual[7] == b"-" else 1)
            return ((days * 24 + int(usual[4])) * 60 + int(usual[5]) - east) * 60 + int(usual[6])
        parsed = parsedate_tz(written.decode("ascii", "replace"))
        return mktime_tz(parsed) if parsed else None
    except (ValueError, OverflowError):  # a day or a year that no calendar has
        return None


def _parts(shown: str, facts: Sequence[str]) -> str:
    kinds = [fact.removeprefix("attachment:") for fact in facts if fact.startswith("attachment:")]
    words = ([shown] if shown else []) + kinds[:MAX_TYPES]
    return " ".join(["parts", *words]) if words else ""


def _read(facts: Sequence[str]) -> str:
    words = [word for fact, word in _HELD.items() if fact in facts]
    return " ".join(["read", *words]) if words else ""
