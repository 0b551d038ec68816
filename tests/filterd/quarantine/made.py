"""Held messages for tests."""

from pathlib import Path
from typing import Any

from filterd.api import Kind, Label, Message, Verdict
from filterd.config import Config
from filterd.config import Quarantine as Section
from filterd.quarantine.store import QuarantineStore

RAW = b"From: win@bad.example\r\nSubject: prize\r\n\r\n.you have won\r\n\xff\x00 end\r\n"
SPAM = Verdict(Label.SPAM, 0.99, 7.0, Kind.MAIL, "fake-1", subject="prize")
ANN, BEN = "ann@example.org", "ben@example.org"


def quarantine_of(state: Path, **section: Any) -> QuarantineStore:
    state.mkdir(exist_ok=True)
    return QuarantineStore.open(config_of(state, **section))


def config_of(state: Path, **section: Any) -> Config:
    return Config(state=str(state), quarantine=Section(**section))


def mail(*recipients: str, raw: bytes = RAW, sender: str = "win@bad.example") -> Message:
    return Message(raw, Kind.MAIL, "q1", sender, recipients or (ANN,), "milter")
