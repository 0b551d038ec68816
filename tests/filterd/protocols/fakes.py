"""A classifier that finds spam by one word, and remembers what it was taught and asked."""

import asyncio
from collections.abc import Sequence

from filterd import headers
from filterd.api import Kind, Label, Message, Verdict
from filterd.errors import FilterdError

HAM = b"From: ann@example.org\r\nSubject: lunch\r\n\r\nShall we meet at noon?\r\n"
SPAM = b"From: win@example.net\r\nSubject: hello\r\n\r\nYour prize is waiting.\r\n"


def verdict(label: Label, points: float, **changes: object) -> Verdict:
    given: dict[str, object] = {"model": "fake-1", "tests": ("GPT2", "MEMORY"), "probability": 0.25}
    return Verdict(label=label, points=points, kind=Kind.MAIL, **(given | changes))  # type: ignore[arg-type]


class FakeClassifier:
    """Spam is what contains "prize". gate: closed, it holds judging up. error: raised instead of judging."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.gate.set()
        self.error: Exception | None = None
        self.seen: list[Message] = []
        self.taught: dict[bytes, Label] = {}
        self.cancelled = 0
        self.notes_submissions = False
        self.written: list[tuple[str, Sequence[str]]] = []

    def wrote(self, sender: str, recipients: Sequence[str]) -> None:
        self.written.append((sender, recipients))

    async def check(self, message: Message) -> Verdict:
        self.seen.append(message)
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.error:
            raise self.error
        if b"prize" in message.raw:
            return verdict(Label.SPAM, 15.0, probability=0.9999)
        return verdict(Label.HAM, -3.25)

    async def learn(self, message: Message, label: Label) -> bool:
        if isinstance(self.error, FilterdError):
            raise self.error
        known = self.taught.get(message.raw) is label
        self.taught[message.raw] = label
        return not known

    async def forget(self, message: Message) -> bool:
        return self.taught.pop(message.raw, None) is not None

    def headers(self, found: Verdict) -> list[tuple[str, str]]:
        return [("X-Spam-Score", f"{found.points:.1f}")]

    def is_ours(self, header_name: str) -> bool:
        return headers.HeaderStyle().is_ours(header_name)

    def tag(self, raw: bytes, found: Verdict) -> bytes:
        end = b"\r\n" if b"\r\n" in raw else b"\n"
        return b"".join(f"{name}: {value}".encode() + end for name, value in self.headers(found)) + raw


class Tagging(FakeClassifier):
    """The fake classifier with the header lines that filterd really writes."""

    def tag(self, raw: bytes, found: Verdict) -> bytes:
        return headers.tag(raw, found)
