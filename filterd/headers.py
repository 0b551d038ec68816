"""A verdict as header lines, and the whole mail with them; forged incoming copies go.

What arrives as `X-Spam-…` was written by the sender until shown otherwise, so it is dropped, or renamed to
`X-Old-Spam-…`. Everything else comes out byte for byte as it came in, whatever its line ends. Values are
ASCII without CR, LF or NUL, whatever a bundle or a test is called (header injection, RFC 5322 2.2).
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from filterd import __version__
from filterd.api import Label, Verdict
from filterd.scoring.points import POINTS_AT_SPAM, shown_points

FOLD_AT = 76  # characters of a line before its end; RFC 5322 2.1.1 recommends 78 and forbids 998
MAX_VALUE_BYTES = 900  # of a whole value: even where nobody folds, a line stays under 998
NAMES = ("Flag", "Status", "Level", "Score", "Checker-Version")  # of ours, each after the prefix
STYLE_HEADER = "Filterd-Headers"  # of an answer by HTTP: how to tag, for `filterd check --tag`
KEEPING = "; keep-forged"
MAX_LEVEL = 50  # stars; SpamAssassin stops there too, so that filing rules written for it keep working

_FIELD = re.compile(rb"[!-9;-~]+[ \t]*:")  # RFC 5322 2.2 and the blanks that 4.5 tolerates
_UNPRINTABLE = re.compile(r"[^ -~]+")


@dataclass(frozen=True, slots=True)
class HeaderStyle:
    """How our headers are called, and what happens to incoming ones of the same names."""

    prefix: str = "X-Spam-"
    keep_forged: bool = False  # True: renamed to `X-Old-Spam-…` instead of dropped

    def is_ours(self, name: str) -> bool:
        """Whether a header of this name claims to be ours; names compare without case."""
        return name.strip().lower().startswith(self.prefix.lower())

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


def fields(verdict: Verdict, style: HeaderStyle = HeaderStyle()) -> list[tuple[str, str]]:
    """Names and unfolded values in the order in which they go on top of the mail."""
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
    return [(style.prefix + name, _ascii(value)) for name, value in named]


def _ascii(value: str) -> str:
    return _UNPRINTABLE.sub("?", value)[:MAX_VALUE_BYTES]


def fold(name: str, value: str, line_end: str = "\n") -> str:
    """One header as lines: broken before blanks and after commas, RFC 5322 2.2.3."""
    lines, line = [], f"{name}:"
    for word in re.findall(r"[^ ,]+,*|,+", value):
        glue = "" if line.endswith(",") and f",{word}" in value else " "
        if len(line) + len(glue) + len(word) > FOLD_AT and line.strip() != f"{name}:":
            lines.append(line)
            line = "\t" + word
        else:
            line += glue + word
    return line_end.join([*lines, line]) + line_end


def tag(raw: bytes, verdict: Verdict, style: HeaderStyle = HeaderStyle()) -> bytes:
    """The mail with our headers on top (below an mbox "From " line) and forged ones gone."""
    line_end = "\r\n" if raw.split(b"\n", 1)[0].endswith(b"\r") else "\n"
    ours = "".join(fold(name, value, line_end) for name, value in fields(verdict, style)).encode("ascii")
    start = raw.find(b"\n") + 1 if raw.startswith(b"From ") else 0
    kept, body = _strip(raw, start, style)
    gap = b"" if kept or body.startswith((b"\n", b"\r\n")) or not body else line_end.encode()
    return b"".join((raw[:start], ours, kept, gap, body))


def strip(raw: bytes, style: HeaderStyle = HeaderStyle()) -> bytes:
    """The mail without headers of ours; what learning and hashing look at."""
    start = raw.find(b"\n") + 1 if raw.startswith(b"From ") else 0
    kept, body = _strip(raw, start, style)
    return b"".join((raw[:start], kept, body))


def _strip(raw: bytes, start: int, style: HeaderStyle) -> tuple[bytes, bytes]:
    """The header block less forged fields, and all that follows it (with the blank line)."""
    kept: list[bytes] = []
    dropping, end = False, start
    for line in _header_lines(raw, start):
        end += len(line)
        if not line.startswith((b" ", b"\t")):
            name = line.split(b":", 1)[0]
            dropping = style.is_ours(name.decode("latin-1"))
            if dropping and style.keep_forged:
                line = style.old_prefix.encode() + line[len(style.prefix) :]  # noqa: PLW2901
                dropping = False
        if not dropping:
            kept.append(line)
    return b"".join(kept), raw[end:]


def _header_lines(raw: bytes, start: int) -> Iterator[bytes]:
    """Lines of the header block with their ends; stops before the blank line or what is no header."""
    first = True
    while start < len(raw):
        end = raw.find(b"\n", start) + 1 or len(raw)
        line = raw[start:end]
        if not (_FIELD.match(line) or (line.startswith((b" ", b"\t")) and line.strip() and not first)):
            return
        yield line
        start, first = end, False
