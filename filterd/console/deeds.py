"""What a form of the console does: sign in and out, correct, judge a message, promote and roll back."""

from dataclasses import replace

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from filterd.api import Kind, Label, Message, Verdict
from filterd.console import access, render
from filterd.console.desk import Desk
from filterd.console.pages import EXPLAINED, SHOWN_WORDS, installed
from filterd.console.request import ConsoleRequest, language_of
from filterd.errors import BadInput, LearningClosed
from filterd.log import log
from filterd.reading.text import read
from filterd.reasons import reason
from filterd.reasons.occlusion import occlude, strongest

SAID: dict[str, Label | None] = {"spam": Label.SPAM, "ham": Label.HAM, "forget": None}


async def login(desk: Desk, request: Request, form: dict[str, str]) -> Response:
    """Take a name and a password; a session, or the form again with what was wrong."""
    name, password = form.get("name", "")[:64], form.get("password", "")
    language = language_of(request)
    if not desk.open:
        return RedirectResponse(_root(request) + "/login", 303)
    if not desk.sessions.may_try(name):
        return login_page(request, language, "too-often", 429)
    account = await desk.run(desk.accounts.verify, name, password)
    if not account:
        log.warning("console: wrong password", extra={"fields": {"name": name}})
        return login_page(request, language, "wrong", 403)
    desk.sessions.succeeded(name)
    answer = RedirectResponse(_root(request) + "/", 303)
    secure = desk.service.config.console.secure
    answer.set_cookie(
        access.COOKIE,
        desk.sessions.begin(account),
        max_age=int(access.SESSION_S),
        path=_root(request) + "/",
        httponly=True,
        samesite="strict",
        secure=secure,
    )
    return answer


def login_page(request: Request, language: str, problem: str = "", status: int = 200) -> Response:
    """The form of name and password."""
    made = render.page("login.html", language, root=_root(request), problem=problem, viewer=None, here="")
    return Response(made, status, media_type="text/html; charset=utf-8")


async def logout(asked: ConsoleRequest) -> Response:
    """End the session in this browser."""
    answer = RedirectResponse(_root(asked.request) + "/login", 303)
    answer.delete_cookie(access.COOKIE, path=_root(asked.request) + "/")
    return answer


async def correct(asked: ConsoleRequest) -> Response:
    """Spam, not spam, or forget; back to where it was pressed, with a way to undo it."""
    said = asked.form.get("label", "")
    if said not in SAID:
        raise BadInput("a message is spam, ham, or to be forgotten")
    name = asked.request.path_params["id"]
    row = await asked.desk.run(asked.desk.correct, asked.viewer, name, SAID[said])
    back = asked.form.get("back", "")
    path, _, _ = back.partition("#")
    kept = "&".join(part for part in path.partition("?")[2].split("&") if part and part[:5] != "done=")
    done = f"done={said}:{row.id}:{row.corrected or 'forget'}"
    return asked.redirect(f"{path.partition('?')[0]}?{kept + '&' if kept else ''}{done}")


async def check(asked: ConsoleRequest) -> Response:
    """Judge what was pasted or dropped, without a trace of it but the verdict's."""
    raw = asked.raw or asked.form.get("text", "").encode("utf-8", "surrogatepass")
    kind = asked.request.query_params.get("kind") or asked.form.get("kind", "")
    if not raw.strip():
        raise BadInput("there is nothing to judge; paste a message or drop a file")
    message = Message(raw, kind=next((one for one in Kind if one == kind), None), source="console")
    found = await asked.desk.service.check(message)
    return await asked.desk.run(_checked, asked, replace(message, kind=found.kind), found)


def _checked(asked: ConsoleRequest, message: Message, found: Verdict) -> Response:
    engine = asked.desk.service.engine
    linear = "FASTPATH" in found.tests
    pieces = occlude(engine, read(message)[0].canonical, found.kind, linear=linear, most=EXPLAINED)
    spam, ham = strongest(pieces, SHOWN_WORDS)
    thresholds = engine.bundle.manifest.thresholds[found.kind]
    return asked.render(
        "_checked.html" if asked.raw else "check.html",
        found=found,
        reasons=[one.say(asked.language) for one in reason.of(found, thresholds)],
        shades=render.shades(pieces),
        by="linear" if linear else "model",
        spam_words=spam,
        ham_words=ham,
        text=asked.form.get("text", ""),
        kind=asked.form.get("kind", ""),
    )


async def models(asked: ConsoleRequest) -> Response:
    """Promote an installed bundle, or go back to the one before."""
    if not asked.viewer.administers:
        raise LearningClosed("only an administrator changes the model")
    store, name = asked.desk.service.config.bundles, asked.form.get("bundle", "")
    if asked.form.get("do") == "roll-back":
        said = await asked.desk.run(asked.desk.controls.roll_back)
    elif asked.form.get("do") == "promote" and name in {one["name"] for one in installed(store, "")}:
        said = await asked.desk.run(asked.desk.controls.promote, store / name)
    else:
        raise BadInput("there is no such bundle")
    log.info("console: model", extra={"fields": {"by": asked.viewer.account.name, "said": said}})
    return await asked.page("done.html", message=said)


def _root(request: Request) -> str:
    return str(request.scope.get("root_path", "")).rstrip("/")
