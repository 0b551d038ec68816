"""All that a plugin may import, together with `filterd.errors`.

A plugin turns somebody's bytes into a `Message`, asks a `Classifier` for a `Verdict`, and acts on it.
Nothing in here does any work: no I/O, no model, no third-party import.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

if TYPE_CHECKING:  # asyncio takes 80 ms to import, which `filterd check` in a pipe should not pay
    from asyncio import BaseProtocol

__all__ = ["Classifier", "Kind", "Label", "Message", "Plugin", "Verdict"]


class Label(StrEnum):
    """The decision about a message. `unsure` lies between the bundle's two thresholds."""

    HAM = "ham"
    UNSURE = "unsure"
    SPAM = "spam"


class Kind(StrEnum):
    """What a message is; thresholds and calibration may differ between the two."""

    MAIL = "mail"
    SMS = "sms"


@dataclass(frozen=True, slots=True)
class Message:
    """One message as it came in.

    raw: a mail's RFC 5322 bytes, or an SMS's text as UTF-8. Never decoded, never changed.
    kind: what it is; None lets the engine look.
    id: the caller's own name for it (queue id, file name), for logs and answers only.
    sender, recipients: the envelope, empty where there is none.
    source: who handed it in ("milter", "spamd", "cli", …); quotas on corrections go by it.
    user: for whom it is judged, or whose correction it is; "" where only the envelope says.
    """

    raw: bytes
    kind: Kind | None = None
    id: str = ""
    sender: str = ""
    recipients: tuple[str, ...] = ()
    source: str = ""
    user: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What filterd thinks of one message.

    probability: calibrated P(spam), in [0, 1].
    points: the same on SpamAssassin's scale; 5.0 exactly at the spam threshold, one point a nat of log-odds.
    tests: what had a part in it, as SpamAssassin would list its rules ("GPT2", "MEMORY", "GTUBE", …).
    classes: P of each of the model's own classes, by name; they sum to 1.
    model: id of the bundle that judged, "" where none did.
    available: False where the filter could not judge (overload, no model) and let the message through.
    subject: the mail's decoded subject or the SMS's beginning, for people to recognise the message by.
    seconds: time spent judging it; in a batch, its share.
    """

    label: Label
    probability: float
    points: float
    kind: Kind
    model: str = ""
    tests: tuple[str, ...] = ()
    classes: Mapping[str, float] = field(default_factory=dict)
    available: bool = True
    subject: str = ""
    seconds: float = 0.0


class Classifier(Protocol):
    """What a plugin is given. Safe to call from many tasks of one event loop."""

    async def check(self, message: Message) -> Verdict:
        """Judge one message. Raises Overloaded, DeadlineExceeded or ModelUnavailable (`filterd.errors`)."""

    async def learn(self, message: Message, label: Label) -> bool:
        """Take a correction (`ham` or `spam`); durable once this returns. False: it was known already.

        Raises LearningClosed where the configuration does not allow it, StoreError where it cannot be kept.
        """

    async def forget(self, message: Message) -> bool:
        """Take a correction back. False: there was none. Raises as `learn` does."""

    def headers(self, verdict: Verdict) -> list[tuple[str, str]]:
        """Header names and values that announce a verdict; ASCII, unfolded, without CR, LF or NUL."""

    def is_ours(self, header_name: str) -> bool:
        """Whether an incoming header of this name is forged and has to go before ours are added."""

    def tag(self, raw: bytes, verdict: Verdict) -> bytes:
        """The whole mail with our headers on top and forged ones gone; every other byte as it came."""


class Plugin(Protocol):
    """What the entry-point group `filterd.plugins` names: a class, made once for its configuration section.

    Settings: a `msgspec.Struct` with a default for every key (or an annotated one without, if it has to be
    given) and `forbid_unknown_fields`. Its `listen` (tuple of "unix:/path" or "tcp:host:port") and `mode`
    ("0660") say where the daemon listens for the plugin; sockets, limits and signals are the daemon's work.
    """

    Settings: ClassVar[type[Any]]

    def __init__(self, settings: Any, classifier: Classifier) -> None: ...

    def protocol(self) -> "BaseProtocol":
        """The handler of one new connection, as asyncio's `create_server` wants it."""

    async def close(self, drain_s: float) -> None:
        """Finish what is under way, for at most `drain_s` seconds; no connection comes after this."""
