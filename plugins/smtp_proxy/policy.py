"""What happens to a mail by its verdict; pure."""

from dataclasses import dataclass

from filterd.api import Kind, Label, Verdict
from filterd_plugins.smtp_proxy.settings import Action, Settings
from filterd_plugins.smtp_proxy.wire import Envelope, Reply, has_bare_newline

MAX_NAMED = 100  # recipients named there; more would only make a header that servers refuse


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do with a mail. reply: what the client is told where the next hop is not asked."""

    action: Action
    reply: Reply | None = None


def unavailable() -> Verdict:
    """The verdict on a mail that could not be judged and passes."""
    return Verdict(Label.HAM, 0.0, 0.0, Kind.MAIL, available=False)


def decide(verdict: Verdict, settings: Settings) -> Decision:
    """What the settings say of a verdict."""
    action: Action = "tag"
    if verdict.available and verdict.label is Label.SPAM:
        action = settings.spam
        if settings.reject_points is not None and verdict.points >= settings.reject_points:
            action = "reject"
    elif verdict.available and verdict.label is Label.UNSURE:
        action = settings.unsure
    match action:
        case "reject":
            return Decision(action, Reply.of(settings.reject_reply))
        case "tempfail":
            return Decision(action, Reply.of(settings.tempfail_reply))
        case "discard":
            return Decision(action, Reply.of("250 2.0.0 Ok, discarded"))
        case _:
            return Decision(action)


def envelope_headers(sender: Envelope, recipients: list[Envelope]) -> bytes:
    """Who a quarantined mail was from and for, so that it can be released."""
    named = [b"<" + one.address + b">" for one in recipients[:MAX_NAMED]]
    return b"X-Envelope-From: <%b>\r\nX-Envelope-To: %b\r\n" % (sender.address, b",\r\n\t".join(named))


def fit_to_send(tagged: bytes, content: bytes) -> bytes:
    """The tagged mail; the mail as it came where tagging has made something that SMTP cannot carry."""
    return content if has_bare_newline(tagged) else tagged
