"""Entries of the allow and deny lists, and which of them decides about a message; pure.

A deny entry counts for whoever a message claims to be from. An allow entry counts only where that is proven:
`Authentication-Results` of a server that `trust.authserv_ids` names has an aligned dkim or spf or a passed
dmarc, or where the sender has logged in at our own mail server and From is the envelope's sender. Otherwise
anybody could write the allowed address into From.

Of several entries that fit, the one of the nearest scope decides (a user's before his domain's before the
site's), then the more exact one, and deny before allow.
"""

from collections.abc import Collection, Iterable
from enum import StrEnum
from typing import Final, NamedTuple

import msgspec

from filterd.api import Message
from filterd.errors import BadInput
from filterd.reading import authentication, fields
from filterd.reading.kind import BOM, header_block
from filterd.reading.sender import mailbox

MAX_VALUE: Final = 254  # characters; of an address (RFC 5321 4.5.3.1.3)
MAX_NOTE: Final = 500
MAX_HEAD: Final = 65_536  # bytes of headers that are looked at, in the event loop: a millisecond


class EntryAction(StrEnum):
    """What an entry wants."""

    ALLOW = "allow"
    DENY = "deny"


class EntryTarget(StrEnum):
    """What an entry names, the most exact first."""

    ADDRESS = "address"
    LIST = "list-id"
    HOST = "link-host"
    DOMAIN = "domain"


class ListEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a list.

    value: in small letters. scope: "" for the site, "example.org" for a domain's recipients, or an address.
    expires, created: seconds since 1970; None: never. by: who made it. number: 0 before it is kept.
    """

    do: EntryAction
    what: EntryTarget
    value: str
    scope: str = ""
    expires: float | None = None
    note: str = ""
    by: str = ""
    created: float = 0.0
    number: int = 0

    @property
    def rank(self) -> tuple[int, int, int]:
        """Smaller decides first."""
        nearness = 2 if not self.scope else 0 if "@" in self.scope else 1
        return nearness, list(EntryTarget).index(self.what), self.do is EntryAction.ALLOW


class Claims(NamedTuple):
    """Who a message says it is from. froms: From's address. senders: that and the envelope's.

    list_id: List-Id's value (RFC 2919). proven: whether From is who it says. hosts: where links lead.
    """

    froms: frozenset[str] = frozenset()
    senders: frozenset[str] = frozenset()
    list_id: str = ""
    proven: bool = False
    hosts: frozenset[str] = frozenset()


class ListMatch(NamedTuple):
    """The entry that decides, None for none; and an allow entry that would have, were its sender proven."""

    entry: ListEntry | None = None
    unproven: ListEntry | None = None


def made(do: str, value: str, *, scope: str = "", **more: object) -> ListEntry:
    """An entry from what somebody typed; what it names is seen by its form. Raises BadInput.

    `ann@example.org` is an address, `example.org` a domain, `list-id:news.example.org` a list,
    `link-host:shop.example` where links lead, which can only be denied: anybody may link to anything.
    """
    plain, where = value.strip().lower(), scope.strip().lower().lstrip("@")
    kind, _, rest = plain.partition(":")
    named_so = next((one for one in (EntryTarget.LIST, EntryTarget.HOST) if kind == one), None)
    what = named_so or (EntryTarget.ADDRESS if "@" in plain.lstrip("@") else EntryTarget.DOMAIN)
    named = rest.strip("<> ") if named_so else plain.lstrip("@")
    named = named if what is EntryTarget.LIST else named.removeprefix("*.")
    for text, name in ((named, "value"), (where, "scope")):
        if len(text) > MAX_VALUE or not text.isprintable() or set(text) & set(" <>,;\"'"):
            raise BadInput(f"{text[:40]!r} is no {name}; write ann@example.org, example.org, list-id:NAME")
    if "." not in named and what is not EntryTarget.ADDRESS:
        raise BadInput(
            f"{named!r} has no dot; write ann@example.org, example.org or list-id:news.example.org"
        )
    if what is EntryTarget.HOST and do == EntryAction.ALLOW:
        raise BadInput("a link host can only be denied: anybody may link to it")
    if do not in list(EntryAction):
        raise BadInput(f"{do!r} is neither allow nor deny")
    return msgspec.convert({"do": do, "what": what, "value": named, "scope": where} | more, ListEntry)


def claims(message: Message, trusted: Collection[str]) -> Claims:
    """Who a mail says it is from, and whether a trusted server has proven it."""
    raw = message.raw[: MAX_HEAD + len(BOM)].removeprefix(BOM)
    head = fields.find(raw, 0, min(header_block(raw), MAX_HEAD))
    sender = mailbox(next(iter(head.get(b"from", ())), b""))
    address, envelope = sender.address.lower(), message.sender.strip("<> ").lower()
    listed = next(iter(head.get(b"list-id", ())), b"").decode("latin-1").rpartition("<")[2]
    said = authentication.words(head, sender.organisation, trusted) if trusted else ""
    submitted = bool(message.login and address and address == envelope)
    proven = submitted or "aligned" in said or "dmarc pass" in said
    froms = frozenset({address} - {""})
    return Claims(
        froms=froms, senders=froms | ({envelope} - {""}), list_id=listed.strip("<> \t").lower(), proven=proven
    )


def decide(entries: Iterable[ListEntry], who: Claims, recipients: Collection[str], now: float) -> ListMatch:
    """The entry that decides about a message."""
    named = [entry for entry in entries if _alive(entry, now) and _fits(entry, who)]
    scopes = _concerning({entry.scope for entry in named}, recipients)
    fitting = sorted((entry for entry in named if entry.scope in scopes), key=lambda entry: entry.rank)
    unproven = None
    for entry in fitting:
        if entry.do is EntryAction.DENY or who.proven:
            return ListMatch(entry, unproven)
        unproven = unproven or entry
    return ListMatch(None, unproven)


def names(address: str) -> list[str]:
    """What entries may call an address by: itself, its domain and the domains above that."""
    labels = address.rpartition("@")[2].split(".")
    return [address, *(".".join(labels[i:]) for i in range(len(labels) - 1))]


def _alive(entry: ListEntry, now: float) -> bool:
    return entry.expires is None or entry.expires > now


def _fits(entry: ListEntry, who: Claims) -> bool:
    if entry.what is EntryTarget.LIST:
        return entry.value == who.list_id
    if entry.what is EntryTarget.HOST:
        return any(entry.value in names(host) for host in who.hosts)
    claimed = who.froms if entry.do is EntryAction.ALLOW else who.senders
    return any(entry.value in names(address) for address in claimed)


def _concerning(scopes: set[str], recipients: Collection[str]) -> set[str]:
    """Those that all recipients are in: nobody's entry decides about somebody else's mail."""
    left = scopes - {""}
    for recipient in recipients if left else ():  # perhaps 10,000, and each is taken apart once
        left.intersection_update(names(recipient.strip("<> ").lower()))
        if not left:
            break
    return {""} | (left if recipients else set())
