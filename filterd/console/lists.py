"""The page of lists and thresholds: what is set, what other thresholds would have changed, and its forms.

A user sees and sets what concerns his own addresses; an administrator everything.
"""

import time
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from starlette.responses import Response

from filterd.api import Kind
from filterd.console.access import Viewer
from filterd.console.request import ConsoleRequest
from filterd.errors import BadInput, LearningClosed, NotFound
from filterd.history.store import Change
from filterd.log import log
from filterd.policy.entry import MAX_NOTE, ListEntry, made
from filterd.policy.store import PolicyStore, ThresholdRule
from filterd.scoring.verdict import Thresholds

DAY_S: Final = 86_400.0
PREVIEWED_S: Final = 7 * DAY_S
DAYS: Final = ("", "7", "30", "365")  # for which an entry holds; "" always


class Preview(NamedTuple):
    """Last week's messages by other thresholds. moves: (now, then, messages). wrong_ham: corrected as ham and
    called spam; found_spam: corrected as spam and called so, of `said_spam`.
    """

    kind: Kind
    thresholds: Thresholds
    messages: int
    moves: list[tuple[str, str, int]]
    wrong_ham: int
    said_ham: int
    found_spam: int
    said_spam: int


async def page(asked: ConsoleRequest) -> Response:
    """What is set, and a preview where thresholds are asked about."""
    return await asked.desk.run(_page, asked)


def _page(asked: ConsoleRequest, problem: str = "") -> Response:
    desk, viewer = asked.desk, asked.viewer
    rules = _rules(asked)
    manifest = desk.service.engine.bundle.manifest
    return asked.render(
        "lists.html",
        400 if problem else 200,
        problem=problem,
        entries=[(one, _may_change(viewer, one.scope)) for one in rules.entries() if _sees(viewer, one)],
        scopes=_scopes(viewer),
        days=DAYS,
        now=time.time(),
        trusted=desk.service.config.trust.authserv_ids,
        bundle=manifest.thresholds,
        validation=manifest.metrics.get("validation", {}),
        configured=desk.service.config.thresholds,
        rules=[rule for rule in rules.thresholds() if viewer.sees_all or rule.scope in _scopes(viewer)],
        preview=_preview(asked),
    )


async def change(asked: ConsoleRequest) -> Response:
    """Add or remove an entry, set or reset thresholds."""
    deeds = {"add": _add, "remove": _remove, "set": _set, "reset": _reset}
    do = deeds.get(asked.form.get("do", ""))
    if not do or not asked.viewer.may_correct:
        raise LearningClosed("this account may look and not change")
    try:
        await asked.desk.run(do, asked)
    except BadInput as error:
        return await asked.desk.run(_page, asked, str(error))
    fields = {"by": asked.viewer.account.name, "do": asked.form["do"]}
    log.info("console: lists", extra={"fields": fields})
    return asked.redirect(f"{asked.request.scope.get('root_path', '')}/lists")


def _add(asked: ConsoleRequest) -> None:
    form, days = asked.form, asked.form.get("days", "")
    scope = _allowed(asked, form.get("scope", ""))
    expires = time.time() + int(days) * DAY_S if days in DAYS and days else None
    more: dict[str, Any] = {"note": form.get("note", "")[:MAX_NOTE], "expires": expires}
    entry = made(
        form.get("list", ""), form.get("value", ""), scope=scope, by=asked.viewer.account.name, **more
    )
    _rules(asked).put(entry)
    _refresh(asked)


def _remove(asked: ConsoleRequest) -> None:
    rules, number = _rules(asked), asked.form.get("number", "")
    entry = rules.get(int(number)) if number.isdecimal() and len(number) < 10 else None
    if not entry or not _may_change(asked.viewer, entry.scope):
        raise NotFound("no such entry, or not yours")
    rules.remove(entry.number)
    _refresh(asked)


def _set(asked: ConsoleRequest) -> None:
    kind, both = _wanted(asked.form)
    _rules(asked).set_thresholds(ThresholdRule(_allowed(asked, asked.form.get("scope", "")), kind, both))
    _refresh(asked)


def _reset(asked: ConsoleRequest) -> None:
    kind = Kind.SMS if asked.form.get("kind") == Kind.SMS else Kind.MAIL
    _rules(asked).reset_thresholds(_allowed(asked, asked.form.get("scope", "")), kind)
    _refresh(asked)


def _wanted(form: dict[str, str]) -> tuple[Kind, Thresholds]:
    kind = Kind.SMS if form.get("kind") == Kind.SMS else Kind.MAIL
    try:
        return kind, Thresholds(*(float(form.get(name, "").replace(",", ".")) for name in ("unsure", "spam")))
    except ValueError as error:
        raise BadInput("thresholds have to be 0 < unsure <= spam < 1") from error


def _preview(asked: ConsoleRequest) -> Preview | None:
    history = asked.desk.history
    if not history or "spam" not in asked.query or not asked.viewer.sees_all:
        return None
    try:
        kind, both = _wanted(asked.query)
    except BadInput:
        return None
    changes = history.preview(kind, unsure=both.unsure, spam=both.spam, since=time.time() - PREVIEWED_S)
    return preview(kind, both, changes)


def preview(kind: Kind, both: Thresholds, changes: Sequence[Change]) -> Preview:
    """What the history's counts say of other thresholds; pure."""
    moves: Counter[tuple[str, str]] = Counter()
    for one in changes:
        if one.now != one.then:
            moves[one.now, one.then] += one.messages
    said = {name: [one for one in changes if one.corrected == name] for name in ("ham", "spam")}

    def called_spam(rows: list[Change]) -> int:
        return sum(one.messages for one in rows if one.then == "spam")

    return Preview(
        kind=kind,
        thresholds=both,
        messages=sum(one.messages for one in changes),
        moves=[(*pair, n) for pair, n in moves.most_common()],
        wrong_ham=called_spam(said["ham"]),
        said_ham=sum(one.messages for one in said["ham"]),
        found_spam=called_spam(said["spam"]),
        said_spam=sum(one.messages for one in said["spam"]),
    )


def _rules(asked: ConsoleRequest) -> PolicyStore:
    policy = asked.desk.service.policy
    if not policy or not policy.rules:
        raise NotFound("there are no lists here")
    return policy.rules


def _refresh(asked: ConsoleRequest) -> None:
    policy = asked.desk.service.policy
    if policy:
        policy.refresh()


def _scopes(viewer: Viewer) -> tuple[str, ...]:
    """The scopes that a user may name; none for an administrator, who may name all."""
    return () if viewer.sees_all else tuple(one.lower() for one in viewer.account.addresses)


def _allowed(asked: ConsoleRequest, scope: str) -> str:
    plain = scope.strip().lower().lstrip("@")
    if not asked.viewer.administers and plain not in _scopes(asked.viewer):
        raise LearningClosed("a user sets what concerns his own addresses")
    return plain


def _may_change(viewer: Viewer, scope: str) -> bool:
    return viewer.administers or (viewer.may_correct and scope in _scopes(viewer))


def _sees(viewer: Viewer, entry: ListEntry) -> bool:
    return viewer.sees_all or not entry.scope or entry.scope in _scopes(viewer)
