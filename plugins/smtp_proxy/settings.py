"""The plugin's section of filterd.yaml; docs/plugins/smtp_proxy.md is its manual."""

import ipaddress
import re
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from filterd.api import Action
from filterd.errors import ConfigError

Language = Literal["smtp", "lmtp"]
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

Positive = Annotated[int, msgspec.Meta(ge=1)]
Seconds = Annotated[float, msgspec.Meta(gt=0)]
Mode = Annotated[str, msgspec.Meta(pattern="^0[0-7]{3}$")]
# Basic and enhanced code and a text (RFC 5321 4.2, RFC 3463), one line of printable ASCII.
Refusal = Annotated[str, msgspec.Meta(pattern=r"^5[0-9]{2} 5\.[0-9]{1,3}\.[0-9]{1,3} [ -~]{1,400}$")]
Deferral = Annotated[str, msgspec.Meta(pattern=r"^4[0-9]{2} 4\.[0-9]{1,3}\.[0-9]{1,3} [ -~]{1,400}$")]
Host = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9._\[\]:-]{0,255}$")]
Mailbox = Annotated[str, msgspec.Meta(pattern=r'^([^\s<>"@]{1,64}@[^\s<>"@]{1,255})?$')]

_TCP = re.compile(r"tcp:(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<host>[\w.-]+)):(?P<port>[0-9]{1,5})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Address:
    """Where the next hop is: a path, or a host and a port."""

    path: str = ""
    host: str = ""
    port: int = 0


def parse_address(text: str) -> Address:
    """An address as in `listen`. Raises ValueError."""
    kind, _, path = text.partition(":")
    if kind == "unix" and path.startswith("/") and "\0" not in path:
        return Address(path=path)
    match = _TCP.fullmatch(text)
    if match and 0 < int(match["port"]) < 1 << 16:
        return Address(host=match["six"] or match["host"], port=int(match["port"]))
    raise ValueError(f"next_hop: {text!r} is no address; write tcp:127.0.0.1:10026 or unix:/absolute/path")


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Every key of `plugins: smtp_proxy:`; only `next_hop` has to be given."""

    next_hop: str
    listen: tuple[str, ...] = ("tcp:127.0.0.1:10025",)
    mode: Mode = "0660"
    protocol: Language = "smtp"
    next_hop_protocol: Language | None = None
    hostname: Host = ""
    spam: Action | None = None
    unsure: Action | None = None
    reject_points: float | None = None
    reject_reply: Refusal = "550 5.7.1 Message refused as spam"
    tempfail_reply: Deferral = "451 4.7.1 Message looks like spam, try again later"
    quarantine: Mailbox = ""
    on_error: Literal["accept", "tempfail"] = "accept"
    trusted: tuple[str, ...] = ("127.0.0.0/8", "::1/128")
    tls_certificate: str = ""
    tls_key: str = ""
    tls_required: bool = False
    next_hop_tls: Literal["none", "may", "verify"] = "none"
    next_hop_ca: str = ""
    max_bytes: Positive = 64 << 20
    max_recipients: Positive = 1000
    max_connections: Positive = 100
    client_timeout_s: Seconds = 300.0
    connect_timeout_s: Seconds = 10.0
    next_hop_timeout_s: Seconds = 300.0

    def __post_init__(self) -> None:
        """Raises ValueError, which is shown with the section's name."""
        parse_address(self.next_hop)
        self.networks()
        if bool(self.tls_certificate) != bool(self.tls_key):
            raise ValueError("tls_certificate and tls_key go together; give both or neither")
        if self.tls_required and not self.tls_certificate:
            raise ValueError("tls_required: needs tls_certificate and tls_key")
        if self.next_hop_tls != "none" and self.next_hop.startswith("unix:"):
            raise ValueError("next_hop_tls: there is no TLS over a unix socket; write none")

    def networks(self) -> list[Network]:
        """`trusted` as networks. Raises ValueError."""
        try:
            return [ipaddress.ip_network(text) for text in self.trusted]
        except ValueError as error:
            raise ValueError(
                f"trusted: {error}; write networks such as 127.0.0.0/8 or 2001:db8::/32"
            ) from error

    @property
    def onward(self) -> Language:
        """What the next hop speaks: as configured, else what is spoken to us."""
        return self.next_hop_protocol or self.protocol

    @property
    def name(self) -> str:
        """What the proxy calls itself: another name than the mail server's, which would see a loop."""
        return self.hostname or f"filterd.{socket.gethostname() or 'localhost'}"


class LmtpSettings(Settings, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The same for `plugins: lmtp_proxy:`, whose clients speak LMTP."""

    listen: tuple[str, ...] = ("unix:/run/filterd/lmtp.sock",)
    protocol: Language = "lmtp"


def readable(key: str, file: str) -> str:
    """A file's name once it is sure that it can be read. Raises ConfigError."""
    try:
        with Path(file).open("rb"):
            return file
    except OSError as error:
        raise ConfigError(
            f"{key}: {file}: {error.strerror}; name a PEM file that filterd may read"
        ) from error
