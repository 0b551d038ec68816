"""The application that the daemon serves: one verdict for each request of a gateway.

Rule: whatever goes wrong with judging, the gateway gets the answer for ham, and the message arrives. Only a
request that is none of a gateway's (no signature, no secret, not HTTP) is refused.
"""

import asyncio
import contextlib
import logging
from typing import Any, ClassVar

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from filterd.api import Classifier, Kind, Message, Verdict
from filterd.errors import BadInput
from filterd.kit.settings import read_secret
from filterd.kit.web import BodyTooLarge, read_body, unless_gone
from filterd_plugins.sms import gateways
from filterd_plugins.sms import settings as section
from filterd_plugins.sms.gateways import (
    Answer,
    Gateway,
    KannelGateway,
    RefusedWebhook,
    TwilioGateway,
    Webhook,
)

MAX_BODY_BYTES = 64 << 10  # Twilio's longest message and all its fields have 20 KB
BODY_TIMEOUT_S = 15.0  # Twilio itself waits 15 s for an answer

log = logging.getLogger("filterd.sms")


class Sms:
    """The plugin; see `filterd.api.WebPlugin`."""

    Settings: ClassVar[type[Any]] = section.SmsSettings

    def __init__(self, settings: section.SmsSettings, classifier: Classifier) -> None:
        self._classifier, self._settings = classifier, settings
        self._gateways: dict[str, Gateway] = {}
        if settings.twilio.secret_file:
            secret = read_secret("plugins.sms.twilio.secret_file", settings.twilio.secret_file).encode()
            self._gateways[settings.twilio.path] = TwilioGateway(settings.twilio, secret)
        if settings.kannel.secret_file:
            secret = read_secret("plugins.sms.kannel.secret_file", settings.kannel.secret_file).encode()
            self._gateways[settings.kannel.path] = KannelGateway(settings.kannel, secret)

    async def app(self, scope: Any, receive: Any, send: Any) -> None:
        """One HTTP request: see `filterd.api.WebPlugin`."""
        request = Request(scope, receive)
        with contextlib.suppress(ClientDisconnect):  # nobody is there any more
            given = await self._given(request)
            answer = Response(given.body, given.status, dict(given.headers), given.kind)
            await answer(scope, receive, send)

    async def _given(self, request: Request) -> Answer:
        try:
            return await unless_gone(request, self.answer(await _webhook(request)))
        except BodyTooLarge as error:
            return RefusedWebhook(413, str(error)).answer
        except BadInput as error:
            return RefusedWebhook(400, str(error)).answer

    async def answer(self, request: Webhook) -> Answer:
        """The answer to a request. Raises BadInput for a form that cannot be read."""
        try:
            gateway = self._gateway(request)
            message = gateway.message(request)
        except RefusedWebhook as refused:
            log.warning("sms request refused", extra={"fields": {"reason": str(refused)}})
            return refused.answer
        return gateways.answer(gateway, request, message, await self._judge(message))

    def _gateway(self, request: Webhook) -> Gateway:
        gateway = self._gateways.get(request.path)
        if not gateway:
            raise RefusedWebhook(404, f"there is {' and '.join(self._gateways)} here")
        if request.method != gateway.method:
            raise RefusedWebhook(405, f"send {gateway.method}")
        return gateway

    async def _judge(self, message: Message | None) -> Verdict:
        """The verdict, or one that says there is none."""
        if message is None:
            return Verdict.unavailable(Kind.SMS)
        try:
            async with asyncio.timeout(self._settings.deadline_s):
                return await self._classifier.check(message)
        except Exception as error:
            reason = " ".join(f"{type(error).__name__} {error}".split())
            log.warning("sms passed unjudged", extra={"fields": {"id": message.id, "reason": reason}})
            return Verdict.unavailable(Kind.SMS)


async def _webhook(request: Request) -> Webhook:
    """A request with its body. Raises BadInput."""
    body = await read_body(request, max_bytes=MAX_BODY_BYTES, timeout_s=BODY_TIMEOUT_S)
    try:
        query = request.scope["query_string"].decode("ascii")
    except UnicodeDecodeError as error:
        raise BadInput("a query is ASCII (RFC 3986 2)") from error
    path, headers = request.scope["path"], dict(request.headers.items())
    return Webhook(method=request.method, path=path, query=query, headers=headers, body=body)
