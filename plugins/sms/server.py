"""The asyncio side: connections with their limits, and one verdict for each request.

Rule: whatever goes wrong with judging, the gateway gets the answer for ham, and the message arrives. Only a
request that is none of a gateway's (no signature, no secret, not HTTP) is refused.
"""

import asyncio
import logging
from pathlib import Path
from typing import Any, ClassVar

from filterd.api import Classifier, Kind, Label, Message, Verdict
from filterd.errors import BadInput, ConfigError
from filterd_plugins.sms import gateways
from filterd_plugins.sms import settings as section
from filterd_plugins.sms.gateways import Answer, Gateway, KannelGateway, Refused, Request, TwilioGateway
from filterd_plugins.sms.session import Session

REQUEST_TIMEOUT_S = 15.0  # for a whole request from its first byte on, and for the next one to begin
WRITE_TIMEOUT_S = 15.0  # for the client to take its answer; Twilio itself waits 15 s for one
READ_AHEAD_BYTES = 64 << 10  # of further requests while one is being answered
MAX_SECRET_BYTES = 4096

log = logging.getLogger("filterd.sms")


class Sms:
    """The plugin; see `filterd.api.Plugin`."""

    Settings: ClassVar[type[Any]] = section.Settings

    def __init__(self, settings: section.Settings, classifier: Classifier) -> None:
        self._classifier, self._settings = classifier, settings
        self.connections: set[Connection] = set()
        self._gateways: dict[str, Gateway] = {}
        if settings.twilio.secret_file:
            secret = _secret("twilio", settings.twilio.secret_file)
            self._gateways[settings.twilio.path] = TwilioGateway(settings.twilio, secret)
        if settings.kannel.secret_file:
            secret = _secret("kannel", settings.kannel.secret_file)
            self._gateways[settings.kannel.path] = KannelGateway(settings.kannel, secret)

    def protocol(self) -> asyncio.BaseProtocol:
        """The handler of one new connection."""
        return Connection(self, self._settings.max_connections)

    async def close(self, drain_s: float) -> None:
        """Answer what was asked, within `drain_s` seconds, then cut off."""
        for connection in list(self.connections):
            connection.finish()
        tasks = [connection.task for connection in self.connections if connection.task]
        if tasks:
            await asyncio.wait(tasks, timeout=drain_s)
        for connection in list(self.connections):
            connection.abort()

    async def answer(self, request: Request) -> Answer:
        """The answer to a request. Raises nothing but its own cancellation."""
        try:
            gateway = self._gateway(request)
            message = gateway.message(request)
        except Refused as refused:
            log.warning("sms request refused", extra={"fields": {"reason": str(refused)}})
            return refused.answer
        except BadInput as error:
            return Refused(400, str(error)).answer
        return gateways.answer(gateway, request, message, await self._judge(message))

    def _gateway(self, request: Request) -> Gateway:
        gateway = self._gateways.get(request.path)
        if not gateway:
            raise Refused(404, f"there is {' and '.join(self._gateways)} here")
        if request.method != gateway.method:
            raise Refused(405, f"send {gateway.method}")
        return gateway

    async def _judge(self, message: Message | None) -> Verdict:
        """The verdict, or one that says there is none."""
        if message is None:
            return NOT_JUDGED
        try:
            async with asyncio.timeout(self._settings.deadline_s):
                return await self._classifier.check(message)
        except Exception as error:
            reason = " ".join(f"{type(error).__name__} {error}".split())
            log.warning("sms passed unjudged", extra={"fields": {"id": message.id, "reason": reason}})
            return NOT_JUDGED


NOT_JUDGED = Verdict(Label.HAM, 0.0, 0.0, Kind.SMS, available=False)


class Connection(asyncio.Protocol):
    """One connection: a request at a time, the next one is read when its predecessor is answered."""

    def __init__(self, plugin: Sms, max_connections: int) -> None:
        self.task: asyncio.Task[None] | None = None
        self._plugin, self._max_connections = plugin, max_connections
        self._session = Session()
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._last = False  # no request comes after this one
        self._ahead = 0  # bytes that came while one is being answered

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take it, or say that there are too many."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._plugin.connections.add(self)
        self._expect(REQUEST_TIMEOUT_S)
        if len(self._plugin.connections) > self._max_connections:
            self._last = True
            self._send(Refused(503, "too many connections; see plugins.sms.max_connections").answer)

    def data_received(self, data: bytes) -> None:
        """More of a request."""
        if self._last:
            return
        self._session.feed(data)
        if not self.task:
            self._go_on()
            return
        self._ahead += len(data)  # reading goes on, or a client that leaves would not be noticed
        if self._ahead > READ_AHEAD_BYTES and self._transport:
            self._transport.pause_reading()

    def eof_received(self) -> bool:
        """The client sends no more; it still gets its answer."""
        if not self.task:
            return False
        self._last = True
        return True

    def connection_lost(self, error: Exception | None) -> None:
        """Nobody is there any more."""
        self._plugin.connections.discard(self)
        if self._timer:
            self._timer.cancel()
        if self.task:
            self.task.cancel()

    def finish(self) -> None:
        """Take no further request."""
        self._last = True
        if not self.task:
            self.abort()

    def abort(self) -> None:
        """End at once."""
        if self._transport:
            self._transport.abort()

    def _expect(self, seconds: float) -> None:
        """What is under way has to be done by then."""
        if self._timer:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(seconds, self.abort)

    def _go_on(self) -> None:
        assert self._transport
        try:
            request = self._session.request()
        except Refused as refused:
            self._last = True
            self._send(refused.answer)
            return
        if request:
            if self._timer:
                self._timer.cancel()
            self._ahead = 0
            self.task = asyncio.get_running_loop().create_task(self._answer(request))
        elif self._session.over:
            self._transport.close()

    async def _answer(self, request: Request) -> None:
        assert self._transport
        answer = await self._plugin.answer(request)
        self.task = None
        self._send(answer)
        if not self._transport.is_closing():
            self._transport.resume_reading()
            self._go_on()  # a request that came with the last one

    def _send(self, answer: Answer) -> None:
        assert self._transport
        self._transport.write(self._session.answer(answer))
        self._expect(WRITE_TIMEOUT_S)
        if self._last or self._session.over:
            self._transport.close()


def _secret(section: str, file: str) -> bytes:
    where = f"plugins.sms.{section}.secret_file: {file}"
    try:
        with Path(file).open("rb") as stream:
            secret = stream.read(MAX_SECRET_BYTES).strip()
    except OSError as error:
        raise ConfigError(f"{where}: {error.strerror}; name a file with one line") from error
    if not secret:
        raise ConfigError(f"{where}: empty; put the secret in it, in one line")
    return secret
