"""What a person sees of an HTML mail: the text that is shown, its links, and how much is hidden.

Lexbor builds the tree a browser would, so nobody gains by nesting tags wrongly. A document that it would be
slow with loses its tags by a regular expression instead. That shows too much rather than too little: nothing
a person sees is kept from the model.
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, NamedTuple

from selectolax.lexbor import LexborHTMLParser, LexborNode

from filterd.reading import look, markup, sheet
from filterd.reading.cascade import Cascade, Scene
from filterd.reading.color import UNKNOWN, Paint, names
from filterd.reading.style import PLAIN, Style

__all__ = ["Link", "VisibleText", "visible"]

MAX_NODES: Final = 30_000  # of the tree; with the clones, which cost 3 us each
MAX_COST: Final = 250_000  # of styles, some 120 ms; the longest of 786 newsletters come to 25,000
MAX_LINKS: Final = 64  # more say nothing new: a newsletter has 30
MAX_HREF: Final = 500  # characters; the host stands in the first hundred
MAX_LINK_TEXT: Final = 200  # characters shown between <a> and </a>
MAX_ALT: Final = 160  # characters of a picture's alt; longer ones are not written for people
MIN_ALT_PX: Final = 12  # a picture of less has no room for a word
MIN_MOSTLY: Final = 300  # hidden letters; the preview line that newsletters hide has a hundred
MAX_FRAMES: Final = 3  # <iframe srcdoc> that are read


_UNSEEN = names(
    "head title script style template noembed noframes audio video datalist iframe desc defs metadata"
    " annotation annotation-xml rp -comment"
)
_APART = look.BLOCK | names("table tr caption thead tbody tfoot")
_BESIDE = look.CELL | names("rt legend")
_PARTING: Final = {**dict.fromkeys(_BESIDE, " "), **dict.fromkeys(_APART, "\n")}
_LINKING = names("a form")
_LEAVES = names("area br hr img input select textarea embed")
_TYPED = names("text submit button reset search email tel url number")
_TINY_NUMBER = re.compile(r"\s*\d{1,2}(?![\d%])")
_STANDARDS = re.compile(
    r"(?:\s|\ufeff|<!--.*?-->|<\?[^>]*>)*<!doctype\s+html"
    r"(?![^>]*(?:transitional|frameset|3\.2|//dtd html 4\.0//))",
    re.IGNORECASE | re.DOTALL,
)
# A length by which something could be moved out of the page; no part of a name or a number.
_MOVES = re.compile(r"-(?<=[:\s(,]-)(?:\d{3}|[\d.]+(?:r?em|r?ex|ch|in|cm|pc|vw|vh|lh))", re.IGNORECASE)
_MAY_HIDE = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden|font-size\s*:\s*0", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Link:
    """Where a link leads, as written (MAX_HREF characters at most), and the text shown for it."""

    href: str
    text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class VisibleText:
    """text: what is shown, blocks apart by newlines. hidden: some text is there and not shown.

    whole: False where the document was too involved to tell shown from hidden. links: the first MAX_LINKS.
    images: how many pictures it has. mostly_hidden: more is hidden than shown.
    """

    text: str
    hidden: bool = False
    whole: bool = True
    links: tuple[Link, ...] = ()
    images: int = 0
    mostly_hidden: bool = False

    @property
    def facts(self) -> tuple[str, ...]:
        """What to note about it."""
        noted = (
            ("hidden-text", self.hidden),
            ("mostly-hidden", self.mostly_hidden),
            ("tangled-html", not self.whole),
        )
        return tuple(fact for fact, holds in noted if holds)


@lru_cache(maxsize=4)  # the readings of an ambiguous mail share their HTML parts
def visible(html: str, quick: bool = False) -> VisibleText:
    """Read an HTML document or fragment; `quick` only strips its tags. Never raises."""
    if not quick and (simple := markup.prepared(html)) is not None and (seen := _rendered(simple)):
        return seen
    links = tuple(Link(href[:MAX_HREF]) for href in markup.links(html, MAX_LINKS))
    return VisibleText(
        text=markup.without_tags(html), hidden=bool(_MAY_HIDE.search(html)), whole=False, links=links
    )


def _rendered(html: str, frames: int = MAX_FRAMES) -> VisibleText | None:
    """What a browser would show, None where the tree grew too large to walk."""
    tree = LexborHTMLParser(html)
    if tree.body is None:
        return VisibleText(text="")
    walk = _Walk(_sheet_of(tree, html), _MOVES.search(html) is not None, frames)
    walk.read(tree, quirks=not _STANDARDS.match(html[:2_000]))
    if walk.tangled:
        return None
    text = walk.text()
    mostly = walk.unseen_letters > max(MIN_MOSTLY, len(text))
    return VisibleText(
        text=text,
        hidden=walk.hidden,
        whole=True,
        links=tuple(walk.links),
        images=walk.images,
        mostly_hidden=mostly,
    )


def _sheet_of(tree: LexborHTMLParser, html: str) -> sheet.Sheet:
    """The style sheets in a document, those for paper left out."""
    if "<style" not in html and "<STYLE" not in html and "<style" not in html.lower():
        return sheet.NO_SHEET
    sources = []
    for node in tree.css("style"):
        attributes = node.attributes
        if (attributes.get("type") or "text/css").strip().lower() == "text/css":
            query = attributes.get("media")
            source = node.text()
            sources.append(f"@media {query[:200]} {{{source}}}" if query and "{" not in query else source)
    if "data:text/css" in html.lower():
        sources.append("@import 'data:'")
    return sheet.parse("\n".join(sources)) if sources else sheet.NO_SHEET


class _Faint(NamedTuple):
    """A text in the colour of its background; whether it is seen is known at the end of the document."""

    text: str
    ink: Paint


class _Anchor(NamedTuple):
    """An open <a>: where its text starts among the pieces found."""

    href: str
    start: int


# Where to go on behind an element that is being read, in which scene and box, and what stands at its end.
_Open = tuple[LexborNode | None, Scene, sheet.Element | None, str, _Anchor | None]


class _Walk:
    """One pass over the tree in document order, without recursion."""

    def __init__(self, rules: sheet.Sheet, moves: bool, frames: int) -> None:
        self.hidden = False
        self.unseen_letters = 0
        self.nodes = 0
        self.links: list[Link] = []
        self.images = 0
        self._found: list[str | _Faint] = []
        self._cascade = Cascade(rules, moves)
        self._frames = frames
        self._moves = moves

    @property
    def tangled(self) -> bool:
        """Whether the document was given up."""
        return self.nodes > MAX_NODES or self._cascade.cost > MAX_COST

    def text(self) -> str:
        """The shown pieces of text."""
        if self.images and self._cascade.overlaps:
            self._cascade.backgrounds.add(UNKNOWN)
        return "".join([piece if isinstance(piece, str) else self._decided(piece) for piece in self._found])

    def _decided(self, piece: _Faint) -> str:
        return self._unseen(piece.text, " ") if self._cascade.is_unseen(piece.ink) else piece.text

    def _unseen(self, text: str, instead: str) -> str:
        if letters := len(text.strip()):
            self.hidden = True
            self.unseen_letters += letters
        return instead

    def read(self, tree: LexborHTMLParser, quirks: bool) -> None:
        """Find the shown pieces of text, with newlines and blanks where elements part them."""
        outer, box = look.FIRST._replace(quirks=quirks, moves=self._moves), None
        body = tree.body
        assert body is not None
        for node in (tree.root, body):
            if node is None or node.tag not in ("html", "body"):
                continue
            scene, box = self._cascade.enter(node, node.tag, outer, box)
            if scene.look is None:
                self._unseen(body.text(), "")
                return
            outer = scene.look
        if body.tag == "body":
            self._walk(body.child, scene, box)

    def _walk(self, node: LexborNode | None, scene: Scene, box: sheet.Element | None) -> None:
        """Read a node, all that is in it and its siblings."""
        stack: list[_Open] = []
        found = self._found
        while True:
            while node is None:
                if not stack:
                    return
                node, scene, box, after, anchor = stack.pop()
                if anchor is not None:
                    self._close(anchor)
                if after:
                    found.append(after)
            self.nodes += 1
            if node.is_text_node:
                text = node.text_content or ""
                if not scene.unseen and not scene.faint:
                    found.append(text.replace("\n", " ").replace("\r", " "))
                else:
                    self._text(text, scene)
                node = node.next
                continue
            tag = node.tag or ""
            inner, inner_box = self._element(node, tag, scene, box)
            if self.tangled:
                return
            child = node.child if inner is not None else None
            if inner is None or child is None:
                node = node.next
                continue
            before, after = self._apart(node, tag, inner.style)
            if before:
                found.append(before)
            anchor = self._link(node, tag) if tag in _LINKING else None
            stack.append((node.next, scene, box, after, anchor))
            node, scene, box = child, inner, inner_box

    def _element(
        self, node: LexborNode, tag: str, outer: Scene, box: sheet.Element | None
    ) -> tuple[Scene | None, sheet.Element | None]:
        """Enter an element; None where what is in it is not to be read."""
        if tag in _UNSEEN:
            if tag == "iframe":
                self._frame(node)
            return None, None
        assert outer.look is not None
        scene, box = self._cascade.enter(node, tag, outer.look, box)
        if scene.look is None:
            self._unseen(node.text(), "")
            return None, None
        if tag in _LEAVES:
            self._leaf(node, tag, scene)
            return None, None
        return scene, box

    def _text(self, text: str, scene: Scene) -> None:
        how = scene.look
        assert how is not None
        if scene.unseen:
            piece: str | _Faint = self._unseen(text, "" if how.size < look.MAX_TINY_PX else " ")
        else:
            text = text.replace("\n", " ").replace("\r", " ")
            piece = _Faint(text, how.ink) if scene.faint else text
        self._found.append(piece)

    def _apart(self, node: LexborNode, tag: str, style: Style) -> tuple[str, str]:
        """What parts an element from the text before it and behind it, and what rules write there."""
        if style is PLAIN and tag != "bdo":
            return (parting := _PARTING.get(tag, "")), parting
        before = after = _separator(tag, style)
        if style.before or style.after:
            attributes = node.attributes
            before += sheet.content(style.before, attributes)
            after = sheet.content(style.after, attributes) + after
        if style.backwards or (tag == "bdo" and (node.attributes.get("dir") or "").lower() == "rtl"):
            before, after = before + "\u202e", "\u202c" + after
        return before, after

    def _leaf(self, node: LexborNode, tag: str, how: Scene) -> None:
        """Elements whose text, if they have one, is no child's."""
        if tag in ("br", "hr"):
            self._found.append("\n")
        elif tag == "area":
            self._link(node, tag)
        elif tag == "img":
            self.images += 1
            attributes = node.attributes
            alt = (attributes.get("alt") or "")[:MAX_ALT]
            if alt and not any(_is_tiny(attributes.get(side)) for side in ("width", "height")):
                self._text(f" {alt} ", how)
        elif tag == "input":
            attributes = node.attributes
            if (attributes.get("type") or "text").lower() in _TYPED:
                self._text(f" {attributes.get('value') or attributes.get('placeholder') or ''} ", how)
        elif tag == "textarea":
            self._text(f" {node.text()} ", how)
        elif tag == "select":
            options = node.css("option")
            chosen = [option for option in options if "selected" in option.attributes] or options[:1]
            several = "multiple" in node.attributes or "size" in node.attributes
            self._text(
                " ".join(["", *(option.text() for option in (options if several else chosen)), ""]), how
            )

    def _link(self, node: LexborNode, tag: str) -> _Anchor | None:
        """Note where an element leads; of an <a> that is begun, what notes it with its text at its end."""
        href = node.attributes.get("action" if tag == "form" else "href")
        if not href or len(self.links) >= MAX_LINKS:
            return None
        if tag == "a":
            return _Anchor(href[:MAX_HREF], len(self._found))
        self.links.append(Link(href[:MAX_HREF]))
        return None

    def _close(self, anchor: _Anchor) -> None:
        if len(self.links) < MAX_LINKS:
            text = "".join([piece for piece in self._found[anchor.start :] if isinstance(piece, str)])
            self.links.append(Link(anchor.href, " ".join(text[: 2 * MAX_LINK_TEXT].split())[:MAX_LINK_TEXT]))

    def _frame(self, node: LexborNode) -> None:
        """A document within the document."""
        source = node.attributes.get("srcdoc")
        if not source or self._frames <= 0:
            return
        self._frames -= 1
        simple = markup.prepared(source)
        seen = _rendered(simple, frames=0) if simple is not None else None
        self._found.append(f"\n{seen.text if seen else markup.without_tags(source)}\n")
        self.links += seen.links[: MAX_LINKS - len(self.links)] if seen else ()


def _separator(tag: str, style: Style) -> str:
    """What stands between an element's text and that around it: a newline, a blank or nothing."""
    display = style.display
    if style.floats:
        return " "
    if display is None or display == UNKNOWN:
        return _PARTING.get(tag, "")
    if display in ("inline", "contents", "ruby"):
        return ""
    if display.startswith("inline") or display == "table-cell":
        return " " if tag in _APART or tag in _BESIDE else ""
    return "\n"


def _is_tiny(side: str | None) -> bool:
    match = _TINY_NUMBER.match(side or "")
    return match is not None and int(match[0]) < MIN_ALT_PX
