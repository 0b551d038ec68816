"""The routes. Each reads its request, asks the service, and says what came of it in JSON.

Two apps are made of the same routes: one for unix sockets, whose file mode says who may come in, and one for
TCP, where a bearer token is asked for once one is configured, and where learning is closed unless opened.
An error is always `{"error": "<one line>"}` with a status: 400 bad input, 401 no token, 403 learning closed,
408 a head that does not come, 413 too large, 415 compressed, encrypted or a form, 429 overloaded, 431 a head
too large, 503 no verdict in time or none possible, and a connection too many, 507 a store that is full.
"""

import asyncio
import hmac
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from filterd import __version__, headers
from filterd.api import ASKING, Kind, Label, Message
from filterd.errors import (
    BadInput,
    DeadlineExceeded,
    FilterdError,
    LearningClosed,
    ModelUnavailable,
    Overloaded,
    StoreError,
)
from filterd.kit.room import Held
from filterd.kit.web import BodyTooLarge, read_body, unless_gone
from filterd.protocols.http import openapi, rspamd, wire
from filterd.service.service import Service

MAX_RECENT = 1000  # rows of one /v1/messages answer
BODY_TIMEOUT_S = 60.0  # a client that has not sent its message by then is not going to
HELD = "filterd.held"  # key of a request's scope: the room in memory that its body takes
AT_ONCE_BYTES = 64 << 10  # of a body that the event loop takes apart itself: JSON of this size takes 0.2 ms

STATUS: dict[type[FilterdError], int] = {  # the first that fits counts
    BodyTooLarge: 413,
    BadInput: 400,
    LearningClosed: 403,
    rspamd.EncodedBody: 415,
    Overloaded: 429,
    DeadlineExceeded: 503,
    ModelUnavailable: 503,
    StoreError: 507,
}

Handler = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Access:
    """Who may do what on a listener. token: asked for where it is not empty."""

    source: str
    may_learn: bool
    token: str = ""


def make(service: Service, access: Access, max_bytes: int, mounts: Sequence[BaseRoute] = ()) -> Starlette:
    """The application for one kind of listener. mounts: what else it serves, with its own rules of access."""
    routes = Routes(service, access, max_bytes)

    def post(path: str, handler: Handler) -> Route:
        return Route(path, routes.guarded(handler), methods=["POST"])

    def get(path: str, handler: Handler, *, free: bool = False) -> Route:
        return Route(path, handler if free else routes.guarded(handler), methods=["GET"])

    return Starlette(
        routes=[
            post("/v1/check", routes.check),
            post("/v1/learn", routes.learn),
            post("/v1/forget", routes.forget),
            get("/v1/messages", routes.messages),
            get("/v1/status", routes.status),
            get("/v1/openapi.json", routes.openapi, free=True),
            get("/metrics", routes.metrics),
            get("/ping", routes.ping, free=True),
            get("/healthy", routes.healthy, free=True),
            get("/ready", routes.ready, free=True),
            post("/checkv2", routes.rspamd_check),
            post("/learnspam", routes.rspamd_learn(Label.SPAM)),
            post("/learnham", routes.rspamd_learn(Label.HAM)),
            get("/stat", routes.rspamd_stat),
            get("/auth", routes.rspamd_auth),
            *mounts,
        ],
        exception_handlers={HTTPException: _no_such_route},
    )


class Routes:
    """The handlers of one listener."""

    def __init__(self, service: Service, access: Access, max_bytes: int) -> None:
        self._service, self._access, self._max_bytes = service, access, max_bytes

    def guarded(self, handler: Handler) -> Handler:
        """The handler behind the token, with errors as JSON."""

        async def guard(request: Request) -> Response:
            if not self._allowed(request):
                return _json({"error": "send 'Authorization: Bearer <token>'"}, 401)
            request.scope[HELD] = held = Held(self._service.room)
            try:
                return await handler(request)
            except ClientDisconnect:
                return Response(status_code=499)
            except FilterdError as error:
                status = next((code for kind, code in STATUS.items() if isinstance(error, kind)), 500)
                return _json({"error": str(error)}, status)
            finally:
                held.release()

        return guard

    def _allowed(self, request: Request) -> bool:
        if not self._access.token:
            return True
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            given = request.headers.get("password", "")  # what rspamc sends
        return hmac.compare_digest(given.strip().encode(), self._access.token.encode())

    async def _body(self, request: Request) -> bytes:
        rspamd.refuse_encoded(request.headers)
        hold: Callable[[int], None] = request.scope[HELD].hold
        return await read_body(
            request,
            max_bytes=self._max_bytes,
            timeout_s=BODY_TIMEOUT_S,
            setting="http.max_bytes",
            hold=hold,
        )

    async def _messages(self, request: Request) -> wire.MessagesRequest:
        body = await self._body(request)
        decode = partial(
            wire.decode,
            as_json=rspamd.media_type(request.headers) == "application/json",
            kind=_kind(request.query_params.get("kind")),
            name=request.query_params.get("id", ""),
            source=self._access.source,
            user=request.query_params.get("user", ""),
        )
        return await asyncio.to_thread(decode, body) if len(body) > AT_ONCE_BYTES else decode(body)

    async def _rspamd_mail(self, request: Request) -> Message:
        body = await self._body(request)
        if not body.strip():
            raise BadInput("the body is empty; send a mail")
        fields = request.headers
        name, sender = fields.get("queue-id", "")[: wire.MAX_ID], fields.get("from", "")
        people = tuple(fields.getlist("rcpt"))
        user = fields.get("deliver-to", "")
        return Message(
            body,
            kind=Kind.MAIL,
            id=name,
            sender=sender,
            recipients=people,
            source="rspamd",
            user=user,
            way=ASKING,
        )

    async def check(self, request: Request) -> Response:
        """POST /v1/check."""
        messages, _, many = await self._messages(request)
        found = await unless_gone(request, self._service.check_all(messages))
        names = [message.id for message in messages]
        answer = _json(
            await asyncio.to_thread(wire.verdicts, found, names) if many else wire.verdict(found[0], names[0])
        )
        answer.headers[headers.STYLE_HEADER] = self._service.style.as_text()
        return answer

    async def learn(self, request: Request) -> Response:
        """POST /v1/learn."""
        self._open_for_learning()
        asked = _label(request.query_params.get("label"))
        messages, given, many = await self._messages(request)
        labels = [label or asked for label in given]
        if None in labels:
            raise BadInput("say what it is: ?label=spam or ?label=ham, or 'label' in each message")
        learned = [
            await self._service.learn(message, label)
            for message, label in zip(messages, labels, strict=True)
            if label
        ]
        return _json({"learned": learned if many else learned[0]})

    async def forget(self, request: Request) -> Response:
        """POST /v1/forget."""
        self._open_for_learning()
        messages, _, many = await self._messages(request)
        forgotten = [await self._service.forget(message) for message in messages]
        return _json({"forgotten": forgotten if many else forgotten[0]})

    def _open_for_learning(self) -> None:
        if not self._access.may_learn:
            raise LearningClosed("learning is closed on this listener; see http.allow_learn_tcp")

    async def messages(self, request: Request) -> Response:
        """GET /v1/messages: the latest verdicts first, without text."""
        try:
            limit = min(MAX_RECENT, max(1, int(request.query_params.get("limit", "100"))))
        except ValueError:
            raise BadInput("limit has to be a number") from None
        return _json({"messages": await self._service.recent_of_all(limit)})

    async def status(self, _: Request) -> Response:
        """GET /v1/status."""
        return _json(await self._service.status_of_all())

    async def openapi(self, _: Request) -> Response:
        """GET /v1/openapi.json."""
        return _json(openapi.DOCUMENT)

    async def metrics(self, _: Request) -> Response:
        """GET /metrics."""
        page = await self._service.measure()
        return Response(page, media_type="text/plain; version=0.0.4; charset=utf-8")

    async def ping(self, _: Request) -> Response:
        """GET /ping: somebody is here (Rspamd's answer)."""
        return PlainTextResponse("pong\r\n")

    async def healthy(self, _: Request) -> Response:
        """GET /healthy: the event loop turns."""
        return _json({"healthy": True, "version": __version__})

    async def ready(self, _: Request) -> Response:
        """GET /ready: a model is loaded and the queue has room."""
        ready = self._service.ready
        return _json({"ready": ready, "model": self._service.engine.bundle.id}, 200 if ready else 503)

    async def rspamd_check(self, request: Request) -> Response:
        """POST /checkv2."""
        message = await self._rspamd_mail(request)
        found = await unless_gone(request, self._service.check(message))
        ours = [self._service.style.prefix + name for name in headers.NAMES]
        name = rspamd.message_id(message.raw)
        return _json(rspamd.answer(found, name, self._service.headers(found), ours))

    def rspamd_learn(self, label: Label) -> Handler:
        """POST /learnspam and /learnham; 208 as Rspamd says for what is known already."""

        async def learn(request: Request) -> Response:
            self._open_for_learning()
            if await self._service.learn(await self._rspamd_mail(request), label):
                return _json({"success": True})
            return _json({"error": "all learn conditions denied learning: known already"}, 208)

        return learn

    async def rspamd_stat(self, _: Request) -> Response:
        """GET /stat."""
        latest = await self._service.recent_of_all(rspamd.SCAN_TIMES)
        seconds = [float(one["seconds"]) for one in reversed(latest)]
        return _json(rspamd.stat(*await self._counts(), seconds, read_only=not self._access.may_learn))

    async def rspamd_auth(self, _: Request) -> Response:
        """GET /auth."""
        return _json(rspamd.auth(*await self._counts(), read_only=not self._access.may_learn))

    async def _counts(self) -> tuple[Mapping[Label, int], int, float]:
        said = await self._service.status_of_all()
        return (
            {Label(name): count for name, count in said["judged"].items()},
            said["corrections"],
            said["uptime_s"],
        )


async def _no_such_route(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    where = f"{request.method} {request.url.path}: {error.detail.lower()}; see /v1/openapi.json"
    return _json({"error": where}, error.status_code)


def _json(content: Any, status: int = 200) -> Response:
    return Response(msgspec.json.encode(content), status, media_type="application/json")


def _kind(name: str | None) -> Kind | None:
    try:
        return Kind(name) if name else None
    except ValueError:
        raise BadInput(f"kind has to be mail or sms, not {name!r}") from None


def _label(name: str | None) -> Label | None:
    if name not in {None, "ham", "spam"}:
        raise BadInput(f"label has to be ham or spam, not {name!r}")
    return Label(name) if name else None
