"""One object of a JSON lines file to a message: raw mails, mails in parts, SMS, chat and bare text.

Keys that are known: `raw` (a mail, or base64 of its bytes) or `text`, with `subject` and `sender` where it
is a mail; `kind` (mail, sms, chat, text); `lang`, `year`; `group`, `uci`, `orig`, `id`: what belongs
together. A mail in parts becomes a mail again, so that `filterd.reading.text` reads it as one that came.
"""

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from filterd.api import Kind

# What a source calls a message, and what the filter takes it for: talk in groups is short as SMS are.
KINDS: Final[Mapping[str, Kind]] = {"mail": Kind.MAIL, "sms": Kind.SMS, "chat": Kind.SMS, "text": Kind.SMS}
UNLABELLED: Final = ""  # the label of rows of kind `text`: language without a judgement
LANGUAGE: Final = re.compile(r"[a-z]{2,3}\Z")
YEAR: Final = re.compile(r"[12][0-9]{3}\Z")
MAX_FOLDED: Final = 60  # letters; what the sources' field `uci` holds of the English original

_HEADER = re.compile(r"(?:From |[!-9;-~]{1,80}:)")  # what a mail begins with, and no base64 does
_HTML = re.compile(r"<(?:html|body|table|div|p|td|br)\b", re.IGNORECASE)
_LINES = re.compile(r"[\r\n]+")


@dataclass(frozen=True, slots=True)
class RowFacts:
    """What a source says of a row besides label and text. links: keys; rows that share one stay together."""

    kind: Kind | None = None
    lang: str = ""
    year: int = 0
    links: tuple[str, ...] = ()


NO_FACTS: Final = RowFacts()


def content(row: Mapping[str, Any], text: object) -> bytes | None:
    """The message's bytes: `raw` decoded, or the text, as a mail where the row says so; None without any."""
    raw = row.get("raw")
    if isinstance(raw, (str, bytes)) and row.get("text") is None:
        return _whole(raw)
    if not isinstance(text, str) or not text.strip():
        return None
    subject, sender = (str(row.get(name) or "") for name in ("subject", "sender"))
    if row.get("kind") == "mail" or subject or (sender and row.get("kind") is None):
        return _mail(subject, sender, text)
    return text.encode("utf-8", "replace")


def _whole(raw: str | bytes) -> bytes | None:
    """A whole mail, as its bytes, its text or base64; None where it is none of them."""
    if isinstance(raw, bytes):
        return raw or None
    if _HEADER.match(raw):
        return raw.encode("utf-8", "replace")
    try:
        return base64.b64decode(raw, validate=True)
    except (binascii.Error, ValueError):
        return None


def facts(row: Mapping[str, Any], source: str) -> RowFacts:
    """Kind, language, year and what the row belongs to."""
    kind, lang, year = row.get("kind"), row.get("lang", row.get("language")), row.get("year")
    links = [f"{name}:{row[name]}" for name in ("group", "uci") if isinstance(row.get(name), str)]
    if isinstance(row.get("id"), str):
        links.append(f"id:{source}:{row['id']}")
    if isinstance(orig := row.get("orig"), str) and ":" in orig:  # NUS has the country there
        links.append(f"id:{orig}")
    return RowFacts(
        KINDS.get(kind) if isinstance(kind, str) else None,
        _language(lang) if isinstance(lang, str) else "",
        int(str(year)) if YEAR.match(str(year)) else 0,
        tuple(links),
    )


def _language(given: str) -> str:
    """`pt` of pt-BR; nothing where the source does not know."""
    name = given.partition("-")[0]
    return name if LANGUAGE.match(name) and name != "und" else ""


def folded(text: str) -> str:
    """The first letters of a text without case, a number as 0, as the field `uci` has them."""
    return re.sub(r"[\W_]+", "", re.sub(r"\d+", "0", text.casefold()))[:MAX_FOLDED]


def _mail(subject: str, sender: str, text: str) -> bytes:
    """A mail of those parts, its headers and body in UTF-8 (RFC 6532)."""
    subtype = "html" if _HTML.search(text) else "plain"
    headers = [("From", sender), ("Subject", subject), ("Content-Type", f"text/{subtype}; charset=utf-8")]
    head = [f"{name}: {_LINES.sub(' ', value)}" for name, value in headers if value or name == "Subject"]
    return "\n".join([*head, "", text]).encode("utf-8", "replace")
