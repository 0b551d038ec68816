"""The plugin's section of filterd.yaml; docs/plugins/smtp_proxy.md is its manual."""

import socket
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from filterd.api import Action
from filterd.errors import ConfigError
from filterd.kit.address import Tcp, Unix, parse_networks, peer_address
from filterd.kit.settings import ListenSettings, Positive, Seconds

Language = Literal["smtp", "lmtp"]

# Basic and enhanced code and a text (RFC 5321 4.2, RFC 3463), one line of printable ASCII.
Refusal = Annotated[str, msgspec.Meta(pattern=r"^5[0-9]{2} 5\.[0-9]{1,3}\.[0-9]{1,3} [ -~]{1,400}$")]
Deferral = Annotated[str, msgspec.Meta(pattern=r"^4[0-9]{2} 4\.[0-9]{1,3}\.[0-9]{1,3} [ -~]{1,400}$")]
Host = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9._\[\]:-]{0,255}$")]
Mailbox = Annotated[str, msgspec.Meta(pattern=r'^([^\s<>"@]{1,64}@[^\s<>"@]{1,255})?$')]


class ProxySettings(ListenSettings, frozen=True, kw_only=True):
    """Every key of `plugins: smtp_proxy:`; only `next_hop` has to be given."""

    next_hop: str
    listen: tuple[str, ...] = ("tcp:127.0.0.1:10025",)
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
        super().__post_init__()
        self.next_address()
        parse_networks("trusted", self.trusted)
        if bool(self.tls_certificate) != bool(self.tls_key):
            raise ValueError("tls_certificate and tls_key go together; give both or neither")
        if self.tls_required and not self.tls_certificate:
            raise ValueError("tls_required: needs tls_certificate and tls_key")
        if self.next_hop_tls != "none" and self.next_hop.startswith("unix:"):
            raise ValueError("next_hop_tls: there is no TLS over a unix socket; write none")

    def next_address(self) -> Unix | Tcp:
        """`next_hop` as an address. Raises ValueError."""
        try:
            return peer_address(self.next_hop)
        except ConfigError as error:
            raise ValueError(f"next_hop: {error}") from error

    @property
    def onward(self) -> Language:
        """What the next hop speaks: as configured, else what is spoken to us."""
        return self.next_hop_protocol or self.protocol

    @property
    def name(self) -> str:
        """What the proxy calls itself: another name than the mail server's, which would see a loop."""
        return self.hostname or f"filterd.{socket.gethostname() or 'localhost'}"


class LmtpSettings(ProxySettings, frozen=True, kw_only=True):
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
