"""The section `plugins.sms` of the configuration; each class refuses what cannot work, by name."""

import re
from typing import Annotated, Literal

import msgspec

from filterd.kit.settings import ListenSettings, Section

Action = Literal["forward", "accept", "tag", "deny", "reject", "json"]  # forward is accept, deny is reject
# What is not judged is treated as ham: a rule that denied ham would lose every message when filterd is busy.
HamAction = Literal["forward", "accept", "tag", "json"]

UrlPath = Annotated[str, msgspec.Meta(pattern="^/[!-~]*$")]

_URL = re.compile(r"https?://[!-\"$-~]+")  # no blank, no fragment


class GatewaySection(Section, frozen=True, kw_only=True):
    """What both gateways have in common. secret_file: one line; without it the gateway is off.

    forward_to: your application, which gets what is forwarded or tagged. ham, unsure, spam: what is done;
    where nothing is given, what `actions` say.
    """

    secret_file: str = ""
    forward_to: str = ""
    ham: HamAction = "forward"
    unsure: Action | None = None
    spam: Action | None = None

    def __post_init__(self) -> None:
        """Raises ValueError, which is reported with the section's name."""
        actions = {self.ham, self.unsure, self.spam}
        if self.forward_to and not _URL.fullmatch(self.forward_to):
            raise ValueError(f"forward_to: {self.forward_to!r} is no URL; write https://… without a fragment")
        if self.secret_file and actions & {"forward", "accept", "tag", None} and not self.forward_to:
            raise ValueError("forward_to: the actions forward and tag need the URL of your application")


class Twilio(GatewaySection, frozen=True, kw_only=True):
    """url: what stands at Twilio as the number's webhook, without a query; its signature is made of it."""

    path: UrlPath = "/twilio"
    url: str = ""

    def __post_init__(self) -> None:
        """Raises ValueError."""
        super().__post_init__()
        if self.secret_file and (not _URL.fullmatch(self.url) or "?" in self.url):
            raise ValueError(f"url: {self.url!r} is no URL; write the webhook's as Twilio calls it")


class Kannel(GatewaySection, frozen=True, kw_only=True):
    """The `get-url` of a Kannel sms-service."""

    path: UrlPath = "/kannel"


class SmsSettings(ListenSettings, frozen=True, kw_only=True):
    """The whole section. deadline_s: a message that is not judged by then is treated as ham."""

    listen: tuple[str, ...] = ("tcp:127.0.0.1:8090",)
    twilio: Twilio = Twilio()
    kannel: Kannel = Kannel()
    deadline_s: Annotated[float, msgspec.Meta(gt=0, le=14)] = 8.0

    def __post_init__(self) -> None:
        """Raises ValueError."""
        super().__post_init__()
        if not self.twilio.secret_file and not self.kannel.secret_file:
            raise ValueError(
                "neither twilio.secret_file nor kannel.secret_file is set; nothing would be served"
            )
        if self.twilio.path == self.kannel.path:
            raise ValueError("twilio.path and kannel.path are the same; change one")
