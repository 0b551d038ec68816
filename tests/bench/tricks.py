"""What the shipped bundle makes of spam behind each trick of issue 16: caught is spam or unsure.

30 spam mails of SpamAssassin's that are spam to the bundle when they are sent plainly, each written anew
with a harmless subject and one trick. BENCH_BUNDLE names another bundle, BENCH_TRICKS the number of mails.
A row that is caught less often than its plain form has a hole in the reader or needs training.
"""

import base64
import binascii
import os
import quopri
from collections.abc import Callable, Iterator, Mapping
from html import escape
from pathlib import Path
from typing import Final

from rich.table import Table

from filterd.api import Kind, Label, Message
from filterd.reading import text
from filterd.scoring import bundle
from filterd.scoring.engine import Engine
from tests.filterd.mails import of_archive

MAILS: Final = 30
TRIED: Final = 400  # spam mails from which these are taken
LEAST, MOST = 300, 3_000  # characters of a spam text
PADDING: Final = 3_000  # characters of ham
HEAD: Final = (
    "From: Ann Lee <ann@example.org>\nTo: bob@example.net\nSubject: Thursday\n"
    "Date: Mon, 02 Nov 2026 10:00:00 +0000\nMessage-ID: <1@example.org>\nMIME-Version: 1.0\n"
)
EBCDIC: Final = ("cp037", "cp500", "cp273", "cp424", "cp1026", "cp1140")
HTML: Final = "Content-Type: text/html; charset=utf-8\n"
PLAIN: Final = "Content-Type: text/plain; charset=utf-8\n"
B64: Final = "Content-Transfer-Encoding: base64\n"
QP: Final = "Content-Transfer-Encoding: quoted-printable\n"
MIXED: Final = "Content-Type: multipart/mixed; boundary=b\n"

Trick = Callable[[str, str], bytes]  # of a spam text and ham to the raw mail


def run() -> Table:
    """Caught and called spam of each trick, of the mails that are spam plainly."""
    engine = Engine.open(Path(os.environ.get("BENCH_BUNDLE") or bundle.DEFAULT))
    count = int(os.environ.get("BENCH_TRICKS", MAILS))
    ham = "\n\n".join(_texts("ham", 40))[:PADDING]
    spam: list[str] = []
    for found in _texts("spam", TRIED):
        if len(spam) < count and _labels(engine, [_plain(found, ham)]) == [Label.SPAM]:
            spam.append(found)
    table = Table(
        "trick", "caught", "spam", title=f"{len(spam)} mails, bundle {bundle.id_of(engine.bundle.path)}"
    )
    for name, trick in TRICKS.items():
        labels = _labels(engine, [trick(one, ham) for one in spam])
        caught = sum(label is not Label.HAM for label in labels)
        table.add_row(name, f"{caught / len(spam):.0%}", f"{labels.count(Label.SPAM) / len(spam):.0%}")
    return table


def _labels(engine: Engine, mails: list[bytes]) -> list[Label]:
    return [verdict.label for verdict in engine.judge([Message(raw, kind=Kind.MAIL) for raw in mails])]


def _texts(label: str, most: int) -> Iterator[str]:
    """Bodies of SpamAssassin's, of a length that a trick can be played with."""
    for name, raw in of_archive():
        if name.partition("/")[0].count(label) and most > 0:
            found = text.read(Message(raw, kind=Kind.MAIL))[0]
            if LEAST <= len(found.body) <= MOST and found.body.isascii() and not found.facts:
                most -= 1
                yield found.body


# -- mails ---------------------------------------------------------------------------------------------------


def _mail(headers: str, body: str | bytes) -> bytes:
    return (HEAD + headers + "\n").encode() + (body if isinstance(body, bytes) else body.encode())


def _plain(spam: str, ham: str) -> bytes:
    return _mail(PLAIN, spam)


def _encoded(content: str) -> str:
    return base64.encodebytes(content.encode()).decode()


def _attached(kind: str, name: str, content: str) -> bytes:
    part = f"--b\n{PLAIN}\nSee you on Thursday.\n--b\nContent-Type: {kind}; name={name}\n"
    part += f"Content-Disposition: attachment; filename={name}\n{B64}\n{_encoded(content)}--b--\n"
    return _mail(MIXED, part)


def _lines(spam: str) -> str:
    return escape(spam).replace("\n", "<br>\n")


def _html(page: str) -> Trick:
    """A page with {spam} and {ham} in it."""

    def mail(spam: str, ham: str) -> bytes:
        return _mail(HTML, page.replace("{spam}", _lines(spam)).replace("{ham}", _lines(ham)))

    return mail


def _charset(name: str) -> Trick:
    return lambda spam, ham: _mail(PLAIN.replace("utf-8", name), spam)


def _soft_breaks(spam: str, ham: str) -> bytes:
    words = quopri.encodestring(spam.encode()).decode().replace(" ", " =  \n")
    return _mail(PLAIN + QP, words)


def _uuencoded(spam: str, ham: str) -> bytes:
    data = spam.encode()
    lines = b"".join(binascii.b2a_uu(data[at : at + 45]) for at in range(0, len(data), 45))
    return _mail(PLAIN, b"See you on Thursday.\n\nbegin 644 a.txt\n" + lines + b"`\nend\n")


def _calendar(spam: str, ham: str) -> bytes:
    said = spam.replace("\\", "\\\\").replace(",", "\\,").replace(";", "\\;").replace("\n", "\\n")
    return _attached(
        "application/ics", "a.ics", f"BEGIN:VCALENDAR\nBEGIN:VEVENT\nDESCRIPTION:{said}\nEND:VEVENT\n"
    )


def _block(style: str) -> Trick:
    """A block with that style, which shows its text for all that."""
    return _html(f'<p>See you on Thursday.</p><div style="{style}">{{spam}}</div>')


def _inline(style: str) -> Trick:
    return _html(f'<p>See you on Thursday.</p><span style="{style}">{{spam}}</span>')


def _sheet(rules: str, classes: str = "a b") -> Trick:
    return _html(f'<style>{rules}</style><p>See you on Thursday.</p><div class="{classes}">{{spam}}</div>')


def _padding(rules: str) -> Trick:
    """Ham that nobody sees around the spam."""
    return _html(
        f"<style>{rules}</style><div class=h>{{ham}}</div><div>{{spam}}</div><div class=h>{{ham}}</div>"
    )


TRICKS: Final[Mapping[str, Trick]] = {
    "none": _plain,
    "none, as HTML": _html("<p>{spam}</p>"),
    "1.6 MB of soft breaks first": lambda s, h: _mail(
        PLAIN + QP, b"=\n" * 800_000 + quopri.encodestring(s.encode())
    ),
    "1.6 MB of blank lines before base64": lambda s, h: _mail(PLAIN + B64, "\n" * 1_600_000 + _encoded(s)),
    "530 KB of comment first": _html("<!--" + "x " * 265_000 + "--><p>{spam}</p>"),
    "530 KB of style sheet first": _html("<style>" + "p{left:1px}" * 48_000 + "</style><p>{spam}</p>"),
    "600 empty parts first": lambda s, h: _mail(
        MIXED, f"--b\n{PLAIN}\n\n" * 600 + f"--b\n{PLAIN}\n{s}\n--b--\n"
    ),
    "max-height:0 on inline text": _inline("max-height:0;overflow:hidden"),
    "text-indent on inline text": _inline("text-indent:-9999px"),
    "margin-top": _block("margin-top:-5px"),
    "scale(0) on inline text": _inline("transform:scale(0)"),
    "clip without position": _block("clip:rect(0,0,0,0)"),
    "min-height": _block("max-height:0;min-height:9em;overflow:hidden"),
    "padding that makes good": _block("text-indent:-9999px;padding-left:9999px"),
    "font-size:0 outside": _html('<div style="font-size:0">x<p style="font-size:14px">{spam}</p></div>'),
    "white on crimson": _block("color:white;background:crimson"),
    "honeydew on hsl": _block("color:honeydew;background:hsl(0,100%,20%)"),
    "undone by @media": _sheet(".a{display:none}@media screen{.a{display:block}}"),
    "undone by a descendant": _sheet(".a{display:none}body .a{display:block}"),
    "undone by two classes": _sheet(".a{display:none}.a.b{display:block}"),
    "hidden, display:block": _html('<p>See you.</p><div hidden style="display:block">{spam}</div>'),
    "svg text": _html("<p>See you.</p><svg width=900 height=900><text x=9 y=20>{spam}</text></svg>"),
    "math text": _html("<p>See you.</p><math><mtext>{spam}</mtext></math>"),
    "object text": _html("<p>See you.</p><object>{spam}</object>"),
    "white on a cell that a sheet colours": _html(
        "<style>td{background:#036;color:#fff}</style><table><tr><td>{spam}</td></tr></table>"
    ),
    "padding: div .h": _padding("div .h,.h{display:none}"),
    "padding: @media all": _padding("@media all{.h{display:none}}"),
    "padding: clip-path": _padding(".h{clip-path:inset(50%)}"),
    "padding: translateX": _padding(".h{transform:translateX(-9999px)}"),
    **{f"charset={name}": _charset(name) for name in EBCDIC},
    "one part, attachment": lambda s, h: _mail(PLAIN + "Content-Disposition: attachment\n", s),
    "text part, attachment": lambda s, h: _mail(
        MIXED, f"--b\n{PLAIN}\nSee you.\n--b\n{PLAIN}Content-Disposition: attachment\n\n{s}\n--b--\n"
    ),
    "base64 message/rfc822": lambda s, h: _attached("message/rfc822", "a.eml", HEAD + PLAIN + "\n" + s),
    "application/ics": _calendar,
    "delivery-status": lambda s, h: _attached("message/delivery-status", "a", s),
    "xhtml": lambda s, h: _attached("application/xhtml+xml", "a", f"<html><body><p>{_lines(s)}</p></body>"),
    "uuencode": _uuencoded,
    "attached .txt": lambda s, h: _attached("application/octet-stream", "a.txt", s),
    "attached .html": lambda s, h: _attached("application/octet-stream", "a.html", f"<p>{_lines(s)}</p>"),
    "soft breaks with blanks": _soft_breaks,
    "3 KB of ham, spam, 3 KB of ham": lambda s, h: _mail(PLAIN, f"{h}\n\n{s}\n\n{h}"),
}  # fmt: skip
