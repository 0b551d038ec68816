"""The plugins `smtp_proxy` and `lmtp_proxy`, as the daemon starts them; connections are `connection`'s."""

import asyncio
import ipaddress
import ssl
from typing import Any, ClassVar

from filterd.api import Classifier
from filterd.errors import ConfigError
from filterd_plugins.smtp_proxy import settings as configured
from filterd_plugins.smtp_proxy.connection import Connection, Shared
from filterd_plugins.smtp_proxy.delivery import Delivery
from filterd_plugins.smtp_proxy.nexthop import Route
from filterd_plugins.smtp_proxy.settings import readable


class SmtpProxy:
    """The plugin `smtp_proxy`. Raises ConfigError where certificates cannot be read."""

    Settings: ClassVar[type[Any]] = configured.Settings

    def __init__(self, settings: configured.Settings, classifier: Classifier) -> None:
        self._shared = Shared(
            settings,
            Route(settings),
            Delivery(settings, classifier),
            _tls(settings),
            [ipaddress.ip_network(text) for text in settings.trusted],
        )

    def protocol(self) -> Connection:
        """The handler of a new connection."""
        return Connection(self._shared)

    async def close(self, drain_s: float) -> None:
        """Say 421 to whoever has no mail under way, finish the others."""
        self._shared.stopping = True
        tasks = [task for one in list(self._shared.connections) if (task := one.stop())]
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=drain_s)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late)


class LmtpProxy(SmtpProxy):
    """The plugin `lmtp_proxy`: the same for clients that speak LMTP."""

    Settings = configured.LmtpSettings


def _tls(settings: configured.Settings) -> ssl.SSLContext | None:
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
