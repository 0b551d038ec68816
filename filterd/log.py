"""Log lines of the daemon: logfmt or JSON on stderr, never a message's text, subject or sender.

`log.info("judged", extra={"fields": {...}})` is one line; values are escaped, so that nobody can write a
second one. Times are the journal's or the collector's; they are added only in JSON.
"""

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Literal

log = logging.getLogger("filterd")


def start(form: Literal["logfmt", "json"], level: str) -> None:
    """Send the daemon's log to stderr in one of two forms."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json() if form == "json" else _Logfmt())
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
    log.setLevel(level.upper())


def _fields(record: logging.LogRecord) -> dict[str, object]:
    fields: dict[str, object] = {"level": record.levelname.lower(), "event": record.getMessage()}
    fields.update(getattr(record, "fields", {}))
    if record.exc_info and record.exc_info[1]:
        error = record.exc_info[1]
        fields["error"] = f"{type(error).__name__}: {error}"
        trace = record.exc_info[2]
        while trace and trace.tb_next:
            trace = trace.tb_next
        if trace:
            fields["at"] = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"
    return fields


class _Logfmt(logging.Formatter):
    """`level=info event=ready model=mini-1`; values with blanks or quotes are quoted as in JSON."""

    def format(self, record: logging.LogRecord) -> str:
        return " ".join(f"{key}={_plain(value)}" for key, value in _fields(record).items())


class _Json(logging.Formatter):
    """One object a line."""

    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        return json.dumps({"time": time, **_fields(record)}, default=str)


def _plain(value: object) -> str:
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    simple = text.isascii() and text.isprintable() and not set(text) & set(' "=\\')
    return text if simple and text else json.dumps(text)
