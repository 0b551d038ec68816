"""How an element looks: what it takes over from the one around it, its attributes and its style.

Modelled on what Chromium 156 shows (tests/filterd/reading/test_html_chromium.py). It is no layout: where a
text stands is not known, so moving it away or clipping it hides it only in the plainest cases.
Doubt counts as shown.
"""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from filterd.reading.color import CLEAR, MAX_FAINT_OPACITY, RGB, UNKNOWN, Paint, legacy_color, names
from filterd.reading.style import PLAIN, Style

__all__ = ["ALIKE", "BLOCK", "CELL", "FIRST", "OTHER", "TELLING", "Look", "alike", "inside"]

MAX_TINY_PX: Final = 3.0  # nobody reads type of less than three pixels
MAX_FAINT: Final = 24  # of 255, per channel; nobody tells #eee from #fff in running text
MIN_RELATIVE_PX: Final = 6.0  # Chromium's least type where no pixels are asked for
OFF_SCREEN_PX: Final = 900.0  # moved by this much or more; people's indents are smaller
PUSH_SHARE: Final = 4  # what may push a text back must be this many times less than what moved it

_Attributes = Mapping[str, str | None]


BLOCK: Final = names(
    "address article aside blockquote body center dd details dialog div dl dt fieldset figcaption figure"
    " footer form h1 h2 h3 h4 h5 h6 header hr html li legend main nav ol optgroup option p pre search"
    " section summary ul listing xmp plaintext menu dir marquee"
)
CELL: Final = names("td th")
_TABLE: Final = names("table caption colgroup col tbody thead tfoot tr td th")
_PAINTED: Final = names("body table tbody thead tfoot tr td th")  # elements that take bgcolor and background
_SIZES: Final[Mapping[str, float]] = {
    "small": 0.83, "big": 1.2, "sub": 0.83, "sup": 0.83, "h1": 2.0, "h2": 1.5, "h3": 1.17, "h5": 0.83,
    "h6": 0.67,
}  # fmt: skip
TELLING: Final = names("href bgcolor background text link color size hidden align dir width height overflow")
_OWN_SIZE: Final = names("input button select textarea")
_INLINE_DISPLAYS: Final = names("inline inline-block inline-flex inline-grid inline-table contents ruby")
_TABLE_DISPLAYS: Final = names(
    "table inline-table table-row table-cell table-row-group table-header-group table-footer-group table-"
    " column table-column-group table-caption"
)


# A tag for each that looks the same where no attribute tells otherwise; OTHER for all that are not named.
OTHER: Final = "span"
ALIKE: Final[Mapping[str, str]] = {
    **dict.fromkeys(BLOCK, "div"),
    **{tag: tag for tag in (*_TABLE, *_OWN_SIZE, *_SIZES)},
    **{tag: tag for tag in names("a body button center font html img input mark svg")},
}


class Look(NamedTuple):
    """What an element hands down to its children. Colours are RGB, UNKNOWN, or CLEAR for none.

    cut: there is no room for it. moved: it stands outside of the page. odd: it may stand anywhere in its box.
    anchored: an element around it is positioned. pushed: pixels by which it was moved to the right.
    moves: whether the document moves anything.
    """

    color: Paint = (0, 0, 0)
    fill: Paint = None
    background: RGB | str = (255, 255, 255)
    on_inline: bool = False
    size: float = 16.0
    absolute: bool = False
    opacity: float = 1.0
    invisible: bool = False
    tricks: bool = False
    cut: bool = False
    moved: bool = False
    odd: bool = False
    anchored: bool = False
    flexible: bool = False
    pushed: float = 0.0
    moves: bool = True
    page_color: Paint = (0, 0, 0)
    link_color: Paint = (0, 0, 238)
    quirks: bool = True

    @property
    def unseen(self) -> bool:
        """Whether text that looks so is surely not seen, whatever its colour."""
        return self.invisible or self.cut or self.moved or self.size < MAX_TINY_PX or self.clear

    @property
    def clear(self) -> bool:
        """Whether its letters have no colour."""
        return self.ink == CLEAR and not self.tricks

    @property
    def ink(self) -> Paint:
        """The colour of its letters."""
        return self.color if self.fill is None else self.fill

    @property
    def faint(self) -> bool:
        """Whether its colour is that of its background."""
        return not self.tricks and alike(self.ink, self.background)


FIRST: Final = Look()


def alike(color: Paint, background: Paint) -> bool:
    """Whether nobody can tell text of the one on the other; what is not known is told apart."""
    if not isinstance(color, tuple) or not isinstance(background, tuple):
        return False
    return (
        -MAX_FAINT <= color[0] - background[0] <= MAX_FAINT
        and -MAX_FAINT <= color[1] - background[1] <= MAX_FAINT
        and -MAX_FAINT <= color[2] - background[2] <= MAX_FAINT
    )


Changes = dict[str, Any]


def inside(outer: Look, tag: str, attributes: _Attributes, style: Style) -> Look | None:
    """How text in an element looks; None where the element is gone with all that is in it."""
    if style.display == "none" or ("hidden" in attributes and style.display is None):
        return None
    opacity = outer.opacity * style.opacity
    if opacity <= MAX_FAINT_OPACITY or style.gone:
        return None
    display = style.display or ("block" if tag in BLOCK else "table" if tag in _TABLE else "inline")
    if (style.floats or style.position in ("absolute", "fixed") or outer.flexible) and display == "inline":
        display = "block"
    changes: Changes = {} if opacity == outer.opacity else {"opacity": opacity}
    if tag == "table" and outer.quirks:  # Chromium's quirks.css
        changes |= {"color": outer.page_color, "size": max(16.0, outer.size)}
    elif tag in _OWN_SIZE:
        changes["size"] = 13.3
    elif tag in _SIZES:
        _size(changes, outer, _SIZES[tag], relative=True, absolute=False)
    elif tag in ("mark", "button", "svg"):
        changes["tricks"] = True
    if attributes:
        _heed_attributes(changes, outer, tag, attributes)
    if style is not PLAIN or outer.on_inline:
        _paint(changes, outer, tag, style, display)
    _place(changes, outer, tag, attributes, style, display)
    if outer.moves:
        _move(changes, outer, tag, attributes, style, display)
    return outer._replace(**changes) if changes else outer


def _heed_attributes(changes: Changes, outer: Look, tag: str, attributes: _Attributes) -> None:
    """Presentational attributes (HTML 15.3)."""
    if tag == "a" and attributes.get("href") is not None:
        changes |= {"color": outer.link_color, "fill": None}
    if tag in _PAINTED:
        if (named := attributes.get("bgcolor")) and (paint := legacy_color(named)):
            changes |= {"background": paint, "on_inline": False}
        if attributes.get("background"):
            changes |= {"background": UNKNOWN, "on_inline": False}
    if tag == "body":
        text, link = legacy_color(attributes.get("text") or ""), legacy_color(attributes.get("link") or "")
        changes |= {"color": text, "page_color": text} if text else {}
        changes |= {"link_color": link} if link else {}
    if tag == "font":
        if paint := legacy_color(attributes.get("color") or ""):
            changes["color"] = paint
        if attributes.get("size"):
            changes["size"] = max(10.0, outer.size)


def _paint(changes: Changes, outer: Look, tag: str, style: Style, display: str) -> None:
    """Colours, type and visibility."""
    block = display not in _INLINE_DISPLAYS
    if block and outer.on_inline and "background" not in changes:
        changes |= {"background": UNKNOWN, "on_inline": False}  # that of a line does not reach behind a block
    if style.visible is not None:
        changes["invisible"] = not style.visible
    if style.size is not None:
        _size(changes, outer, *style.size)
    if (
        style.background is not None
        and display != "contents"
        and not changes.get("invisible", outer.invisible)
    ):
        changes |= {"background": style.background, "on_inline": not block}
    if style.color is not None:
        changes["color"] = style.color
        if tag in ("body", "html"):
            changes["page_color"] = style.color
    if style.fill is not None:
        changes["fill"] = style.fill
    if style.tricks:
        changes["tricks"] = True


def _size(changes: Changes, outer: Look, size: float, relative: bool, absolute: bool) -> None:
    """Type of another size; what is relative to the reader's own size is never tiny."""
    if not relative:
        changes |= {"size": size, "absolute": absolute}
        return
    size *= outer.size
    changes["size"] = size if outer.absolute or not size else max(MIN_RELATIVE_PX, size)


def _place(
    changes: Changes, outer: Look, tag: str, attributes: _Attributes, style: Style, display: str
) -> None:
    """Whether there is room for it."""
    if outer.cut and style.position in _FREE:
        changes["cut"] = False
    if (style.cut or style.scaled or tag == "svg") and _has_no_room(style, tag, attributes, display, outer):
        changes["cut"] = True
    flexible = display in _FLEXIBLE
    if flexible != outer.flexible:
        changes["flexible"] = flexible


_FREE: Final = frozenset(["absolute", "fixed", UNKNOWN])
_FLEXIBLE: Final = frozenset(["flex", "inline-flex", "grid", "inline-grid", "-webkit-box", UNKNOWN])


def _move(
    changes: Changes, outer: Look, tag: str, attributes: _Attributes, style: Style, display: str
) -> None:
    """Where it stands, as far as a document moves anything at all."""
    table = display in _TABLE_DISPLAYS
    odd = style.odd or tag in _ODD_TAGS or "align" in attributes or "dir" in attributes
    free = style.position in _FREE
    if outer.moved and (odd or table or free or style.push > OFF_SCREEN_PX / PUSH_SHARE or style.animated):
        changes["moved"] = False
    elif _is_moved(outer, style, odd, boxed=display != "inline" and not table):
        changes["moved"] = True
    odd = outer.odd or odd or table
    changes |= {
        "odd": odd,
        "anchored": outer.anchored or style.position is not None or style.overlaps,
        "pushed": 0.0 if odd else outer.pushed + style.push,
    }


_ODD_TAGS: Final = names("center table img input")


def _has_no_room(style: Style, tag: str, attributes: _Attributes, display: str, outer: Look) -> bool:
    if tag == "svg" and not style.overlaps:
        sides = (attributes.get("width"), attributes.get("height"))
        return any(side in ("0", "0px", "1", "1px") for side in sides) and "overflow" not in attributes
    if display in ("inline", "contents") or tag in ("body", "html"):
        return False
    return style.scaled or (style.cut and display not in _TABLE_DISPLAYS and not outer.flexible)


def _is_moved(outer: Look, style: Style, odd: bool, boxed: bool) -> bool:
    """Whether an element surely stands left of or above the page, if it is not longer than it was moved."""
    if style.away >= OFF_SCREEN_PX and not outer.anchored and not odd:
        return style.push * PUSH_SHARE <= style.away
    if style.pull < OFF_SCREEN_PX or odd or outer.odd or not boxed:
        return False
    return (style.push + outer.pushed) * PUSH_SHARE <= style.pull
