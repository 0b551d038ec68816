"""What the two gateways send and want back, as bytes; no sockets, no asyncio.

Twilio: a form by POST, signed (https://www.twilio.com/docs/usage/security#validating-requests), answered by
TwiML. Kannel: the query of a GET (User's Guide, "SMS-service group", get-url), answered by what the sender is
to be told, or by a redirection, which smsbox follows.
"""

import base64
import hmac
from collections.abc import Iterable, Sequence
from html import escape
from typing import NamedTuple
from urllib.parse import parse_qsl, unquote_to_bytes, urlencode, urlsplit

from filterd.api import Verdict
from filterd.errors import BadInput

MAX_FIELDS = 200  # of a form or query; Twilio sends about 30
MAX_CHARSET = 40  # characters of a charset's name; IANA allows that many (RFC 2978 2.3)
SIGNATURE_SETTINGS = "x-twilio-webhooks-signature-settings"
# Twilio names another algorithm than its first one in the header above, as "key=…,algorithm=HMAC_SHA256".
HASHES = {"HMAC_SHA1": "sha1", "HMAC_SHA256": "sha256"}
DEFAULT_PORTS = {"https": 443, "http": 80}
OURS = "filterd_"  # what the names of parameters that we add begin with; those that come in so are dropped


class Field(NamedTuple):
    """A name and a value; bytes that are not UTF-8 are in it as surrogates (PEP 383)."""

    name: str
    value: str


def fields(encoded: bytes) -> list[Field]:
    """The fields of a form or query, in their order. Raises BadInput for too many."""
    try:
        found = parse_qsl(
            encoded.decode("ascii", "surrogateescape"),
            keep_blank_values=True,
            errors="surrogateescape",
            max_num_fields=MAX_FIELDS,
        )
    except ValueError:
        raise BadInput(f"more than {MAX_FIELDS} fields") from None
    return [Field(name, value) for name, value in found]


def first(given: Iterable[Field], name: str) -> str:
    """The first value of this name, "" where there is none."""
    return next((field.value for field in given if field.name == name), "")


def signed_by_twilio(
    secret: bytes, *, url: str, query: str, given: Sequence[Field], signature: str, settings: str = ""
) -> bool:
    """Whether Twilio's signature of a request holds, compared in constant time.

    settings: the value of the header SIGNATURE_SETTINGS. The URL counts with and without its port, as
    Twilio's own validators take both.
    """
    named = dict(part.strip().partition("=")[::2] for part in settings.split(","))
    algorithm = HASHES.get(named.get("algorithm", "HMAC_SHA1").upper())
    if not algorithm:
        return False
    pairs = "".join(name + value for name, value in sorted(set(given)))
    holds = False
    for whole in _with_and_without_port(url):
        text = f"{whole}?{query}{pairs}" if query else f"{whole}{pairs}"
        made = hmac.new(secret, text.encode("utf-8", "surrogateescape"), algorithm).digest()
        holds |= same(base64.b64encode(made), signature.encode("utf-8", "surrogateescape"))
    return holds


def same(one: bytes, other: bytes) -> bool:
    """Whether two secrets are the same, in a time that says nothing about where they differ."""
    return hmac.compare_digest(one, other)


def _with_and_without_port(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    host = parts.netloc.rpartition(":")[0] if parts.port else parts.netloc
    with_port = parts.netloc if parts.port else f"{host}:{DEFAULT_PORTS[parts.scheme]}"
    return parts._replace(netloc=host).geturl(), parts._replace(netloc=with_port).geturl()


def text_of(value: str, charset: str) -> bytes:
    """A message's text as UTF-8, from a value whose bytes are in another charset; else as it is."""
    raw = value.encode("utf-8", "surrogateescape")
    try:
        return raw.decode(charset[:MAX_CHARSET]).encode("utf-8")
    except (LookupError, ValueError):  # no charset of that name, or not in it
        return raw


def twiml(redirect: str = "") -> bytes:
    """TwiML that answers the sender nothing, or hands the message on to another URL."""
    verb = f'<Redirect method="POST">{escape(redirect, quote=False)}</Redirect>' if redirect else ""
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<Response>{verb}</Response>\n'.encode("ascii")


def tags(found: Verdict) -> dict[str, str]:
    """What an application is told about a message: its label, and "unavailable" where it was not judged."""
    if not found.available:
        return {f"{OURS}label": "unavailable"}
    return {f"{OURS}label": str(found.label), f"{OURS}probability": f"{found.probability:.4f}"}


def onward(url: str, *, query: str = "", without: str = "", added: dict[str, str] | None = None) -> str:
    """A URL with the fields of a query, byte for byte, less one of a name and all like ours, plus `added`."""
    kept = [part for part in query.split("&") if part and not _dropped(part, without)]
    if added:
        kept.append(urlencode(added))
    return url + ("&" if "?" in url else "?") + "&".join(kept) if kept else url


def _dropped(part: str, without: str) -> bool:
    name = unquote_to_bytes(part.partition("=")[0].replace("+", " ")).decode("utf-8", "replace")
    return bool(without and name == without) or name.lower().startswith(OURS)
