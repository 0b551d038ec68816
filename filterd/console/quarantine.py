"""The page of held mail, what its buttons do, and the page that a link of a digest opens.

A user sees and releases what is held for his own addresses, and only his copy. A link is its own proof: it
needs no session, and opening it changes nothing; pressing the button does.
"""

from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from filterd.api import Label
from filterd.console import render
from filterd.console.access import Viewer
from filterd.console.desk import Desk
from filterd.console.request import ConsoleRequest
from filterd.console.statuses import status_of
from filterd.errors import BadInput, FilterdError, LearningClosed, NotFound
from filterd.history import record
from filterd.log import log
from filterd.quarantine.index import QuarantineEntry, QuarantineQuery, QuarantineState
from filterd.quarantine.signing import SignedLink
from filterd.quarantine.store import QuarantineStore
from filterd.reading.text import read

PAGE: Final = 50  # messages
MAX_TEXT: Final = 20_000  # characters of a held message that are shown
DEEDS: Final = ("release", "ham", "delete")
BY_LINK: Final = "link"


async def page(asked: ConsoleRequest) -> Response:
    """What is held, newest first, by search and page by page."""
    return await asked.desk.run(_page, asked)


def _page(asked: ConsoleRequest) -> Response:
    query, quarantine = asked.query, _quarantine(asked.desk)
    wanted = QuarantineQuery(
        state=None if query.get("state") == "all" else QuarantineState.HELD,
        mine=asked.desk.mine(asked.viewer),
        to=query.get("to", ""),
        sender=query.get("from", ""),
        text=query.get("text", "").strip(),
        below=record.decode(query.get("older", "")),
        above=record.decode(query.get("newer", "")),
    )
    rows = quarantine.search(wanted, PAGE + 1)
    forward, more = wanted.above is not None, len(rows) > PAGE
    rows = (rows[-PAGE:] if forward else rows[:PAGE]) if more else rows
    kept, size = quarantine.index.total() if asked.viewer.sees_all else (0, 0)
    return asked.render(
        "quarantine.html",
        rows=rows,
        filters={key: query.get(key, "") for key in ("text", "to", "from", "state")},
        older=rows[-1].id if rows and (more or forward) else "",
        newer=rows[0].id if rows and (wanted.below is not None or (forward and more)) else "",
        kept=kept,
        size=size,
        section=quarantine.config.quarantine,
        may=_may(asked.viewer),
    )


async def message(asked: ConsoleRequest) -> Response:
    """One held message: who, to whom, what became of it, and its text."""
    return await asked.desk.run(_message, asked)


def _message(asked: ConsoleRequest) -> Response:
    quarantine = _quarantine(asked.desk)
    entry = quarantine.find(asked.request.path_params["id"], asked.desk.mine(asked.viewer))
    return asked.render(
        "held.html",
        row=entry,
        text=_text(quarantine, entry) if _may(asked.viewer) else "",
        may=_may(asked.viewer),
    )


def _text(quarantine: QuarantineStore, entry: QuarantineEntry) -> str:
    """What a reader of it would see; "" where it is not on this machine."""
    try:
        return read(quarantine.message(entry.number))[0].canonical[:MAX_TEXT]
    except NotFound:
        return ""


async def change(asked: ConsoleRequest) -> Response:
    """Release or delete, and where that is said learn that it is no spam; back to where it was pressed."""
    do, desk = asked.form.get("do", ""), asked.desk
    if do not in DEEDS:
        raise BadInput("a held message is released, released as not spam, or deleted")
    if not _may(asked.viewer):
        raise LearningClosed("this account may look and not release")
    entry = await desk.run(_quarantine(desk).find, asked.request.path_params["id"], desk.mine(asked.viewer))
    user = "" if asked.viewer.sees_all else asked.viewer.account.name
    await _do(desk, do, entry.number, desk.mine(asked.viewer), asked.viewer.account.name, user)
    path = asked.form.get("back", "").partition("#")[0]
    kept = "&".join(part for part in path.partition("?")[2].split("&") if part and part[:5] != "done=")
    return asked.redirect(f"{path.partition('?')[0]}?{kept + '&' if kept else ''}done={do}")


async def _do(desk: Desk, do: str, number: int, keys: tuple[str, ...] | None, by: str, user: str) -> None:
    """A deed of DEEDS. user: in whose name it is learned, "" for the site's."""
    quarantine = _quarantine(desk)
    if do == "delete":
        await desk.run(quarantine.delete, number, keys, by)
    else:
        held = await desk.run(quarantine.message, number, user) if do == "ham" else None
        await desk.senders.run(quarantine.release, number, keys, by)
        if held:
            await desk.service.learn(held, Label.HAM)
            if desk.history:
                await desk.run(desk.history.corrected, number, Label.HAM)
    log.info("console: quarantine", extra={"fields": {"by": by, "do": do, "id": record.encode(number)}})


async def link_page(desk: Desk, request: Request, language: str) -> Response:
    """What a link of a digest opens: what it is for, and a button."""
    return await desk.run(_link_page, desk, request, language)


async def link_press(desk: Desk, request: Request, language: str, form: dict[str, str]) -> Response:
    """The button: the recipient's copy is released, once."""
    found = _link(desk, request)
    do = form.get("do", "")
    if not found or do not in ("release", "ham"):
        return await desk.run(_link_page, desk, request, language)
    problem = None
    try:
        entry = await desk.run(_quarantine(desk).index.get, found.number, (found.key,))
        user = entry.recipients[0].address if entry else ""
        await _do(desk, do, found.number, (found.key,), BY_LINK, user)
    except FilterdError as error:
        problem = error
    return await desk.run(_link_page, desk, request, language, problem)


def _link(desk: Desk, request: Request) -> SignedLink | None:
    return _quarantine(desk).signer.read(request.path_params["token"])


def _link_page(desk: Desk, request: Request, language: str, problem: FilterdError | None = None) -> Response:
    found = _link(desk, request)
    entry = _quarantine(desk).index.get(found.number, (found.key,)) if found else None
    root = str(request.scope.get("root_path", "")).rstrip("/")
    shown = {"viewer": None, "root": root, "here": "", "row": entry, "problem": str(problem or "")}
    code = status_of(problem) if problem else 200 if entry else 404
    made = render.page("release.html", language, **shown)
    return Response(made, code, media_type="text/html; charset=utf-8")


def _may(viewer: Viewer) -> bool:
    """Whether he may read and release: an administrator, and a user his own."""
    return viewer.may_correct


def _quarantine(desk: Desk) -> QuarantineStore:
    found = desk.service.quarantine
    if not found:
        raise NotFound("nothing is held here")
    return found
