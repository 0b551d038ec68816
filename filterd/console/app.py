"""The console's application: routes, who may come in, errors as pages. See `pages` and `deeds`."""

from collections.abc import Awaitable, Callable
from urllib.parse import parse_qs

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from filterd.console import access, deeds, lists, pages, quarantine, render
from filterd.console.desk import Desk
from filterd.console.request import LANGUAGE_COOKIE, ConsoleRequest, language_of, viewer_of
from filterd.console.statuses import status_of
from filterd.errors import BadInput, FilterdError, LearningClosed
from filterd.language import catalogue

MAX_FORM = 4 << 20  # bytes; a pasted mail is the largest thing that a form holds
MAX_FIELDS = 50

Handler = Callable[[ConsoleRequest], Awaitable[Response]]


def make(desk: Desk) -> Mount:
    """The console's routes, for the listeners' applications."""

    def get(path: str, handler: Callable[..., Awaitable[Response]]) -> Route:
        return Route(path, _guarded(desk, handler, posted=False), methods=["GET"])

    def post(path: str, handler: Callable[..., Awaitable[Response]]) -> Route:
        return Route(path, _guarded(desk, handler, posted=True), methods=["POST"])

    async def login(request: Request) -> Response:
        return _finish(request, await deeds.login(desk, request, await _form(request)))

    routes = [
        get("/", pages.overview),
        get("/messages", pages.messages),
        get("/messages/{id}", pages.message),
        post("/messages/{id}", deeds.correct),
        get("/learn", pages.learn),
        get("/quarantine", quarantine.page),
        get("/quarantine/{id}", quarantine.message),
        post("/quarantine/{id}", quarantine.change),
        Route("/release/{token}", _by_link(desk, posted=False), methods=["GET"]),
        Route("/release/{token}", _by_link(desk, posted=True), methods=["POST"]),
        get("/lists", lists.page),
        post("/lists", lists.change),
        get("/models", pages.models),
        post("/models", deeds.models),
        get("/check", pages.check),
        post("/check", deeds.check),
        get("/status", pages.status),
        post("/logout", deeds.logout),
        Route("/login", _login_page(desk), methods=["GET"]),
        Route("/login", login, methods=["POST"]),
        Mount("/static", _static()),
    ]
    console = Starlette(routes=routes, exception_handlers={HTTPException: _no_such_page})
    return Mount("/console", console)


def _guarded(
    desk: Desk, handler: Callable[..., Awaitable[Response]], *, posted: bool
) -> Callable[..., Awaitable[Response]]:
    """A handler for who is signed in; of a form also with its token. Errors become pages."""

    async def guard(request: Request) -> Response:
        if not desk.open:
            return _closed()
        viewer = viewer_of(desk, request)
        if not viewer:
            return _to_login(request, posted=posted)
        asked = ConsoleRequest(desk, request, viewer, {}, b"")
        try:
            if posted:
                asked.form, asked.raw = await _body(request)
                given = asked.form.get("token") or request.headers.get("x-token", "")
                if not access.same(viewer.token, given) or not _from_here(request):
                    raise LearningClosed("the form is too old or was not ours; load the page again")
            answer = await handler(asked)
        except ClientDisconnect:
            return Response(status_code=499)
        except FilterdError as error:
            status = status_of(error)
            answer = asked.render("error.html", status, message=str(error), status=status)
        return _finish(request, answer)

    return guard


def _by_link(desk: Desk, *, posted: bool) -> Callable[[Request], Awaitable[Response]]:
    """A link of a digest: there wherever links are made, for whoever has one."""

    async def handle(request: Request) -> Response:
        if not desk.service.config.quarantine.link:
            return PlainTextResponse("Not Found\n", 404, headers=access.HEADERS)
        language = language_of(request)
        try:
            if posted:
                answer = await quarantine.link_press(desk, request, language, await _form(request))
            else:
                answer = await quarantine.link_page(desk, request, language)
        except ClientDisconnect:
            return Response(status_code=499)
        except FilterdError as error:
            answer = PlainTextResponse(f"{error}\n", status_of(error))
        return _finish(request, answer)

    return handle


async def _form(request: Request) -> dict[str, str]:
    return (await _body(request))[0]


async def _body(request: Request) -> tuple[dict[str, str], bytes]:
    """A form's fields, of each the last; or the bytes of a dropped message. Raises BadInput."""
    size, chunks = 0, []
    async for chunk in request.stream():
        size += len(chunk)
        if size > MAX_FORM:
            raise BadInput(f"more than {MAX_FORM:,} bytes; use `filterd check FILE`")
        chunks.append(chunk)
    body = b"".join(chunks)
    if request.headers.get("content-type", "").split(";")[0].strip() != "application/x-www-form-urlencoded":
        return {}, body
    try:
        fields = parse_qs(body.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=MAX_FIELDS)
    except ValueError as error:
        raise BadInput("the form has too many fields") from error
    return {key: values[-1] for key, values in fields.items()}, b""


def _from_here(request: Request) -> bool:
    """Whether the browser says that the form was on a page of this host, as far as it says so at all."""
    site = request.headers.get("sec-fetch-site", "same-origin")
    return site in {"same-origin", "none"}


def _login_page(desk: Desk) -> Callable[[Request], Awaitable[Response]]:
    async def page(request: Request) -> Response:
        if not desk.open:
            return _closed()
        return _finish(request, deeds.login_page(request, language_of(request)))

    return page


def _to_login(request: Request, *, posted: bool) -> Response:
    root = request.scope.get("root_path", "").rstrip("/")
    return _finish(request, RedirectResponse(f"{root}/login", 303))


def _closed() -> Response:
    said = "The console is closed: no password is set. `filterd console password NAME` sets one.\n"
    return PlainTextResponse(said, 404, headers=access.HEADERS)


def _finish(request: Request, answer: Response) -> Response:
    answer.headers.update(access.HEADERS)
    language = request.query_params.get("language", "")
    if language in catalogue.languages():
        answer.set_cookie(LANGUAGE_COOKIE, language, max_age=31_536_000, httponly=True, samesite="strict")
    return answer


def _static() -> StaticFiles:
    return StaticFiles(directory=render.STATIC)


async def _no_such_page(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return PlainTextResponse(f"{error.detail}\n", error.status_code, headers=access.HEADERS)
