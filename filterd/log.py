"""Log lines of the daemon: logfmt or JSON on stderr, never a message's text, subject or sender.

`log.info("judged", extra={"fields": {...}})` is one line; values are escaped, so that nobody can write a
second one. A line begins with its time, unless it is logfmt that goes to the journal, which has times itself.

Warnings and errors of one kind, which is one event, are limited in number: whoever can cause one can cause a
hundred thousand. The next one that is written says how many were not (`left_out`).
"""

import json
import logging
import os
import sys
import time
from datetime import UTC, datetime
from typing import Literal

LINES_OF_A_KIND = 20  # warnings or errors of one event that are written in each period
PERIOD_S = 60.0
MAX_KINDS = 1000  # events that are remembered; ours are some fifty, libraries put values into theirs

log = logging.getLogger("filterd")


def start(form: Literal["logfmt", "json"], level: str) -> None:
    """Send the daemon's log to stderr in one of two forms."""
    handler = logging.StreamHandler(sys.stderr)
    logfmt = _Logfmt(timed=not os.environ.get("JOURNAL_STREAM"))  # systemd sets it; see systemd.exec(5)
    handler.setFormatter(_Json() if form == "json" else logfmt)
    handler.addFilter(Limit())
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
    log.setLevel(level.upper())


class Limit(logging.Filter):
    """Lets LINES_OF_A_KIND warnings or errors of each event pass in a period."""

    def __init__(self) -> None:
        super().__init__()
        self._kinds: dict[object, tuple[float, int]] = {}  # when its period began, and its lines since

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether to write a line."""
        if record.levelno < logging.WARNING:
            return True
        began, lines = self._kinds.get(record.msg, (-PERIOD_S, 0))
        now = time.monotonic()
        if now - began >= PERIOD_S:
            if lines > LINES_OF_A_KIND:
                record.left_out = lines - LINES_OF_A_KIND
            began, lines = now, 0
        if len(self._kinds) >= MAX_KINDS:
            self._kinds.clear()
        self._kinds[record.msg] = began, lines + 1
        return lines < LINES_OF_A_KIND


def _fields(record: logging.LogRecord) -> dict[str, object]:
    fields: dict[str, object] = {"level": record.levelname.lower(), "event": record.getMessage()}
    fields.update(getattr(record, "fields", {}))
    if left_out := getattr(record, "left_out", 0):
        fields["left_out"] = left_out
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

    def __init__(self, *, timed: bool) -> None:
        super().__init__()
        self._timed = timed

    def format(self, record: logging.LogRecord) -> str:
        time = {"time": _time(record)} if self._timed else {}
        return " ".join(f"{key}={_plain(value)}" for key, value in (time | _fields(record)).items())


class _Json(logging.Formatter):
    """One object a line."""

    def format(self, record: logging.LogRecord) -> str:
        return json.dumps({"time": _time(record), **_fields(record)}, default=str)


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")


def _plain(value: object) -> str:
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    simple = text.isascii() and text.isprintable() and not set(text) & set(' "=\\')
    return text if simple and text else json.dumps(text)
