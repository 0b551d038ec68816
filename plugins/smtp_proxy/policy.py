"""What happens to a mail by its verdict; pure."""

from dataclasses import dataclass

from filterd.api import Action, Label, Verdict, Way
from filterd.errors import FilterdError
from filterd_plugins.smtp_proxy.settings import ProxySettings
from filterd_plugins.smtp_proxy.wire import Reply, SmtpPath, has_bare_newline

MAX_NAMED = 100  # recipients named there; more would only make a header that servers refuse


@dataclass(frozen=True, slots=True)
class SmtpDecision:
    """What to do with a mail. reply: what the client is told where the next hop is not asked."""

    action: Action
    reply: Reply | None = None


def way(settings: ProxySettings) -> Way:
    """What the proxy can do to a mail, and what its settings want.

    It always tags what it passes on: without that a forged verdict would go through.
    """
    can = set(Action) - {Action.ACCEPT}
    return Way(
        frozenset(can),
        lambda verdict, recipient: _own(verdict, settings),
        bool(settings.quarantine),
        each=False,
    )


def _own(verdict: Verdict, settings: ProxySettings) -> Action | None:
    """What the settings say of a verdict; None where they leave it to `actions`."""
    if not verdict.available:
        return Action.TEMPFAIL if settings.on_error == "tempfail" else Action.TAG
    if verdict.label is Label.SPAM:
        refused = settings.reject_points is not None and verdict.points >= settings.reject_points
        return Action.REJECT if refused else settings.spam
    return settings.unsure if verdict.label is Label.UNSURE else None


def decide(verdict: Verdict, settings: ProxySettings) -> SmtpDecision:
    """What is done about a verdict. verdict: whoever gave it may have left the action to us."""
    action = verdict.action or way(settings).settle(verdict, ())
    if action is Action.QUARANTINE and not (verdict.action or settings.quarantine):
        action = Action.MOVE  # who left the action to us has not kept the mail
    match action:
        case Action.REJECT:
            return SmtpDecision(action, Reply.of(settings.reject_reply))
        case Action.TEMPFAIL:
            later = settings.tempfail_reply if verdict.available else FilterdError.smtp_reply
            return SmtpDecision(action, Reply.of(later))
        case Action.DISCARD:
            return SmtpDecision(action, Reply.of("250 2.0.0 Ok, discarded"))
        case Action.QUARANTINE if not settings.quarantine:  # filterd has it
            return SmtpDecision(action, Reply.of("250 2.0.0 Ok, held"))
        case _:
            return SmtpDecision(action)


def envelope_headers(sender: SmtpPath, recipients: list[SmtpPath]) -> bytes:
    """Who a quarantined mail was from and for, so that it can be released."""
    named = [b"<" + one.address + b">" for one in recipients[:MAX_NAMED]]
    return b"X-Envelope-From: <%b>\r\nX-Envelope-To: %b\r\n" % (sender.address, b",\r\n\t".join(named))


def fit_to_send(tagged: bytes, content: bytes) -> bytes:
    """The tagged mail; the mail as it came where tagging has made something that SMTP cannot carry."""
    return content if has_bare_newline(tagged) else tagged
