"""The two gateways: which message a request brings, and what the gateway gets back for its verdict.

An answer is chosen by a table: the verdict's label names its action (of the gateway, or of `actions`),
and that the form of the answer. What was not judged goes the way of ham.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from filterd.api import Action, Kind, Label, Message, Verdict, Way
from filterd_plugins.sms import wire
from filterd_plugins.sms.settings import GatewaySection, Kannel, Twilio

MAX_NAME = 200  # characters of a gateway's own id of a message; it comes back in answers and logs
FORM = "application/x-www-form-urlencoded"
SECRET = "secret"  # noqa: S105 (the name of Kannel's parameter)
WORDS: Mapping[str | None, Action | None] = {
    "forward": Action.ACCEPT,
    "accept": Action.ACCEPT,
    "tag": Action.TAG,
    "json": Action.TAG,
    "deny": Action.REJECT,
    "reject": Action.REJECT,
    None: None,
}
BINARY = {"8-bit", "binary"}  # Kannel's %C for what is no text
UTF8 = {"", "utf-8", "gsm"}  # text that Kannel gives us in UTF-8, whatever it was on the air


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """A gateway's request. query: encoded; headers: the last of each name, in lower case."""

    method: str
    path: str
    query: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer."""

    status: int
    body: bytes = b""
    kind: str = "text/plain; charset=utf-8"
    headers: tuple[tuple[str, str], ...] = ()


class RefusedWebhook(Exception):
    """A request that gets no verdict; carries its answer."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.answer = Answer(status, f"{reason}\n".encode())


class Gateway(Protocol):
    """One kind of gateway."""

    method: str

    @property
    def settings(self) -> GatewaySection:
        """Its section of the configuration."""

    def message(self, request: Webhook) -> Message | None:
        """What is to be judged; None where there is nothing, as in a picture. Raises RefusedWebhook."""

    def forwarded(self, request: Webhook, added: dict[str, str]) -> Answer:
        """The answer by which the gateway hands the message on to the application."""

    def denied(self) -> Answer:
        """The answer after which the gateway does no more."""


class TwilioGateway:
    """Twilio's webhook for incoming messages."""

    method = "POST"

    def __init__(self, settings: Twilio, secret: bytes) -> None:
        self.settings = settings
        self._secret = secret

    def message(self, request: Webhook) -> Message | None:
        """The form's Body. Raises RefusedWebhook without a form or Twilio's signature."""
        if request.headers.get("content-type", "").split(";")[0].strip().lower() != FORM:
            raise RefusedWebhook(415, f"send a form ({FORM}), as Twilio does")
        given = wire.fields(request.body)
        signature = request.headers.get("x-twilio-signature", "")
        named = request.headers.get(wire.SIGNATURE_SETTINGS, "")
        if not wire.signed_by_twilio(
            self._secret,
            url=self.settings.url,
            query=request.query,
            given=given,
            signature=signature,
            settings=named,
        ):
            raise RefusedWebhook(403, "not signed by Twilio; are twilio.url and twilio.secret_file right?")
        return _message(
            wire.first(given, "Body").encode("utf-8", "surrogateescape"),
            wire.first(given, "MessageSid"),
            wire.first(given, "From"),
            wire.first(given, "To"),
            "twilio",
            way(self.settings),
        )

    def forwarded(self, request: Webhook, added: dict[str, str]) -> Answer:
        """TwiML that redirects; Twilio then sends the application the same form, signed for its URL."""
        url = wire.onward(self.settings.forward_to, added=added)
        return Answer(200, wire.twiml(url), "text/xml; charset=utf-8")

    def denied(self) -> Answer:
        """TwiML without a verb: nobody is answered."""
        return Answer(200, wire.twiml(), "text/xml; charset=utf-8")


class KannelGateway:
    """Kannel's sms-service with a get-url."""

    method = "GET"

    def __init__(self, settings: Kannel, secret: bytes) -> None:
        self.settings = settings
        self._secret = secret

    def message(self, request: Webhook) -> Message | None:
        """The query's text. Raises RefusedWebhook without the secret."""
        given = wire.fields(request.query.encode("ascii"))
        secret = wire.first(given, SECRET).encode("utf-8", "surrogateescape")
        if not wire.same(secret, self._secret):
            raise RefusedWebhook(403, "the parameter secret is missing or wrong; see kannel.secret_file")
        charset = wire.first(given, "charset").lower()
        text = wire.first(given, "text")
        raw = text.encode("utf-8", "surrogateescape")
        return _message(
            b"" if charset in BINARY else raw if charset in UTF8 else wire.text_of(text, charset),
            wire.first(given, "id"),
            wire.first(given, "from"),
            wire.first(given, "to"),
            "kannel",
            way(self.settings),
        )

    def forwarded(self, request: Webhook, added: dict[str, str]) -> Answer:
        """A redirection with the parameters as they came, less the secret."""
        url = wire.onward(self.settings.forward_to, query=request.query, without=SECRET, added=added)
        return Answer(302, headers=(("Location", url),))

    def denied(self) -> Answer:
        """An empty text: Kannel answers the sender nothing where omit-empty is set."""
        return Answer(200)


def way(settings: GatewaySection) -> Way:
    """What can be done to an SMS, and what the gateway's settings want."""
    can = frozenset({Action.ACCEPT, Action.TAG, Action.REJECT})
    return Way(can, lambda verdict, recipient: WORDS[_word(settings, verdict)], each=False)


def _word(settings: GatewaySection, found: Verdict) -> str | None:
    """What the settings say of a verdict; what was not judged goes the way of ham."""
    word: str | None = getattr(settings, found.label if found.available else Label.HAM)
    return word


def _message(text: bytes, name: str, sender: str, recipient: str, source: str, how: Way) -> Message | None:
    if not text.strip():
        return None
    plain = "".join(c for c in name if c.isprintable())[:MAX_NAME]
    return Message(
        text,
        kind=Kind.SMS,
        id=plain,
        sender=sender,
        recipients=(recipient,) if recipient else (),
        source=source,
        way=how,
    )


def answer(gateway: Gateway, request: Webhook, message: Message | None, found: Verdict) -> Answer:
    """What the gateway gets back; the verdict is in two headers of it too."""
    forms: dict[Action, Callable[[], Answer]] = {
        Action.ACCEPT: lambda: gateway.forwarded(request, {}),
        Action.TAG: lambda: gateway.forwarded(request, wire.tags(found)),
        Action.REJECT: gateway.denied,
    }
    if _word(gateway.settings, found) == "json":
        made = Answer(200, _json(found, message.id if message else ""), "application/json")
    else:
        made = forms[found.action or way(gateway.settings).settle(found, ())]()
    said = tuple(
        ("X-Filterd-" + name.removeprefix(wire.OURS).title(), value)
        for name, value in wire.tags(found).items()
    )
    return Answer(made.status, made.body, made.kind, made.headers + said)


def _json(found: Verdict, name: str) -> bytes:
    said = {
        "label": found.label,
        "probability": round(found.probability, 6),
        "points": round(found.points, 2),
        "kind": found.kind,
        "model": found.model,
        "id": name,
        "available": found.available,
    }
    return json.dumps(said).encode("ascii") + b"\n"
