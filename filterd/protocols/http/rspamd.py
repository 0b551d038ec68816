"""What Rspamd's clients send and read, from its protocol page and from `rspamc` 3.4; no I/O, no framework.

`/checkv2`, `/learnspam`, `/learnham` take a raw mail; `/stat` and `/auth` (what `rspamc uptime` asks) say how
much was judged. Fields of a server with other parts than ours (fuzzy storage, memory pools) are left out.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from filterd import __version__
from filterd.api import Action, Label, Verdict
from filterd.errors import FilterdError
from filterd.scoring.points import POINTS_AT_SPAM

MAX_ID = 200  # characters of a Message-ID in an answer
MAX_HEAD = 65_536  # bytes in which a Message-ID is looked for
SCAN_TIMES = 31  # the latest ones, as many as Rspamd lists
REJECT_POINTS = 15.0  # Rspamd's stock threshold for "reject"; here `actions` ask for that
ACTIONS = {
    Action.ACCEPT: "no action",
    Action.MOVE: "add header",
    Action.QUARANTINE: "quarantine",
    Action.TEMPFAIL: "soft reject",
    Action.REJECT: "reject",
    Action.DISCARD: "discard",
}
TAGGED = {Label.HAM: "no action", Label.UNSURE: "no action", Label.SPAM: "add header"}
OTHER_ACTIONS = ("reject", "soft reject", "rewrite subject", "greylist")


class EncodedBody(FilterdError):
    """A body that only another program could read, and that would be judged by its noise."""


def refuse_encoded(fields: Mapping[str, str]) -> None:
    """Raise Encoded for a body that these request headers call compressed, encrypted or a form.

    `rspamc -z` compresses with zstd, `rspamc --key` encrypts (HTTPCrypt); HTTP's own is Content-Encoding.
    A mail in a form, as `curl -F` sends it, would be judged as the form's text.
    """
    for name in ("compression", "content-encoding"):
        if fields.get(name, "identity").strip().lower() != "identity":
            raise EncodedBody(f"{name}: compressed bodies are not read here; send it uncompressed")
    if "key" in fields:
        raise EncodedBody("key: encrypted bodies are not read here; send it over a unix socket")
    if media_type(fields).startswith("multipart/"):
        raise EncodedBody(
            f"{media_type(fields)[:MAX_ID]}: forms are not read here; send it as it is, the mail alone"
        )


def media_type(fields: Mapping[str, str]) -> str:
    """The Content-Type less its parameters, in lower case; "" where there is none."""
    return fields.get("content-type", "").split(";")[0].strip().lower()


def answer(
    found: Verdict, message_id: str, headers: Iterable[tuple[str, str]], forged: Iterable[str]
) -> dict[str, Any]:
    """The answer of `/checkv2`. headers: those that announce the verdict; forged: names to remove before."""
    return {
        "is_skipped": not found.available,
        "score": round(found.points, 2),
        "required_score": POINTS_AT_SPAM,
        "action": ACTIONS.get(found.action or Action.TAG, TAGGED[found.label]),
        "thresholds": {"reject": REJECT_POINTS, "add header": POINTS_AT_SPAM},
        "symbols": {test: _symbol(test, found, model=not i) for i, test in enumerate(found.tests)},
        "messages": {},
        "message-id": message_id or "undef",
        "time_real": round(found.seconds, 6),
        "milter": {"add_headers": dict(headers), "remove_headers": dict.fromkeys(forged, 0)},  # 0: every copy
    }


def _symbol(test: str, found: Verdict, *, model: bool) -> dict[str, Any]:
    """The model, which is named first, has all the points, for they are of the whole message."""
    points = round(found.points, 2) if model else 0.0
    about = f"P(spam) {found.probability:.4f}" if model else ""
    return {"name": test, "score": points, "metric_score": points, "description": about}


def stat(
    judged: Mapping[Label, int], learned: int, uptime_s: float, seconds: Sequence[float], *, read_only: bool
) -> dict[str, Any]:
    """The answer of `/stat`. seconds: of the latest verdicts."""
    spam, total = judged[Label.SPAM], sum(judged.values())
    return {
        **_common(total, learned, uptime_s, read_only=read_only),
        "actions": dict.fromkeys(OTHER_ACTIONS, 0) | {"add header": spam, "no action": total - spam},
        "scan_times": [round(one, 6) for one in seconds[-SCAN_TIMES:]],
        "spam_count": spam,
        "ham_count": total - spam,
        "total_learns": learned,
        "statfiles": [],
    }


def auth(judged: Mapping[Label, int], learned: int, uptime_s: float, *, read_only: bool) -> dict[str, Any]:
    """The answer of `/auth`, for a client that has shown its token where one is asked for."""
    spam, total = judged[Label.SPAM], sum(judged.values())
    return {
        **_common(total, learned, uptime_s, read_only=read_only),
        "auth": "ok",
        "clean": total - spam,
        "probable": spam,
        "greylist": 0,
        "reject": 0,
        "soft_reject": 0,
    }


def _common(total: int, learned: int, uptime_s: float, *, read_only: bool) -> dict[str, Any]:
    return {
        "version": f"filterd {__version__}",
        "uptime": int(uptime_s),
        "read_only": read_only,
        "scanned": total,
        "learned": learned,
    }


def message_id(raw: bytes) -> str:
    """The Message-ID header's value, printable and bounded; "" where there is none."""
    head = raw[:MAX_HEAD].split(b"\n\n", 1)[0].split(b"\r\n\r\n", 1)[0]
    for line in head.split(b"\n"):
        if line[:11].lower() == b"message-id:":
            value = line[11:].strip().decode("ascii", "replace").strip("<>")
            return "".join(c for c in value if c.isprintable())[:MAX_ID]
    return ""
