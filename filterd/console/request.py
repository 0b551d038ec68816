"""A request to the console: who makes it, in which language, and how it is answered."""

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from filterd.console import access, render
from filterd.console.access import Viewer
from filterd.console.desk import Desk
from filterd.language import catalogue

LANGUAGE_COOKIE = "filterd-language"


class ConsoleRequest:
    """A request of somebody who may make it."""

    def __init__(
        self, desk: Desk, request: Request, viewer: Viewer, form: dict[str, str], raw: bytes
    ) -> None:
        self.desk, self.request, self.viewer = desk, request, viewer
        self.form, self.raw = form, raw
        self.language = language_of(request)

    @property
    def query(self) -> dict[str, str]:
        """The query's parameters, of each the last, bounded."""
        return {key: value[:500] for key, value in self.request.query_params.items()}

    async def page(self, template: str, code: int = 200, /, **values: object) -> Response:
        """A page for this viewer, made in the console's threads."""
        return await self.desk.run(lambda: self.render(template, code, **values))

    def render(self, template: str, code: int = 200, /, **values: object) -> Response:
        """The same in the caller's thread."""
        root = self.request.scope.get("root_path", "").rstrip("/")
        shown = {"viewer": self.viewer, "root": root, "here": self.request.url.path, "query": self.query}
        made = render.page(template, self.language, **shown | values)
        return Response(made, code, media_type="text/html; charset=utf-8")

    def redirect(self, to: str) -> Response:
        """To a page of the console; what leads elsewhere goes to the first page."""
        root = self.request.scope.get("root_path", "").rstrip("/")
        local = to.startswith(f"{root}/") and "//" not in to and "\\" not in to and to.isprintable()
        return RedirectResponse(to if local else f"{root}/", 303)


def viewer_of(desk: Desk, request: Request) -> Viewer | None:
    """Who asks: by a trusted proxy's header, else by his session."""
    client = request.client.host if request.client else None
    named = access.proxied(desk.service.config.console, request.headers, client)
    if named:
        return desk.sessions.by_proxy(named)
    return desk.sessions.viewer(request.cookies.get(access.COOKIE, ""))


def language_of(request: Request) -> str:
    """As chosen on a page, else as the browser asks."""
    for chosen in (request.query_params.get("language"), request.cookies.get(LANGUAGE_COOKIE)):
        if chosen in catalogue.languages():
            return str(chosen)
    return catalogue.choose(request.headers.get("accept-language", ""))
