"""Held messages for tests."""

from pathlib import Path
from typing import Any

from filterd.api import Kind, Label, Message, Verdict
from filterd.config import Config
from filterd.config import Quarantine as Section
from filterd.quarantine.store import QuarantineStore

RAW = b"From: win@bad.example\r\nSubject: prize\r\n\r\n.you have won\r\n\xff\x00 end\r\n"
SPAM = Verdict(
    label=Label.SPAM, probability=0.99, points=7.0, kind=Kind.MAIL, model="fake-1", subject="prize"
)
ANN, BEN = "ann@example.org", "ben@example.org"


def quarantine_of(state: Path, **section: Any) -> QuarantineStore:
    state.mkdir(exist_ok=True)
    return QuarantineStore.open(config_of(state, **section))


def config_of(state: Path, **section: Any) -> Config:
    return Config(state=str(state), quarantine=Section(**section))


def mail(*recipients: str, raw: bytes = RAW, sender: str = "win@bad.example") -> Message:
    return Message(
        raw, kind=Kind.MAIL, id="q1", sender=sender, recipients=recipients or (ANN,), source="milter"
    )
