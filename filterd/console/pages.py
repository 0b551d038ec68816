"""What each page shows: from the service and the history to a template's values. Changes nothing."""

import time
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
import yaml
from starlette.responses import Response

from filterd.api import Kind, Label
from filterd.console import charts, render
from filterd.console.reports import reports
from filterd.console.request import ConsoleRequest
from filterd.console.settings import shown
from filterd.errors import BundleError, LearningClosed
from filterd.history import record
from filterd.history.record import Record
from filterd.history.store import Search
from filterd.reasons import reason
from filterd.reasons.occlusion import occlude, strongest
from filterd.scoring import bundle
from filterd.scoring.verdict import Thresholds

if TYPE_CHECKING:
    from filterd.service.siblings import State

PAGE: Final = 50  # messages
RANGES: Final = {"day": (24, 1), "week": (7 * 24, 6), "month": (30 * 24, 24)}  # hours, hours of a bar
EXPLAINED: Final = 96  # pieces of a text on a page: a third of a second of the default bundle
SHOWN_WORDS: Final = 6
MAX_CARD: Final = 200_000  # characters of a model card that are shown
DAY_S: Final = 86_400.0


async def overview(asked: ConsoleRequest) -> Response:
    """How it is going: messages by label over time, stages, speed, the model and its corrections."""
    span = asked.query.get("range", "day")
    span = span if span in RANGES else "day"
    return await asked.desk.run(_overview, asked, span, await asked.desk.service.status_of_all())


def _overview(asked: ConsoleRequest, span: str, status: "State") -> Response:
    desk = asked.desk
    hours, step = RANGES[span]
    now = time.time()
    since = (int(now // charts.HOUR_S) - hours + 1) * charts.HOUR_S
    counts = desk.history.counts(since, desk.mine(asked.viewer)) if desk.history else []
    total = sum(one.messages for one in counts)
    zone = datetime.now().astimezone().tzinfo
    assert zone is not None
    return asked.render(
        "overview.html",
        span=span,
        ranges=list(RANGES),
        total=total,
        by_label={name: (n, share) for name, n, share in charts.shares(counts, "label")},
        stages=charts.shares(counts, "settled"),
        kinds=charts.shares(counts, "kind"),
        mean_ms=sum(one.ms for one in counts) / total if total else 0.0,
        chart=charts.by_time(counts, now, hours, step, zone),
        width=charts.WIDTH,
        height=charts.HEIGHT,
        status=status,
        manifest=desk.service.engine.bundle.manifest,
    )


async def messages(asked: ConsoleRequest) -> Response:
    """What was judged, newest first, by search and page by page."""
    return await asked.desk.run(_messages, asked)


def _messages(asked: ConsoleRequest) -> Response:
    desk, query = asked.desk, asked.query
    wanted = search_of(asked)
    rows = desk.history.search(wanted, PAGE + 1) if desk.history else []
    forward = wanted.above is not None
    more = len(rows) > PAGE
    rows = (rows[-PAGE:] if forward else rows[:PAGE]) if more else rows
    filters = {key: query.get(key, "") for key in ("text", "label", "kind", "to", "from", "since")}
    return asked.render(
        "_rows.html" if query.get("fragment") else "messages.html",
        rows=rows,
        filters=filters,
        older=rows[-1].id if rows and (more or forward) else "",
        newer=rows[0].id if rows and ((wanted.below is not None) or (forward and more)) else "",
        kept=desk.history is not None,
        live=wanted.below is None and wanted.above is None,
    )


def search_of(asked: ConsoleRequest) -> Search:
    """The search that a page's query asks for; what does not fit is no condition."""
    query, keys = asked.query, asked.desk.keys
    days = {"hour": 1 / 24, "day": 1.0, "week": 7.0}.get(query.get("since", ""))
    return Search(
        since=time.time() - days * DAY_S if days else None,
        label=next((one for one in Label if one == query.get("label")), None),
        kind=next((one for one in Kind if one == query.get("kind")), None),
        to=keys.address(query.get("to", "")),
        sender=keys.address(query.get("from", "")),
        text=query.get("text", "").strip(),
        mine=asked.desk.mine(asked.viewer),
        below=record.decode(query.get("older", "")),
        above=record.decode(query.get("newer", "")),
    )


async def message(asked: ConsoleRequest) -> Response:
    """One message: why, its words where its text is kept, what was said of it."""
    return await asked.desk.run(_message, asked)


def _message(asked: ConsoleRequest) -> Response:
    desk = asked.desk
    row = desk.message(asked.viewer, asked.request.path_params["id"])
    kept = desk.history.kept(row.number) if desk.history else None
    said = desk.correction(row)
    reasons = [one.say(asked.language) for one in reason.of(row, Thresholds(row.unsure, row.spam), said)]
    pieces = words_of(asked, kept.text, row) if kept and kept.text else ()
    spam, ham = strongest(pieces, SHOWN_WORDS)
    return asked.render(
        "message.html",
        row=row,
        reasons=reasons,
        said=said,
        correctable=kept is not None,
        shades=render.shades(pieces),
        by="linear" if row.settled == "fastpath" else "model",
        spam_words=spam,
        ham_words=ham,
    )


def words_of(asked: ConsoleRequest, text: str, row: Record) -> tuple[tuple[str, float], ...]:
    """The words of a kept text with their points."""
    engine = asked.desk.service.engine
    return occlude(engine, text, row.kind, linear=row.settled == "fastpath", most=EXPLAINED)


async def learn(asked: ConsoleRequest) -> Response:
    """What to say next: the messages that a label would teach most."""
    return await asked.desk.run(lambda: asked.render("learn.html", rows=asked.desk.teaching(asked.viewer)))


async def models(asked: ConsoleRequest) -> Response:
    """The bundle that judges, its card, the others, and the one on trial."""
    _for_the_site(asked)
    return await asked.desk.run(_models, asked, await asked.desk.service.status_of_all())


def _for_the_site(asked: ConsoleRequest) -> None:
    if not asked.viewer.sees_all:
        raise LearningClosed("this page is for those who look after the whole filter")


def _models(asked: ConsoleRequest, status: "State") -> Response:
    service = asked.desk.service
    in_use = service.engine.bundle
    card = in_use.path / "MODEL_CARD.md"
    return asked.render(
        "models.html",
        bundle=in_use,
        validation=in_use.manifest.metrics.get("validation", {}),
        card=card.read_text("utf-8", "replace")[:MAX_CARD] if card.is_file() else "",
        bundles=installed(service.config.bundles, in_use.id),
        shadow=status["shadow"],
        trial=status["trial"],
        reports=reports(Path(service.config.state)),
    )


def installed(store: Path, in_use: str) -> list[dict[str, Any]]:
    """The installed bundles, newest first."""
    found = []
    folders = [path for path in store.iterdir() if path.is_dir()] if store.is_dir() else []
    previous = (store / "previous").resolve() if (store / "previous").exists() else None
    for path in sorted(folders, key=lambda one: one.stat().st_mtime, reverse=True):
        if path.is_symlink() or path.name.startswith("."):
            continue
        try:
            read = bundle.read(path)
        except BundleError as error:
            found.append({"name": path.name, "error": str(error), "created": "", "id": "", "mark": ""})
            continue
        mark = "current" if read.id == in_use else "previous" if path.resolve() == previous else ""
        created = str(read.manifest.created)[:19]
        found.append({"name": path.name, "error": "", "created": created, "id": read.id, "mark": mark})
    return found


async def check(asked: ConsoleRequest) -> Response:
    """A place to paste or drop a message."""
    return await asked.page("check.html", found=None, text="", kind="")


async def status(asked: ConsoleRequest) -> Response:
    """The daemon and its configuration as in force."""
    _for_the_site(asked)
    desk = asked.desk
    said = await desk.service.status_of_all()
    config: Any = msgspec.to_builtins(desk.service.config)
    text = (
        yaml.safe_dump(shown(config), sort_keys=False, allow_unicode=True) if asked.viewer.administers else ""
    )
    roster = desk.service.roster
    others = await desk.run(roster.others) if roster else []
    return await asked.page("status.html", status=said, configuration=text, others=others)
