"""Records for tests: one message, any field changed."""

from typing import Any

import msgspec

from filterd.api import Kind, Label
from filterd.history.record import Record, at

NOW = 1_790_000_000.0  # in September 2026
BASE = Record(
    number=at(NOW),
    time=NOW,
    listener="spamd",
    name="q1",
    message_key="aa",
    sender_key="s1",
    recipient_keys=("r1", "r2"),
    kind=Kind.MAIL,
    label=Label.SPAM,
    probability=0.99,
    points=6.0,
    available=True,
    settled="model",
    tests=("GPT2", "HIDDEN_TEXT"),
    action="",
    size=1000,
    ms=3.0,
    bundle="fake-1",
    unsure=0.3,
    spam=0.9,
    content_hash="c1",
    sender="example.net",
    recipients="example.org",
    subject="You have won",
)


def row(seconds: float = 0.0, **changes: Any) -> Record:
    """A record of `seconds` after NOW."""
    time = NOW + seconds
    return msgspec.structs.replace(BASE, **{"number": at(time), "time": time} | changes)
