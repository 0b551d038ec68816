"""The plugins `smtp_proxy` and `lmtp_proxy`, as the daemon starts them; connections are `connection`'s."""

import ssl
from typing import Any, ClassVar

from filterd.api import Classifier
from filterd.errors import ConfigError
from filterd.kit.address import parse_networks
from filterd.kit.door import Door
from filterd_plugins.smtp_proxy import settings as configured
from filterd_plugins.smtp_proxy.connection import ListenerContext, SmtpConnection
from filterd_plugins.smtp_proxy.delivery import Delivery
from filterd_plugins.smtp_proxy.nexthop import Route
from filterd_plugins.smtp_proxy.settings import readable


class SmtpProxy:
    """The plugin `smtp_proxy`. Raises ConfigError where certificates cannot be read."""

    Settings: ClassVar[type[Any]] = configured.ProxySettings

    def __init__(self, settings: configured.ProxySettings, classifier: Classifier) -> None:
        self.settings = settings
        self._shared = ListenerContext(
            settings=settings,
            route=Route(settings),
            delivery=Delivery(settings, classifier),
            tls=_tls(settings),
            trusted=parse_networks("trusted", settings.trusted),
        )

    def protocol(self, door: Door) -> SmtpConnection:
        """The handler of a new connection."""
        return SmtpConnection(self._shared, door)


class LmtpProxy(SmtpProxy):
    """The plugin `lmtp_proxy`: the same for clients that speak LMTP."""

    Settings = configured.LmtpSettings


def _tls(settings: configured.ProxySettings) -> ssl.SSLContext | None:
    if not settings.tls_certificate:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate = readable("tls_certificate", settings.tls_certificate)
    key = readable("tls_key", settings.tls_key)
    try:
        context.load_cert_chain(certificate, key)
    except ssl.SSLError as error:
        raise ConfigError(
            f"tls_certificate: {certificate} and {key} are no certificate and its key"
        ) from error
    return context
