"""A verdict as header lines, and the whole mail with them; forged incoming copies go.

What arrives as `X-Spam-…` was written by the sender until shown otherwise, so it is dropped, or renamed to
`X-Old-Spam-…`. Everything else comes out byte for byte as it came in, whatever its line ends. Values are
ASCII without CR, LF or NUL, whatever a bundle or a test is called (header injection, RFC 5322 2.2).
"""

import re
from dataclasses import dataclass
from functools import lru_cache

from filterd import __version__
from filterd.api import Action, Label, ModelAnswer, Verdict
from filterd.kit.fold import fold
from filterd.reading.kind import GZIP, opened
from filterd.scoring.points import POINTS_AT_SPAM, shown_points

MAX_VALUE_BYTES = 900  # of a whole value: even where nobody folds, a line stays under 998
NAMES = ("Flag", "Status", "Level", "Score", "Checker-Version")  # of ours, each after the prefix
STYLE_HEADER = "Filterd-Headers"  # of an answer by HTTP: how to tag, for `filterd check --tag`
KEEPING = "; keep-forged"
MAX_NAME_BYTES = 1_024  # of a first line that is looked at for a name and a colon; names have tens
MAX_LEVEL = 50  # stars; SpamAssassin stops there too, so that filing rules written for it keep working

PIECE_BYTES = 262_144  # of a head that are searched at once: a thread that searches 10 MB holds up all others
# Of a model that knows no spam, by its task.
ANSWERS = {
    "classes": "X-Filterd-Class",
    "hierarchical": "X-Filterd-Class",
    "multilabel": "X-Filterd-Labels",
    "regression": "X-Filterd-Value",
}

_ANSWERS = tuple(dict.fromkeys(name.lower() for name in ANSWERS.values()))
_FIELD = re.compile(rb"[!-9;-~]+[ \t]*:")  # RFC 5322 2.2 and the blanks that 4.5 tolerates
_FOLDED = re.compile(rb"(?:[ \t][^\n]*+\n)*+")
_UNPRINTABLE = re.compile(r"[^ -~]+")


@dataclass(frozen=True, slots=True)
class HeaderStyle:
    """How our headers are called, and what happens to incoming ones of the same names."""

    prefix: str = "X-Spam-"
    keep_forged: bool = False  # True: renamed to `X-Old-Spam-…` instead of dropped

    def is_ours(self, name: str) -> bool:
        """Whether a header of this name claims to be ours; names compare without case."""
        name = name.strip().lower()
        return name in _ANSWERS or name.startswith(self.prefix.lower())

    def as_text(self) -> str:
        """For STYLE_HEADER: `X-Spam-`, or `X-Spam-; keep-forged`."""
        return self.prefix + (KEEPING if self.keep_forged else "")

    @classmethod
    def from_text(cls, text: str) -> "HeaderStyle":
        """What `as_text` made."""
        return cls(text.removesuffix(KEEPING), text.endswith(KEEPING))

    @property
    def old_prefix(self) -> str:
        """What `prefix` becomes where forged headers are kept: X-Spam- to X-Old-Spam-."""
        return f"X-Old-{self.prefix.removeprefix('X-')}"


def fields(verdict: Verdict, style: HeaderStyle = HeaderStyle(), reason: str = "") -> list[tuple[str, str]]:
    """Names and unfolded values in the order in which they go on top of the mail. reason: in words."""
    if verdict.answer:
        return _answer(verdict.answer, verdict)
    spam = verdict.label is Label.SPAM
    status = [
        f"{'Yes' if spam else 'No'}, score={shown_points(verdict.points)} required={POINTS_AT_SPAM:.1f}",
        f"tests={','.join(verdict.tests) or 'none'}",
    ]
    if verdict.available:
        status.append(f"label={verdict.label} probability={verdict.probability:.4f} model={verdict.model}")
    else:
        status.append("filter=unavailable")
    status.append(f"version={__version__}")
    named = [("Flag", "YES")] if spam else []
    named += [
        ("Status", " ".join(status)),
        ("Level", "*" * max(0, min(MAX_LEVEL, int(verdict.points)))),
        ("Score", shown_points(verdict.points)),
        ("Checker-Version", f"filterd {__version__} ({verdict.model or 'no model'})"),
    ]
    named += [("Action", Action.MOVE)] if verdict.action is Action.MOVE else []  # for the mailbox's rules
    named += [("Reason", reason)] if reason else []
    return [(style.prefix + name, _ascii(value)) for name, value in named]


def _answer(answer: ModelAnswer, verdict: Verdict) -> list[tuple[str, str]]:
    """The line that says an answer; none of a task that a newer daemon knows and we do not."""
    name = ANSWERS.get(answer.task)
    share = "" if answer.value is not None else f"; probability={verdict.probability:.4f}"
    return [(name, _ascii(f"{answer.text}{share}; model={verdict.model}"))] if name else []


def _ascii(value: str) -> str:
    return _UNPRINTABLE.sub("?", value)[:MAX_VALUE_BYTES]


def tag(raw: bytes, verdict: Verdict, style: HeaderStyle = HeaderStyle(), reason: str = "") -> bytes:
    """The mail with our headers on top (below an mbox "From " line) and forged ones gone.

    A file that is compressed (Dovecot's zlib) comes back as it is: nothing is written into it.
    """
    if raw.startswith(GZIP):
        return raw
    first = raw.find(b"\n")
    line_end = "\r\n" if first > 0 and raw[first - 1] == 0x0D else "\n"
    named = fields(verdict, style, reason)
    ours = "".join(fold(name, value, line_end=line_end) for name, value in named).encode("ascii")
    start = _start(raw)
    kept, end = _strip(raw, start, style)
    gap = b"" if kept or raw.startswith((b"\n", b"\r\n"), end) or end == len(raw) else line_end.encode()
    return b"".join((raw[:start], ours, kept, gap, memoryview(raw)[end:]))


def strip(raw: bytes, style: HeaderStyle = HeaderStyle()) -> bytes:
    """The mail without headers of ours; what learning and hashing look at, also of a compressed file."""
    raw = opened(raw)
    start = _start(raw)
    kept, end = _strip(raw, start, style)
    return b"".join((raw[:start], kept, memoryview(raw)[end:]))


def _start(raw: bytes) -> int:
    """Where the headers begin: below an mbox line, also one that was quoted on its way."""
    return raw.find(b"\n") + 1 if raw.startswith((b"From ", b">From ")) else 0


def _strip(raw: bytes, start: int, style: HeaderStyle) -> tuple[bytes, int]:
    """The header block less forged fields, and where it ends. Searches only: no step for each line.

    It reaches to the first empty line, also past lines that are no headers: what a program behind us makes of
    those is not ours to know. It is empty where the first line is no header.
    """
    end = _end_of_head(raw, start) if _FIELD.match(raw, start, start + MAX_NAME_BYTES) else start
    head = raw[start:end]
    names = head.lower()
    for name in _ANSWERS:
        if name.encode() in names:
            head = _without(head, _forged(name, b"[ \t]*+:"), b"")
    if style.prefix.lower().encode() in names:
        if style.keep_forged:
            head = _without(head, _named(style.prefix), b"\n" + style.old_prefix.encode())
        else:
            head = _without(head, _forged(style.prefix), b"")
    return head, end


def _without(head: bytes, forged: re.Pattern[bytes], instead: bytes) -> bytes:
    """A head, without empty lines, with something else in the place of what is forged; a piece at a time.

    forged, instead: with the line's end before them. A piece ends at any line's end: what a forged field has
    in the next piece goes there. No line is empty, so what is left of a piece ends a line unless a forged
    field was its last.
    """
    instead = instead.replace(b"\\", rb"\\")
    lines = head if head.endswith(b"\n") else head + b"\n"
    kept: list[bytes] = []
    at, dropping = 0, False  # whether the piece before ended within a forged field
    while at < len(lines):
        last = lines.find(b"\n", at + PIECE_BYTES) + 1 or len(lines)
        if dropping and (folded := _FOLDED.match(lines, at, last)):
            at = folded.end()
            if at == last:
                continue
        left = forged.sub(instead, b"\n" + lines[at:last])
        dropping = not left.endswith(b"\n")
        kept += [left[1:], b"\n"] if left and dropping else [left[1:]]
        at = last
    whole = b"".join(kept)
    return whole if lines is head or dropping else whole[:-1]


def _end_of_head(raw: bytes, start: int) -> int:
    end = raw.find(b"\n\n", start)
    crlf = raw.find(b"\n\r\n", start, end if end >= 0 else len(raw))
    found = crlf if crlf >= 0 else end
    return found + 1 if found >= 0 else len(raw)


@lru_cache(maxsize=8)
def _forged(prefix: str, rest: bytes = b"") -> re.Pattern[bytes]:
    """Fields whose names begin so, with their folded lines. rest: what has to follow, a pattern."""
    name = re.escape(prefix.encode()) + rest
    return re.compile(rb"\n%b[^\n]*+(?:\n[ \t][^\n]*+)*+(?:\n\Z)?" % name, re.IGNORECASE)


@lru_cache(maxsize=8)
def _named(prefix: str) -> re.Pattern[bytes]:
    """The beginning of such a field."""
    return re.compile(rb"\n" + re.escape(prefix.encode()), re.IGNORECASE)
