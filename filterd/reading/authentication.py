"""What the receiving server proved of a mail's sender (RFC 8601), and what one before it vouched for (ARC).

Only fields of servers that the configuration names count (`trust.authserv_ids`). Of several results for one
method the topmost holds: it was added last. A sender may forge a field with our own id below those; RFC 8601
section 5 has the server remove it on arrival, and filterd relies on that.
"""

from collections.abc import Collection, Iterator
from typing import Any, Final

import authres  # type: ignore[import-untyped]
import authres.arc  # type: ignore[import-untyped]
import authres.dmarc  # type: ignore[import-untyped]

from filterd.reading.domains import organisation
from filterd.reading.fields import Fields

__all__ = ["words"]

MAX_VALUE: Final = 4_096  # bytes of one field; ten results with comments have 1,500
MAX_FIELDS: Final = 4  # of one kind; a server that checks SPF, DKIM and DMARC apart adds three
MAX_COMMENTS: Final = 30  # brackets of one field: the parser recurses into them
_PASS, _FAIL = ("pass",), ("fail", "softfail", "permerror", "hardfail")
_CONTEXT: Final = authres.FeatureContext(authres.dmarc, authres.arc)


def words(fields: Fields, sender: str, trusted: Collection[str]) -> str:
    """ "auth dkim aligned spf other dmarc pass", "" where no trusted server says anything.

    sender: organisation of From's domain. dkim and spf: "aligned" where they pass for that one, "other" where
    for another, "fail" or "none".
    """
    found = _outcomes(fields.get(b"authentication-results", ()), sender, trusted)
    if found.get("arc") == "pass":
        for method, outcome in _vouched(fields, sender, trusted).items():
            if found.get(method, "none") in ("none", "fail"):
                found[method] = outcome
    said = [f"{method} {found[method]}" for method in ("dkim", "spf", "dmarc") if method in found]
    return " ".join(["auth", *said]) if said else ""


def _vouched(fields: Fields, sender: str, trusted: Collection[str]) -> dict[str, str]:
    """The results in ARC's fields (RFC 8617 4.1.1), less their instance tags; newest first."""
    values = [value.partition(b";") for value in fields.get(b"arc-authentication-results", ())]
    inside = [rest.strip() for tag, _, rest in values if tag.strip().startswith(b"i=")]
    return _outcomes(inside, sender, trusted)


def _outcomes(
    values: Collection[bytes],
    sender: str,
    trusted: Collection[str],
) -> dict[str, str]:
    found: dict[str, str] = {}
    for value in _of_trusted(values, trusted):
        own: dict[str, str] = {}
        for result in _parsed(value):
            method, outcome = str(result.method).lower(), _outcome(result, sender)
            if method not in own or outcome == "aligned":  # of several signatures one is enough
                own[method] = outcome
        found = {**own, **found}
    return found


def _of_trusted(values: Collection[bytes], trusted: Collection[str]) -> Iterator[bytes]:
    ours = {name.lower() for name in trusted}
    mine = (
        v for v in values if v.partition(b";")[0].split(b" ")[0].strip().decode("latin-1").lower() in ours
    )
    for _, value in zip(range(MAX_FIELDS), mine, strict=False):
        yield value


def _parsed(value: bytes) -> list[Any]:
    """The results of one field, none of one that is not written as RFC 8601 has it."""
    if len(value) > MAX_VALUE or value.count(b"(") > MAX_COMMENTS:
        return []
    unfolded = " ".join(value.decode("ascii", "replace").split())
    try:
        parsed = _CONTEXT.parse_value(unfolded)
    except authres.AuthResError:
        return []
    return [result for result in parsed.results if getattr(result, "method", None)]


def _outcome(result: Any, sender: str) -> str:
    said = str(result.result).lower()
    if said not in _PASS:
        return "fail" if said in _FAIL else "none"
    domains = {
        "dkim": (result, ("header_d", "header_i")),
        "spf": (result, ("smtp_mailfrom", "smtp_helo")),
    }.get(str(result.method).lower())
    if not domains:
        return "pass"
    named = [str(getattr(result, name, None) or "") for name in domains[1]]
    passed = next((name.rpartition("@")[2] for name in named if name), "")
    return "aligned" if passed and organisation(passed) == sender else "other"
