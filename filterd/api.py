"""All that a plugin may import, together with `filterd.errors` and what it needs of `filterd.kit`.

A plugin turns somebody's bytes into a `Message`, asks a `Classifier` for a `Verdict`, and acts on it.
Nothing in here does any work: no I/O, no model, no third-party import.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self, runtime_checkable

if TYPE_CHECKING:  # asyncio takes 80 ms to import, which `filterd check` in a pipe should not pay
    from asyncio import BaseProtocol

    from filterd.kit.door import Door

__all__ = [
    "Action",
    "Classifier",
    "Kind",
    "Label",
    "Message",
    "ModelAnswer",
    "Plugin",
    "StreamPlugin",
    "Verdict",
    "Way",
    "WebPlugin",
]


class Label(StrEnum):
    """The decision about a message. `unsure` lies between the bundle's two thresholds."""

    HAM = "ham"
    UNSURE = "unsure"
    SPAM = "spam"


class Kind(StrEnum):
    """What a message is; thresholds and calibration may differ between the two."""

    MAIL = "mail"
    SMS = "sms"


class Action(StrEnum):
    """What is done to a message, the mildest first; the one vocabulary of all ways in.

    tag: delivered with our headers. accept: delivered without them. move: tagged, and a header asks the
    mailbox's rules to file it as spam. quarantine: kept until somebody releases it. tempfail: refused for now
    (4xx; `defer` is another word for it). reject: refused (5xx). discard: taken and dropped.
    """

    TAG = "tag"
    ACCEPT = "accept"
    MOVE = "move"
    QUARANTINE = "quarantine"
    TEMPFAIL = "tempfail"
    REJECT = "reject"
    DISCARD = "discard"

    @classmethod
    def _missing_(cls, value: object) -> Self | None:
        return cls("tempfail") if value == "defer" else None


MILDEST_FIRST = {action: place for place, action in enumerate(Action)}
RELEASED = "RELEASED"  # among a verdict's tests: somebody has had the mail released from quarantine
Own = Callable[["Verdict", str], Action | None]


@dataclass(frozen=True, slots=True)
class Way:
    """What a way in can do about a verdict, and what its own settings want.

    can: what it can do; what is asked for beyond that becomes the next milder. own: what its settings say of
    a verdict for one recipient ("" where there is none), None where they say nothing and `actions` of the
    configuration decide. holds: it has a quarantine of its own, so filterd need not keep the message.
    each: whether `own` may say another thing for another recipient; where not, it is asked once.
    """

    can: frozenset[Action] = frozenset({Action.TAG, Action.MOVE})
    own: Own | None = None
    holds: bool = False
    each: bool = True

    def settle(
        self, verdict: "Verdict", recipients: Collection[str], configured: Own | None = None
    ) -> Action:
        """What is done: for several recipients the mildest, so that nobody loses a mail by another's wish.

        Nothing keeps a mail that was released from its recipient once more: such rules do not apply to it.
        """
        rules = [rule for rule in (self.own, configured) if rule]
        most = Action.MOVE if RELEASED in verdict.tests else Action.DISCARD
        wanted = {_first(rules, verdict, one, most) for one in recipients or ("",)} if rules else {Action.TAG}
        return self.able(min(wanted, key=MILDEST_FIRST.__getitem__))

    def able(self, wanted: Action) -> Action:
        """An action, or the next milder one that this way in can do; it always can tag."""
        if wanted in self.can:
            return wanted
        milder = [one for one in self.can if MILDEST_FIRST[one] < MILDEST_FIRST[wanted]]
        tagged = [one for one in milder if one is not Action.ACCEPT]  # it would hide what was found
        return max(tagged, key=MILDEST_FIRST.__getitem__, default=Action.TAG)


def _first(rules: Collection[Own], verdict: "Verdict", recipient: str, most: Action) -> Action:
    """What the first rule says that applies. most: the harshest that may be done."""
    for rule in rules:
        found = rule(verdict, recipient)
        if found and MILDEST_FIRST[found] <= MILDEST_FIRST[most]:
            return found
    return Action.TAG


ASKING = Way(frozenset(Action), holds=True)  # whoever asks acts on the answer, and nobody knows how


@dataclass(frozen=True, slots=True)
class Message:
    """One message as it came in.

    raw: a mail's RFC 5322 bytes, or an SMS's text as UTF-8. Never decoded, never changed.
    kind: what it is; None lets the engine look.
    id: the caller's own name for it (queue id, file name), for logs and answers only.
    sender, recipients: the envelope, empty where there is none.
    source: who handed it in ("milter", "spamd", "cli", …); quotas on corrections go by it.
    user: for whom it is judged, or whose correction it is; "" where only the envelope says.
    way: what whoever handed it in can do about the verdict.
    login: the name that its sender has logged in with, as the mail server says; "" for nobody.
    """

    raw: bytes
    _: KW_ONLY
    kind: Kind | None = None
    id: str = ""
    sender: str = ""
    recipients: tuple[str, ...] = ()
    source: str = ""
    user: str = ""
    way: Way = field(default=Way(), repr=False, compare=False)
    login: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelAnswer:
    """What a model says that knows no spam.

    task: `classes`, `multilabel`, `regression` or `hierarchical`. text: the answer in one line.
    labels: the classes that it names: one, any number (`multilabel`), or a category and its subcategory
    (`hierarchical`). value: the number of `regression`.
    """

    task: str
    text: str
    labels: tuple[str, ...] = ()
    value: float | None = None

    def fields(self) -> dict[str, Any]:
        """Its part of a verdict in JSON: `task`, `label` and what the task has of the rest."""
        found: dict[str, Any] = {"task": self.task, "label": self.text}
        if self.value is not None:
            return found | {"value": self.value}
        return found | {"labels": list(self.labels)}

    @classmethod
    def of(cls, said: Mapping[str, Any]) -> "ModelAnswer":
        """What `fields` made. Raises KeyError, TypeError."""
        labels, value = tuple(said.get("labels", ())), said.get("value")
        task = said.get("task", "classes")
        return cls(task=task, text=said["label"], labels=labels, value=value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What filterd thinks of one message.

    probability: calibrated P(spam), in [0, 1].
    points: the same on SpamAssassin's scale; 5.0 exactly at the spam threshold, one point a nat of log-odds.
    tests: what had a part in it, as SpamAssassin would list its rules ("GPT2", "MEMORY", "GTUBE", …).
    classes: P of each of the model's own classes, by name; they sum to 1 where they exclude one another.
    model: id of the bundle that judged, "" where none did.
    available: False where the filter could not judge (overload, no model) and let the message through.
    subject: the mail's decoded subject or the SMS's beginning, for people to recognise the message by.
    seconds: time spent judging it; in a batch, its share.
    hosts: where its links lead, for lists of link hosts.
    answer: of a model that knows no spam; `probability` is then of what it names (of a number, how far up its
    range it lies), `label` is ham and `points` are 0. None where ham is judged against spam.
    action: what is to be done, by the way in's own settings and `actions`; None before that is decided.
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
    action: Action | None = None
    hosts: tuple[str, ...] = field(default=(), repr=False, compare=False)
    answer: ModelAnswer | None = None

    @property
    def said(self) -> str:
        """The verdict in one line: the label, or the answer of a model that knows no spam."""
        return self.answer.text if self.answer else self.label

    def fields(self) -> dict[str, Any]:
        """What was found, in JSON: a label with P(spam) and points, or the answer of a model without spam."""
        share = {"probability": round(self.probability, 6)}
        if self.answer is None:
            return {"label": self.label, **share, "points": round(self.points, 2)}
        return self.answer.fields() | ({} if self.answer.value is not None else share)

    @classmethod
    def unavailable(cls, kind: Kind) -> "Verdict":
        """The verdict on a message that could not be judged and passes."""
        return cls(label=Label.HAM, probability=0.0, points=0.0, kind=kind, available=False)


class Classifier(Protocol):
    """What a plugin is given. Safe to call from many tasks of one event loop."""

    @property
    def notes_submissions(self) -> bool:
        """Whether `wrote` is to be called; a way in that sees no logins need not look."""

    def wrote(self, sender: str, recipients: Sequence[str]) -> None:
        """Somebody who has logged in has written to these addresses. Returns at once, raises nothing."""

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

    It is one of the two below. Settings: a `filterd.kit.settings.ListenSettings` with a default for every key
    that need not be given. Sockets, limits, signals and the drain are the daemon's work.
    """

    Settings: ClassVar[type[Any]]

    def __init__(self, settings: Any, classifier: Classifier) -> None: ...


@runtime_checkable
class StreamPlugin(Plugin, Protocol):
    """A plugin with a protocol of its own."""

    def protocol(self, door: "Door") -> "BaseProtocol":
        """The handler of one new connection, as asyncio's `create_server` wants it.

        It takes its place at the door, or refuses the client, and leaves it in the end; the daemon makes one
        door for each address. See `filterd.kit.door`.
        """


@runtime_checkable
class WebPlugin(Plugin, Protocol):
    """A plugin with an ASGI 3 application; the daemon's HTTP server serves it on the plugin's addresses."""

    async def app(self, scope: Any, receive: Any, send: Any) -> None:
        """One request. A client that has gone is `http.disconnect`; see `filterd.kit.web`."""
