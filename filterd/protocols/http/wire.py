"""Bodies of requests to messages, verdicts to JSON; no I/O, no framework.

A body is a raw mail (any content type but JSON), or JSON: one message as an object, or many as
`{"messages": [...]}`. A message in JSON has `text` (an SMS), `mail` (a whole mail as a string) or `raw` (the
bytes of either in base64, with `kind` to say which), and optionally `id`, `sender`, `recipients`, `user`.
"""

import re
from collections.abc import Sequence
from typing import Literal, NamedTuple

import msgspec

from filterd.api import ASKING, Action, Kind, Label, Message, Verdict
from filterd.errors import BadInput

MAX_BATCH = 10_000  # messages of one request: five seconds of the default bundle
MAX_ID = 200  # characters of a caller's own id; it comes back in answers and logs

# An escape of JSON: a pair of surrogates, half of one, or whatever else stands behind a backslash.
_ESCAPE = re.compile(
    rb"\\(?:u[dD][89abAB]%(hex)s\\u[dD][c-fC-F]%(hex)s|(?P<half>u[dD][89a-fA-F]%(hex)s)|.)"
    % {b"hex": rb"[0-9a-fA-F]{2}"},
    re.DOTALL,
)


class MessageBody(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One message in JSON: `text`, `mail` or `raw`. kind: of raw, which is looked at without it."""

    text: str | None = None
    mail: str | None = None
    raw: bytes | None = None  # base64 in JSON
    kind: Kind | None = None
    id: str = ""
    sender: str = ""
    recipients: tuple[str, ...] = ()
    user: str = ""
    label: Literal["ham", "spam"] | None = None

    def message(self, source: str) -> Message:
        """The message. Raises BadInput without exactly one of text, mail and raw."""
        if sum(one is not None for one in (self.text, self.mail, self.raw)) != 1:
            raise BadInput("a message needs one of 'text' (an SMS), 'mail' (a whole mail), 'raw' (in base64)")
        kind, content = (Kind.MAIL, self.mail) if self.text is None else (Kind.SMS, self.text)
        raw = (content or "").encode() if self.raw is None else self.raw
        if not raw.strip():
            raise BadInput("the message is empty, there is nothing to judge")
        found = kind if self.raw is None else self.kind
        return Message(
            raw,
            kind=found,
            id=self.id[:MAX_ID],
            sender=self.sender,
            recipients=self.recipients,
            source=source,
            user=self.user,
            way=ASKING,
        )


class BatchBody(msgspec.Struct, forbid_unknown_fields=True):
    """Many messages in JSON."""

    messages: list[MessageBody]

    def __post_init__(self) -> None:
        if not 1 <= len(self.messages) <= MAX_BATCH:
            raise ValueError(f"'messages' holds {len(self.messages):,}; send 1 to {MAX_BATCH:,}")


class VerdictBody(msgspec.Struct, kw_only=True):
    """A verdict in JSON: as `filterd check --json` has it, less `file`; and `available`, `subject`, `action`.

    label: ham, unsure or spam. Of a model that knows no spam it is the answer in one line, without points but
    with `task` and, as the task has them, `labels` or `value` (without probability).
    """

    label: str
    probability: float | msgspec.UnsetType = msgspec.UNSET
    points: float | msgspec.UnsetType = msgspec.UNSET
    task: str | msgspec.UnsetType = msgspec.UNSET
    labels: list[str] | msgspec.UnsetType = msgspec.UNSET
    value: float | msgspec.UnsetType = msgspec.UNSET
    kind: Kind
    model: str
    ms: float
    id: str
    tests: tuple[str, ...]
    classes: dict[str, float]
    available: bool
    subject: str
    action: Action


class MessagesRequest(NamedTuple):
    """The messages of a request, the label that each carries, and whether it was a batch."""

    messages: list[Message]
    labels: list[Label | None]
    many: bool


def decode(
    body: bytes, *, as_json: bool, kind: Kind | None, name: str, source: str, user: str = ""
) -> MessagesRequest:
    """The messages of a request; name, kind and user are of a raw body. Raises BadInput."""
    if not as_json:
        if not body.strip():
            raise BadInput("the body is empty; send a mail, or JSON with content type application/json")
        one = Message(body, kind=kind, id=name[:MAX_ID], source=source, user=user, way=ASKING)
        return MessagesRequest([one], [None], many=False)
    bodies, many = _parse(body)
    labels = [Label(one.label) if one.label else None for one in bodies]
    return MessagesRequest([one.message(source) for one in bodies], labels, many)


def mend_surrogates(body: bytes) -> bytes:
    """JSON with U+FFFD for each half of a surrogate pair: gateways cut texts in the middle of an emoji."""
    return _ESCAPE.sub(lambda escape: b"\\ufffd" if escape["half"] else escape[0], body)


def _parse(body: bytes) -> tuple[list[MessageBody], bool]:
    try:
        return _parsed(body)
    except BadInput:
        mended = mend_surrogates(body)
        if mended == body:
            raise
        return _parsed(mended)


def _parsed(body: bytes) -> tuple[list[MessageBody], bool]:
    try:
        if "messages" in msgspec.json.decode(body, type=dict[str, msgspec.Raw]):
            return msgspec.json.decode(body, type=BatchBody).messages, True
        return [msgspec.json.decode(body, type=MessageBody)], False
    except UnicodeDecodeError as error:
        raise BadInput("the JSON is not UTF-8; send a mail in another charset raw") from error
    except (msgspec.MsgspecError, RecursionError) as error:
        said = "".join(c if c.isprintable() else "?" for c in str(error))  # it names the client's keys
        raise BadInput(f"the JSON does not fit: {said}") from error


class VerdictsBody(msgspec.Struct):
    """The verdicts of a batch, in its order."""

    verdicts: list[VerdictBody]


def verdicts(found: Sequence[Verdict], names: Sequence[str]) -> VerdictsBody:
    """The answer to a batch. 10,000 of them take 0.1 s: call it off the event loop."""
    return VerdictsBody([verdict(one, name) for one, name in zip(found, names, strict=True)])


def verdict(found: Verdict, name: str) -> VerdictBody:
    """A verdict as its JSON object; name is the caller's own id."""
    return VerdictBody(
        **found.fields(),
        kind=found.kind,
        model=found.model,
        ms=round(found.seconds * 1000, 3),
        id=name,
        tests=found.tests,
        classes={name: round(p, 6) for name, p in found.classes.items()},
        available=found.available,
        subject=found.subject,
        action=found.action or Action.TAG,
    )
