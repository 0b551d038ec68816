"""How an element looks: what it takes over from the one around it, its attributes and its style.

Modelled on what Chromium 156 shows (tests/filterd/reading/test_html_chromium.py). It is no layout: where a
text stands is not known, so moving it away or clipping it hides it only in the plainest cases.
Doubt counts as shown.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

from filterd.reading.color import CLEAR, MAX_FAINT_OPACITY, RGB, UNKNOWN, Paint, legacy_color, names
from filterd.reading.style import Style

__all__ = ["BLOCK", "CELL", "FIRST", "Look", "alike", "inside"]

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
_OWN_SIZE: Final = names("input button select textarea")
_INLINE_DISPLAYS: Final = names("inline inline-block inline-flex inline-grid inline-table contents ruby")
_TABLE_DISPLAYS: Final = names(
    "table inline-table table-row table-cell table-row-group table-header-group table-footer-group table-"
    " column table-column-group table-caption"
)


class Look(NamedTuple):
    """What an element hands down to its children. Colours are RGB, UNKNOWN, or CLEAR for none.

    cut: there is no room for it. moved: it stands outside of the page. odd: it may stand anywhere in its box.
    anchored: an element around it is positioned. pushed: pixels by which it was moved to the right.
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
    return all(-MAX_FAINT <= one - other <= MAX_FAINT for one, other in zip(color, background, strict=True))


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
    look = outer._replace(opacity=opacity) if opacity != outer.opacity else outer
    if tag == "table" and outer.quirks:  # Chromium's quirks.css
        look = look._replace(color=look.page_color, size=max(16.0, look.size))
    if attributes:
        look = _with_attributes(look, tag, attributes)
    if tag in _OWN_SIZE:
        look = look._replace(size=13.3)
    elif tag in _SIZES:
        look = _sized(look, _SIZES[tag], relative=True, absolute=False)
    if tag in ("mark", "button", "svg"):
        look = look._replace(tricks=True)
    return _placed(_painted(look, tag, style, display), outer, tag, attributes, style, display)


def _with_attributes(look: Look, tag: str, attributes: _Attributes) -> Look:
    """Presentational attributes (HTML 15.3)."""
    if tag == "a" and attributes.get("href") is not None:
        look = look._replace(color=look.link_color, fill=None)
    if tag in _PAINTED:
        if (named := attributes.get("bgcolor")) and (paint := legacy_color(named)):
            look = look._replace(background=paint, on_inline=False)
        if attributes.get("background"):
            look = look._replace(background=UNKNOWN, on_inline=False)
    if tag == "body":
        text, link = legacy_color(attributes.get("text") or ""), legacy_color(attributes.get("link") or "")
        look = look._replace(color=text or look.color, page_color=text or look.color)
        look = look._replace(link_color=link or look.link_color)
    if tag == "font":
        if paint := legacy_color(attributes.get("color") or ""):
            look = look._replace(color=paint)
        if attributes.get("size"):
            look = look._replace(size=max(10.0, look.size))
    return look


def _painted(look: Look, tag: str, style: Style, display: str) -> Look:
    """Colours, type and visibility."""
    block = display not in _INLINE_DISPLAYS
    if block and look.on_inline:  # the background of the line around does not reach behind a block
        look = look._replace(background=UNKNOWN, on_inline=False)
    if style.visible is not None:
        look = look._replace(invisible=not style.visible)
    if style.size is not None:
        look = _sized(look, *style.size)
    if style.background is not None and not look.invisible and display != "contents":
        look = look._replace(background=style.background, on_inline=not block)
    if style.color is not None:
        look = look._replace(color=style.color)
        if tag in ("body", "html"):
            look = look._replace(page_color=style.color)
    if style.fill is not None:
        look = look._replace(fill=style.fill)
    return look._replace(tricks=True) if style.tricks and not look.tricks else look


def _sized(look: Look, size: float, relative: bool, absolute: bool) -> Look:
    """Type of another size; what is relative to the reader's own size is never tiny."""
    if not relative:
        return look._replace(size=size, absolute=absolute)
    size *= look.size
    return look._replace(size=size if look.absolute or not size else max(MIN_RELATIVE_PX, size))


def _placed(look: Look, outer: Look, tag: str, attributes: _Attributes, style: Style, display: str) -> Look:
    """Whether there is room for it, and where it may stand."""
    changes: dict[str, bool | float] = {}
    table = display in _TABLE_DISPLAYS
    odd = (
        style.odd
        or tag in ("center", "table", "img", "input")
        or "align" in attributes
        or "dir" in attributes
    )
    free = style.position in ("absolute", "fixed", UNKNOWN)
    if outer.cut and free:
        changes["cut"] = False
    if _has_no_room(style, tag, attributes, display, outer):
        changes["cut"] = True
    if outer.moved and (odd or table or free or style.push > OFF_SCREEN_PX / PUSH_SHARE or style.animated):
        changes["moved"] = False
    elif _is_moved(outer, style, odd, boxed=display != "inline" and not table):
        changes["moved"] = True
    if (odd and not outer.odd) or (table and not outer.odd):
        changes["odd"] = True
    if (style.position is not None and not outer.anchored) or (style.overlaps and not outer.anchored):
        changes["anchored"] = True
    flexible = display in ("flex", "inline-flex", "grid", "inline-grid", "-webkit-box", UNKNOWN)
    if flexible != outer.flexible:
        changes["flexible"] = flexible
    if style.push:
        changes["pushed"] = outer.pushed + style.push
    return look._replace(**changes) if changes else look  # type: ignore[arg-type]


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
