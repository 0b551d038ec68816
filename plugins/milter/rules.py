"""The plugin's section of the configuration, and pure decisions: verdict and envelope to what is done.

For each recipient the first rule whose conditions all hold decides; where none does, `actions` do. A
milter can treat a mail only as a whole, so where recipients come to different actions the mildest is done for
all of them: nobody loses a mail because of what somebody else has asked for.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import translate
from functools import cache
from typing import Final, Literal, NamedTuple

import msgspec

from filterd.api import Action as Do
from filterd.api import Label, Verdict, Way
from filterd.errors import FilterdError
from filterd.kit.address import Network, is_in, parse_networks
from filterd.kit.settings import ListenSettings, Positive, Section, Share
from filterd_plugins.milter.wire import Client

UNIX: Final = "unix"  # in a list of networks: clients without an address, as Sendmail's own submission
MAX_REPLY: Final = 400  # characters; a reply line has 512 bytes (RFC 5321 4.5.3.1.5)
# "550 5.7.1 text": basic and enhanced code (RFC 5321 4.2, RFC 3463) of the same class, in printable ASCII. No
# "%", which Sendmail takes for the beginning of a format.
_REPLY: Final = re.compile(
    rf"(?P<class>[45])[0-9]{{2}} (?P=class)\.[0-9]{{1,3}}\.[0-9]{{1,3}} [ -$&-~]{{1,{MAX_REPLY}}}"
)


REPLIES: Final = {Do.TEMPFAIL: "451 4.7.1 Try again later", Do.REJECT: "550 5.7.1 Message refused as spam"}


class MilterRule(Section, frozen=True, kw_only=True):
    """An action and its conditions; those that are not given hold always. Patterns are globs, without case.

    label: one of these; min_probability, min_points: of the verdict, at least.
    recipients, senders: of the envelope; networks: of the client; authenticated: whether the client has
    logged in; macros: by name, each has to match. reply: for reject and tempfail, in place of `REPLIES`.
    """

    do: Do
    label: tuple[Label, ...] = ()
    min_probability: Share = 0.0
    min_points: float | None = None
    recipients: tuple[str, ...] = ()
    senders: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()
    authenticated: bool | None = None
    macros: dict[str, str] = msgspec.field(default_factory=dict)
    reply: str = ""

    def __post_init__(self) -> None:
        """Raises ValueError, which msgspec reports with the rule's place."""
        _networks("networks", self.networks)
        if self.reply and not self._reply_fits():
            raise ValueError(
                f'reply {self.reply!r} does not fit `do: {self.do}`; write "550 5.7.1 text" for reject,'
                ' "451 4.7.1 text" for tempfail, in ASCII and without %'
            )

    def _reply_fits(self) -> bool:
        match = _REPLY.fullmatch(self.reply)
        return match is not None and self.do in REPLIES and match["class"] == REPLIES[self.do][0]


class MilterSettings(ListenSettings, frozen=True, kw_only=True):
    """plugins.milter; docs/plugins/milter.md is the manual."""

    listen: tuple[str, ...] = ("unix:/run/filterd/milter.sock",)
    rules: tuple[MilterRule, ...] = ()
    quarantine: Literal["filterd", "server"] = "filterd"
    on_error: Literal["accept", "tempfail"] = "accept"
    skip_authenticated: bool = True
    skip_networks: tuple[str, ...] = ()
    max_bytes: Positive = 2 << 20

    def __post_init__(self) -> None:
        """Raises ValueError, which msgspec reports."""
        super().__post_init__()
        _networks("skip_networks", self.skip_networks)

    @property
    def may_quarantine(self) -> bool:
        """Whether a rule has the mail server hold mail; Sendmail and Postfix want to know beforehand."""
        return self.quarantine == "server" and any(rule.do is Do.QUARANTINE for rule in self.rules)

    @property
    def macros(self) -> list[str]:
        """Names of the macros that rules ask for."""
        return sorted({name.strip("{}") for rule in self.rules for name in rule.macros})


def _networks(key: str, given: tuple[str, ...]) -> tuple[Network, ...]:
    return parse_networks(key, tuple(one for one in given if one != UNIX))


def comes_from(client: Client, networks: tuple[str, ...]) -> bool:
    """Whether a client is in one of the networks of a setting."""
    if client.local:
        return UNIX in networks
    return client.address is not None and is_in(client.address, _networks("networks", networks))


@dataclass(slots=True)
class Envelope:
    """What is known of a mail besides its text."""

    client: Client = field(default_factory=Client)
    sender: str = ""
    recipients: list[str] = field(default_factory=list)
    macros: Mapping[str, str] = field(default_factory=dict)

    @property
    def authenticated(self) -> bool:
        """Whether the client has logged in."""
        return bool(self.macros.get("auth_authen"))


class MilterDecision(NamedTuple):
    """What is done to a mail. verdict: for its headers. reply: of SMTP, where it is refused or deferred."""

    do: Do
    verdict: Verdict
    reply: str = ""


def way(settings: MilterSettings, envelope: Envelope, *, whole: bool = True) -> Way:
    """What a milter can do to a mail of this envelope, and what its rules want.

    whole: whether all of the mail is at hand; one that is cut off at `max_bytes` cannot be kept here.
    """

    holding: list[MilterRule] = []
    asked: Verdict | None = None  # that they hold for

    def own(verdict: Verdict, recipient: str) -> Do | None:
        nonlocal holding, asked
        if not verdict.available:
            return Do.TEMPFAIL if settings.on_error == "tempfail" else Do.TAG
        if asked is not verdict:  # it is asked for each of perhaps 10,000 recipients
            holding, asked = _holding(settings.rules, envelope, verdict), verdict
        rule = _rule(holding, recipient)
        return rule.do if rule else None

    server = settings.quarantine == "server"
    can = set(Do) if (settings.may_quarantine if server else whole) else set(Do) - {Do.QUARANTINE}
    return Way(frozenset(can), own, server, each=_differ(settings))


def decide(settings: MilterSettings, envelope: Envelope, verdict: Verdict) -> MilterDecision:
    """The action for a judged mail. verdict: whoever gave it may have left the action to us."""
    concerned: Sequence[str] = [""]
    if _differ(settings):
        concerned = envelope.recipients or concerned
    # Who left the action to us has not kept the mail either.
    do = verdict.action or way(settings, envelope, whole=False).settle(verdict, concerned)
    holding = _holding(settings.rules, envelope, verdict)
    rules = (_rule(holding, recipient) for recipient in concerned)
    replies = {rule.reply or REPLIES.get(do, "") for rule in rules if rule and rule.do is do}
    return MilterDecision(do, verdict, min(replies, default=REPLIES.get(do, "")))


def unjudged(settings: MilterSettings, verdict: Verdict, error: FilterdError) -> MilterDecision:
    """The action for a mail that could not be judged. verdict: one that says so, `available` being False."""
    if settings.on_error == "tempfail":
        reply = error.smtp_reply if error.smtp_reply.startswith("4") else FilterdError.smtp_reply
        return MilterDecision(Do.TEMPFAIL, verdict, reply)
    return MilterDecision(Do.TAG, verdict)


def _differ(settings: MilterSettings) -> bool:
    """Whether the rules may say another thing for another recipient."""
    return any(rule.recipients for rule in settings.rules)


def _holding(rules: Sequence[MilterRule], envelope: Envelope, verdict: Verdict) -> list[MilterRule]:
    """Those whose conditions all hold but for the recipient."""
    return [one for one in rules if _says_so(one, verdict) and _concerns(one, envelope)]


def _rule(holding: Sequence[MilterRule], recipient: str) -> MilterRule | None:
    """The one that decides for a recipient."""
    plain = recipient.lower()
    return next((one for one in holding if not one.recipients or _globs(one.recipients)(plain)), None)


def _says_so(rule: MilterRule, verdict: Verdict) -> bool:
    return (
        (not rule.label or verdict.label in rule.label)
        and verdict.probability >= rule.min_probability
        and (rule.min_points is None or verdict.points >= rule.min_points)
    )


def _concerns(rule: MilterRule, envelope: Envelope) -> bool:
    return (
        (not rule.senders or _matches(envelope.sender, rule.senders))
        and (not rule.networks or comes_from(envelope.client, rule.networks))
        and (rule.authenticated is None or envelope.authenticated is rule.authenticated)
        and all(
            _matches(envelope.macros.get(name.strip("{}"), ""), (glob,)) for name, glob in rule.macros.items()
        )
    )


def _matches(said: str, globs: tuple[str, ...]) -> bool:
    return _globs(globs)(said.lower()) is not None


@cache
def _globs(globs: tuple[str, ...]) -> Callable[[str], re.Match[str] | None]:
    """What finds out whether something in small letters is like one of these, without case."""
    return re.compile("|".join(translate(glob.lower()) for glob in globs)).match
