"""`filterd history` and `filterd why`: what was judged, and why it got its label, from the history."""

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from filterd.api import Kind, Label
from filterd.config import Config
from filterd.corrections.correction import seen
from filterd.corrections.store import Store
from filterd.errors import BadInput, NotFound
from filterd.history import record
from filterd.history.record import KeyedHashes, Record
from filterd.history.recorder import KEY_FILE
from filterd.history.store import HistoryStore, Search
from filterd.language import catalogue
from filterd.reading.text import detect
from filterd.reasons import reason
from filterd.scoring.verdict import Thresholds

_AGO: Final = re.compile(r"(\d{1,6})\s*(min|h|d|w)")
_UNITS: Final = {"min": "minutes", "h": "hours", "d": "days", "w": "weeks"}


class HistoryQuery(NamedTuple):
    """The options of `filterd history` as they were typed."""

    since: str = ""
    until: str = ""
    label: Label | None = None
    kind: Kind | None = None
    to: str = ""
    sender: str = ""
    text: str = ""


def history(config: Config, asked: HistoryQuery, *, limit: int, as_json: bool) -> None:
    """Print the newest messages that fit, a line each. Raises NotFound, BadInput, StoreError."""
    with open_history(config) as kept:
        rows = kept.search(_search(asked, keys_of(config)), limit)
    for row in rows:
        print(_json(row) if as_json else _line(row))


def why(config: Config, name: str, words: Callable[[Record, str], None], *, as_json: bool) -> None:
    """Print why a message got its label. words: shows those of a kept text. Raises as `history` does."""
    with open_history(config) as kept:
        row = _find(kept, config, name)
        beside = kept.kept(row.number)
    said = correction_of(config, row.content_hash)
    reasons = [one.say() for one in reason.of(row, Thresholds(row.unsure, row.spam), said)]
    if as_json:
        print(_json(row, reasons=reasons))
        return
    print(_line(row))
    print(f"{row.size:,} bytes by {row.listener or 'other'}, {row.ms:g} ms, model {row.bundle or '-'}\n")
    for one in reasons:
        print(f"- {one}")
    if beside and beside.text:
        print()
        words(row, beside.text)
    else:
        print(f"- {catalogue.say('en', 'reasons.words-not-kept')}")


def open_history(config: Config) -> HistoryStore:
    """The configured history; a command that reads never creates one. Raises NotFound, StoreError."""
    path = Path(config.history_url.removeprefix("sqlite:///"))
    if config.history_url.startswith("sqlite:///") and not path.exists():
        raise NotFound(f"{path}: there is no history yet; `filterd serve` keeps one (history.keep)")
    return HistoryStore.open(config.history_url)


def keys_of(config: Config) -> KeyedHashes:
    """The site's hashes. Raises NotFound where their key is missing or not for this user."""
    path = Path(config.state) / KEY_FILE
    try:
        return KeyedHashes(path.read_bytes())
    except OSError as error:
        raise NotFound(f"{path}: {error.strerror}; run this as the daemon's user") from error


def correction_of(config: Config, content_hash: str) -> reason.CorrectionReason | None:
    """What was said of this very message, as the store has it; None where nobody said anything."""
    path = Path(config.feedback_url.removeprefix("sqlite:///"))
    if not content_hash or (config.feedback_url.startswith("sqlite:///") and not path.exists()):
        return None
    with Store.open(config.feedback_url) as store:
        found = store.get(content_hash)
    return reason.CorrectionReason(found.label, found.time, found.source) if found else None


def _search(asked: HistoryQuery, keys: KeyedHashes) -> Search:
    return Search(
        since=moment(asked.since) if asked.since else None,
        until=moment(asked.until) if asked.until else None,
        label=asked.label,
        kind=asked.kind,
        to=keys.address(asked.to),
        sender=keys.address(asked.sender),
        text=asked.text,
    )


def moment(said: str) -> float:
    """Seconds since 1970 of `90min`, `6h`, `2d`, `1w` ago, or of an ISO date or time. Raises BadInput."""
    ago = _AGO.fullmatch(said.strip())
    try:
        if ago:
            return (datetime.now(UTC) - timedelta(**{_UNITS[ago[2]]: int(ago[1])})).timestamp()
        found = datetime.fromisoformat(said.strip())
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError) as error:
        raise BadInput(f"{said!r} is no time; write 6h, 2d, 2026-11-30 or 2026-11-30T08:00") from error


def _find(kept: HistoryStore, config: Config, name: str) -> Record:
    """The message of an id of the history, a queue id, a Message-ID, or a file. Raises NotFound."""
    number = record.decode(name)
    found = kept.get(number) if number is not None else None
    if not found and Path(name).is_file():
        raw = Path(name).read_bytes()
        kind = detect(raw)
        found = kept.find(content_hash=seen(raw, kind, config.headers.prefix)[1].content_hash)
    found = found or kept.find(name=name, message_key=keys_of(config).message_id(name))
    if not found:
        raise NotFound(f"{name}: not in the history; give its id, its queue id, its Message-ID or a file")
    return found


def _line(row: Record) -> str:
    time = datetime.fromtimestamp(row.time, UTC).isoformat(sep=" ", timespec="seconds")[:19]
    label = row.label if row.available else "none"
    people = f"{row.sender or '-'} > {row.recipients or '-'}"
    about = row.subject or row.name or "-"
    mark = f" (corrected: {row.corrected})" if row.corrected else ""
    said = f"{label:6} {row.points:+6.1f} {row.kind:4} {row.settled:8}"
    return f"{row.id} {time} {said} {row.listener or '-':8} {people}  {about}{mark}"


def _json(row: Record, **more: object) -> str:
    said = {"id": row.id} | msgspec.to_builtins(row) | more
    hidden = ("number", "message_key", "sender_key", "recipient_keys")
    return json.dumps({key: value for key, value in said.items() if key not in hidden}, ensure_ascii=False)
