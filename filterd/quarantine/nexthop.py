"""Hands mail to the next hop, by SMTP or LMTP; blocking, so call it off the event loop.

Each recipient is a transaction of his own: he has the mail or he has not, and nobody has to guess.
"""

import smtplib
from typing import Any, Final, NamedTuple

from filterd.config import Config
from filterd.errors import FilterdError, NotFound
from filterd.history.record import clean
from filterd.kit.address import Tcp, Unix, peer_address

TIMEOUT_S: Final = 30.0  # for a connection and for each reply; a person may be waiting
PROXIES: Final = (("smtp_proxy", "smtp"), ("lmtp_proxy", "lmtp"))


class ReleaseFailed(FilterdError):
    """The next hop does not take it; nothing has changed."""

    exit_status = 75  # EX_TEMPFAIL


class ReleaseHop(NamedTuple):
    """Where released mail goes. host: a path for a unix socket."""

    host: str
    port: int
    lmtp: bool

    @classmethod
    def of(cls, config: Config) -> "ReleaseHop":
        """As configured for the quarantine, else the proxies' own. Raises NotFound where there is none."""
        section = config.quarantine
        if section.next_hop:
            return _parsed(section.next_hop, section.protocol)
        for name, spoken in PROXIES:
            plugin: dict[str, Any] = config.plugins.get(name, {})
            if plugin.get("next_hop"):
                protocol = plugin.get("next_hop_protocol") or plugin.get("protocol") or spoken
                return _parsed(str(plugin["next_hop"]), str(protocol))
        raise NotFound("nobody takes released mail; set quarantine.next_hop, such as tcp:127.0.0.1:10026")

    def send(self, sender: str, recipient: str, raw: bytes) -> None:
        """Hand a message over; taken when this returns. Raises ReleaseFailed."""
        try:
            with self._connect() as server:
                server.ehlo_or_helo_if_needed()
                eight = not raw.isascii() and server.has_extn("8bitmime")
                options = ["BODY=8BITMIME"] if eight else []
                if not f"{sender}{recipient}".isascii():
                    options.append("SMTPUTF8")
                server.sendmail(sender, [recipient], raw, options)
        except smtplib.SMTPRecipientsRefused as error:
            code, said = next(iter(error.recipients.values()))
            raise ReleaseFailed(f"the next hop refuses {clean(recipient)}: {code} {_line(said)}") from error
        except smtplib.SMTPResponseException as error:
            raise ReleaseFailed(f"the next hop says {error.smtp_code} {_line(error.smtp_error)}") from error
        except (smtplib.SMTPException, OSError, ValueError) as error:
            raise ReleaseFailed(
                f"next hop {self.host}: {clean(str(error)) or type(error).__name__}"
            ) from error

    def _connect(self) -> smtplib.SMTP:
        kind = smtplib.LMTP if self.lmtp else smtplib.SMTP
        return kind(self.host, self.port, timeout=TIMEOUT_S)


def _parsed(address: str, protocol: str) -> ReleaseHop:
    lmtp = protocol == "lmtp"
    match peer_address(address, unix=lmtp):
        case Unix(path):
            return ReleaseHop(str(path), 0, lmtp)
        case Tcp(host, port):
            return ReleaseHop(host, port, lmtp)


def _line(said: bytes | str) -> str:
    return clean(said.decode("utf-8", "replace") if isinstance(said, bytes) else said)
