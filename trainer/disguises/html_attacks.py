"""Disguises that need markup: a message's text written as an HTML mail that a person reads as before.

The bytes go through `filterd.reading.text`, whose renderer (html.py) has to find what is shown.
`strength` is in [0, 1] as in `filterd_trainer.disguises.attacks`; at 0 the mail is plain HTML.
"""

import base64
import html
import re
from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Final

from filterd.reading import text
from filterd_trainer.disguises.attacks import LEAST_LENGTH, LENGTHS_A_UNIT, ham_of

HtmlAttack = Callable[[str, float, Random, Sequence[str]], bytes]

_LONG_WORD = re.compile(r"[^\W\d_]{4,}")
HIDING: Final = (
    *("display:none", "visibility:hidden", "font-size:0", "font-size:1px", "opacity:0", "color:#ffffff"),
    *("color:white;background:#fefefe", "position:absolute;left:-9999px", "text-indent:-5000px"),
    *("max-height:0;overflow:hidden", "display : NONE !important", "color:transparent"),
    *("line-height:0;font-size:0px", "visibility:collapse", "margin-left:-5000px", "font-size:0.1px"),
)  # fmt: skip
_BOXES: Final = ("text-indent", "overflow", "margin")  # hides boxes, and nothing in a line for sure
# Looks as if it hid, and does not: a later declaration holds, the text inside is set large again, white
# stands on black, or the rule is for something else.
SHOWING: Final = (
    *("display:none;display:block", "visibility:hidden;visibility:visible", "font-size:0;font-size:14px"),
    *("color:#fff;background-color:#000", "opacity:0;opacity:1", "left:-9999px", "max-height:0"),
    *("background:white;color:#333", "display:none-really", "text-indent:-1px", "font-size:100%"),
)
_BREAKS: Final = (
    *("<b></b>", "<!-- {} -->", '<span style="display:none">{}</span>', "<i></i>", "&shy;"),
    *("<font size=3></font>", "<span></span>", "&#8203;", '<span style="font-size:0">{}</span>'),
    *("<wbr>", "&zwnj;"),
)  # fmt: skip


def mail(subject: str, body: str, *, subtype: str = "plain") -> bytes:
    """A mail of one text part, headers as few as can be: none that say who sent it, so it has no head."""
    encoded = base64.b64encode(subject.encode(errors="replace")).decode()
    head = f"Subject: =?utf-8?B?{encoded}?=\n" if subject else ""
    head += f"MIME-Version: 1.0\nContent-Type: text/{subtype}; charset=utf-8\n"
    return f"{head}Content-Transfer-Encoding: 8bit\n\n{body}\n".encode(errors="replace")


def split(canonical: str) -> tuple[str, str]:
    """Subject and body of a mail's canonical text."""
    _, subject, body = text.parted(canonical)
    return subject, body


def hidden_words(canonical: str, strength: float, rng: Random, ham: Sequence[str]) -> bytes:
    """Ham that no reader sees, before, between and behind the shown text; four times its length at 1."""
    subject, body = split(canonical)
    room = round(LENGTHS_A_UNIT * strength * max(len(body), LEAST_LENGTH))
    pieces = _paragraphs(body)
    while room > 0 and (added := ham_of(min(room, LEAST_LENGTH), rng, ham)):
        room -= len(added) + 1
        style = rng.choice(HIDING)
        boxed = any(name in style for name in _BOXES)
        tag = rng.choice(("div", "p") if boxed else ("div", "span", "p", "font"))
        pieces.insert(rng.randrange(len(pieces) + 1), f'<{tag} style="{style}">{html.escape(added)}</{tag}>')
    return mail(subject, _page(pieces), subtype="html")


def broken_words(canonical: str, strength: float, rng: Random, ham: Sequence[str]) -> bytes:
    """Empty tags, comments and hidden junk inside a share of the shown words ("vi<b></b>agra")."""
    subject, body = split(canonical)

    def broken(word: re.Match[str]) -> str:
        if rng.random() >= strength:
            return word[0]
        at = rng.randrange(1, len(word[0]))
        junk = "".join(rng.choices("etaoinshrdlu", k=3))
        return word[0][:at] + rng.choice(_BREAKS).format(junk) + word[0][at:]

    pieces = [_LONG_WORD.sub(broken, html.escape(line, quote=False)) for line in body.split("\n")]
    return mail(subject, _page([f"<p>{piece}</p>" for piece in pieces]), subtype="html")


def shown_after_all(canonical: str, strength: float, rng: Random, ham: Sequence[str]) -> bytes:
    """The reverse: a share of the paragraphs in styles that look as if they hid, and do not."""
    subject, body = split(canonical)
    pieces = [
        f'<div style="{rng.choice(SHOWING)}">{piece}</div>' if rng.random() < strength else piece
        for piece in _paragraphs(body)
    ]
    return mail(subject, _page(pieces), subtype="html")


HTML_ATTACKS: Final[Mapping[str, HtmlAttack]] = {
    "hidden_words": hidden_words,
    "broken_words": broken_words,
    "shown_after_all": shown_after_all,
}


def _paragraphs(body: str) -> list[str]:
    return [f"<p>{html.escape(line)}</p>" for line in body.split("\n")]


def _page(pieces: Sequence[str]) -> str:
    return f"<html><body>{''.join(pieces)}</body></html>"
