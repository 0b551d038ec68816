"""What a person sees of an HTML mail: the text that is shown, and whether some is hidden.

Lexbor builds the tree a browser would, so nobody gains by nesting tags wrongly. It is quadratic in some
shapes (measured: 50,000 nested div 7 s, 100,000 attributes in one tag 36 s), so a linear look at the
source comes first; a document beyond the limits loses its tags by a regular expression instead. That
shows too much rather than too little: nothing a person sees is kept from the model.
"""

import html as entities
import re
from collections import Counter
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final

from selectolax.lexbor import LexborHTMLParser, LexborNode

__all__ = ["Link", "Visible", "visible"]

MAX_AS_IS: Final = 20_000  # characters; as many attributes as that holds in one tag cost Lexbor 0.1 s
MAX_TAGS: Final = 8_000  # the largest of 6,046 SpamAssassin mails has 2,306
MAX_OPEN: Final = 1_000  # elements open at once; Lexbor takes 0.01 s for as many nested div
MAX_CLONES: Final = 60_000  # tags times formatting elements open: HTML has each paragraph repeat them all
MAX_NODES: Final = 30_000  # of the tree; with the clones, which cost 3 us each
MAX_SHEET: Final = 65_536  # characters of <style> that are read
MAX_RULES: Final = 200  # rules of <style> that hide something
MAX_STYLE: Final = 2_000  # characters of one element's own style
MAX_TINY_PX: Final = 3.0  # nobody reads type of less than three pixels
MAX_FAINT: Final = 24  # of 255, per channel; nobody tells #eee from #fff in running text
MAX_FAINT_OPACITY: Final = 0.05
MAX_LINKS: Final = 64  # more say nothing new: a newsletter has 30
MAX_HREF: Final = 500  # characters; the host stands in the first hundred
MAX_LINK_TEXT: Final = 200  # characters shown between <a> and </a>
OFF_SCREEN_PX: Final = -400.0  # moved left or up by this much or more


def _words(names: str) -> frozenset[str]:
    return frozenset(names.split())


_UNSEEN = _words(
    "head title script style template iframe object embed noembed noframes audio video svg math datalist"
)
_BLOCK = _words(
    "address article aside blockquote body center dd details div dl dt fieldset figcaption figure footer "
    "form h1 h2 h3 h4 h5 h6 header hr li main nav ol option p pre section summary table tr ul"
)
_CELL = frozenset(["td", "th"])
# Elements that never stay open: void ones, and those that the next of their kind closes.
_NEVER_OPEN = _words(
    "area base br col embed hr img input link meta source track wbr p li td th tr dt dd option"
)
# Start of a tag's rest: attributes as the HTML tokenizer cuts them; quotes count after "=" only.
_REST = r"(?:[\s/]*+[^\s/>][^\s/>=]*+(?:\s*+=\s*+(?:\"[^\"]*+\"?|'[^']*+'?|[^\s>]*+))?+)*+"
_ATTRIBUTE = re.compile(r"[\s/]*+([^\s/>][^\s/>=]*+)(?:\s*+=\s*+(\"[^\"]*+\"?|'[^']*+'?|[^\s>]*+))?+")
_TOKEN = re.compile(
    r"<!--(?:-?>|.*?(?:--!?>|\Z))"
    rf"|<(?P<raw>script|style|title|iframe|noembed|noframes|xmp)(?=[\s/>])(?P<more>{_REST})[\s/]*+>?"
    r"(?P<inside>.*?)(?=</(?P=raw)[\s/>]|\Z)"
    rf"|<(?P<slash>/?)(?P<name>[a-z][^\s/>\"'<&]*+)[^\s/>]*+(?P<attributes>{_REST})[\s/]*+>?"
    r"|<[!?/][^>]*+>?|<",
    re.DOTALL | re.IGNORECASE,
)
# What a paragraph takes over from the one before it (HTML 13.2.4.3).
_FORMATTING = _words("a b big code em font i nobr s small strike strong tt u")
_TELLING = _words("style class id hidden color bgcolor background text href")
_TAG = re.compile(r"<(/?)([a-zA-Z][a-zA-Z0-9]*)")
_MARKUP = re.compile(
    r"<!--.*?(?:-->|\Z)|<(script|style|title)\b.*?(?:</\1\s*>|\Z)|<[a-zA-Z/!?][^>]*>?",
    re.DOTALL | re.IGNORECASE,
)
_HREF = re.compile(r"""<a\s[^>]{0,500}?\bhref\s*=\s*["']?([^"'\s>]+)""", re.IGNORECASE)
_MAY_HIDE = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden|font-size\s*:\s*0", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Link:
    """Where a link leads, as written (MAX_HREF characters at most), and the text shown for it."""

    href: str
    text: str = ""


@dataclass(frozen=True, slots=True)
class Visible:
    """text: what is shown, blocks apart by newlines. hidden: some text is there and not shown.

    whole: False where the document was too involved to tell shown from hidden. links: the first MAX_LINKS.
    images: how many pictures it has.
    """

    text: str
    hidden: bool = False
    whole: bool = True
    links: tuple[Link, ...] = ()
    images: int = 0


@lru_cache(maxsize=4)  # the readings of an ambiguous mail share their HTML parts
def visible(html: str, quick: bool = False) -> Visible:
    """Read an HTML document or fragment; `quick` only strips its tags. Never raises."""
    if not quick and html.count("<") <= MAX_TAGS:
        simple = html if len(html) <= MAX_AS_IS else _rewritten(html)
        if _is_simple(simple) and (seen := _rendered(simple)):
            return seen
    links = tuple(Link(entities.unescape(href[:MAX_HREF])) for href in _HREF.findall(html)[:MAX_LINKS])
    return Visible(_without_tags(html), bool(_MAY_HIDE.search(html)), whole=False, links=links)


def _rendered(html: str) -> Visible | None:
    """What a browser would show, None where the tree grew too large to walk."""
    tree = LexborHTMLParser(html)
    if tree.body is None:
        return Visible("")
    walk = _Walk(_Sheet(tree))
    text = "".join(walk.texts(tree.body))
    if walk.nodes > MAX_NODES:
        return None
    return Visible(text, walk.hidden, links=tuple(walk.links), images=walk.images)


def _is_simple(html: str) -> bool:
    """Whether Lexbor will be quick: few elements open at once, few of which it would clone."""
    tags = html.count("<")
    if tags * tags <= MAX_CLONES:
        return True
    formatting, others = _most_open(html)
    return others <= MAX_OPEN and tags * formatting <= MAX_CLONES


def _rewritten(html: str) -> str:
    """The same document without comments and scripts, each tag with what bears on visibility alone.

    Only what is written here can open a tag, so no tag of the result has more than a few attributes.
    """
    return _TOKEN.sub(_rewrite, html)


def _rewrite(token: re.Match[str]) -> str:
    name = token["raw"] or token["name"]
    if not name:
        return "&lt;" if token[0] == "<" else ""
    attributes: dict[str, str] = {}
    for attribute in _ATTRIBUTE.finditer(token["attributes"] or token["more"] or ""):
        if (key := attribute[1].lower()) in _TELLING:
            attributes.setdefault(key, attribute[2] or "")
    values = "".join(f' {key}="{_quoted(value)}"' for key, value in attributes.items())
    inside = (token["inside"] or "").replace("<", " ") if name.lower() == "style" else ""
    return f"<{token['slash'] or ''}{name}{values}>{inside}"


def _quoted(value: str) -> str:
    value = value[1:].removesuffix(value[0]) if value[:1] in ("'", '"') else value
    return value[:MAX_STYLE].replace('"', "&quot;").replace("<", "&lt;").replace(">", "&gt;")


def _most_open(html: str) -> tuple[int, int]:
    """Upper bounds of the formatting elements and of the others open at once.

    An end tag counts only where it has something to close.
    """
    counts: Counter[str] = Counter()
    now, most = [0, 0], [0, 0]
    for tag in _TAG.finditer(html):
        name = tag[2].lower()
        if name in _NEVER_OPEN or (tag[1] and not counts[name]):
            continue
        step = -1 if tag[1] else 1
        kind = name not in _FORMATTING
        counts[name] += step
        now[kind] += step
        most[kind] = max(most[kind], now[kind])
    return most[False], most[True]


def _without_tags(html: str) -> str:
    return entities.unescape(_MARKUP.sub(" ", html))


@dataclass(frozen=True, slots=True)
class _Look:
    """What an element hands down to its children. Colours are RGB, None where unknown."""

    color: tuple[int, int, int] | None = (0, 0, 0)
    background: tuple[int, int, int] | None = (255, 255, 255)
    tiny: bool = False
    invisible: bool = False
    see_through: bool = False

    @property
    def shown(self) -> bool:
        return not (self.tiny or self.invisible or self.see_through or _alike(self.color, self.background))


@dataclass(frozen=True, slots=True)
class _Anchor:
    """An open <a>: where its text starts among the pieces found."""

    href: str
    start: int


class _Walk:
    """One pass over the tree in document order, without recursion."""

    def __init__(self, sheet: "_Sheet") -> None:
        self.hidden = False
        self.nodes = 0
        self.links: list[Link] = []
        self.images = 0
        self._sheet = sheet

    def texts(self, body: LexborNode) -> list[str]:
        """The shown pieces of text, with newlines and blanks where elements part them."""
        found: list[str] = []
        start = self._look_of(body, _Look())
        stack: list[tuple[LexborNode | _Anchor | str | None, _Look]] = [(body.child, start)] if start else []
        while stack:
            node, look = stack.pop()
            if isinstance(node, _Anchor):
                self.links.append(Link(node.href, "".join(found[node.start :])[:MAX_LINK_TEXT].strip()))
                continue
            if not isinstance(node, LexborNode):
                found.append(node or "")
                continue
            self.nodes += 1
            if self.nodes > MAX_NODES:
                return []
            stack.append((node.next, look))
            tag = node.tag or ""
            if tag == "-text":
                found.append(self._text(node.text_content or "", look))
            elif tag not in _UNSEEN and (child := node.child if tag != "br" else None) is not None:
                apart = "\n" if tag in _BLOCK else " " if tag in _CELL else ""
                if inner := self._look_of(node, look):
                    found.append(apart)
                    stack.append((apart, look))
                    if tag == "a" and (href := node.attributes.get("href")) and len(self.links) < MAX_LINKS:
                        stack.append((_Anchor(href[:MAX_HREF], len(found)), look))
                    stack.append((child, inner))
                elif node.text(strip=True):
                    self.hidden = True
            elif tag in ("br", "hr"):
                found.append("\n")
            elif tag == "img":
                self.images += 1
        return found

    def _text(self, text: str, look: _Look) -> str:
        if look.shown:
            return text.replace("\n", " ").replace("\r", " ")
        self.hidden = self.hidden or not text.isspace()
        return "" if look.tiny else " "  # what is merely unseen leaves a gap

    def _look_of(self, node: LexborNode, outer: _Look) -> _Look | None:
        """How this element's own text looks; None where all of it is gone."""
        attributes = node.attributes
        tag = node.tag or ""
        style = self._sheet.style_of(tag, attributes) if attributes or self._sheet.rules else ""
        if "hidden" in attributes or (style and _removes(style)):
            return None
        if not (attributes or style):
            return outer
        look = _from_attributes(tag, attributes, outer)
        return _from_style(style, look) if style else look


class _Sheet:
    """The rules of a document's <style> elements that say what is shown, by simple selector."""

    def __init__(self, tree: LexborHTMLParser) -> None:
        self.rules: dict[str, str] = {}
        source = "".join(node.text() for node in tree.css("style"))[:MAX_SHEET]
        if "{" not in source:
            return
        # Each of the three starts only where one can begin, or blanks without end would be quadratic.
        source = re.sub(r"/\*.*?(?:\*/|\Z)|<!--|-->", "", source, flags=re.DOTALL)
        # @media and the like hold for some screens only, so what they hide is shown somewhere.
        source = re.sub(r"(?<![^{};])\s*+@[^{};]*(?:;|\{(?:[^{}]*\{[^{}]*\})*[^{}]*\})", "", source)
        for selectors, body in re.findall(r"(?<![^{}])([^{}]+)\{([^{}]*)\}", source)[: MAX_RULES * 10]:
            for selector in selectors.lower().split(",")[:20]:
                if re.fullmatch(r"[\w-]*(?:[.#][\w-]+)?", key := selector.strip()) and _CONCERNS.search(body):
                    self.rules[key] = self.rules.get(key, "") + ";" + body[:MAX_STYLE]
            if len(self.rules) >= MAX_RULES:
                break

    def style_of(self, tag: str, attributes: dict[str, str | None]) -> str:
        """An element's declarations, those of its own `style` last."""
        own = (attributes.get("style") or "")[:MAX_STYLE]
        if not self.rules:
            return own
        keys = [tag]
        for name in (attributes.get("class") or "").lower().split()[:10]:
            keys += [f".{name}", f"{tag}.{name}"]
        if identity := (attributes.get("id") or "").lower():
            keys += [f"#{identity}", f"{tag}#{identity}"]
        return ";".join([*(self.rules[key] for key in keys if key in self.rules), own])


_CONCERNS = re.compile(
    r"display|visibility|font|color|background|opacity|position|indent|left|top|height|width|transform|clip",
    re.IGNORECASE,
)
_ESCAPE = re.compile(r"\\([0-9a-fA-F]{1,6})\s?")
_LENGTH = re.compile(r"\s*([+-]?(?:\d+\.?\d*|\.\d+))\s*([a-z%]*)")
_PX: Final[dict[str, float]] = {
    "": 1.0, "px": 1.0, "pt": 1.33, "pc": 16.0, "em": 16.0, "rem": 16.0, "ex": 8.0, "ch": 8.0, "%": 0.16,
    "in": 96.0, "cm": 38.0, "mm": 3.8, "vw": 10.0, "vh": 8.0,
}  # fmt: skip


@lru_cache(maxsize=512)
def _declarations(style: str) -> dict[str, str]:
    """The properties of a style; of two that are alike the last holds, or an !important one."""
    style = re.sub(r"/\*.*?(?:\*/|\Z)", "", style, flags=re.DOTALL)
    style = _ESCAPE.sub(lambda m: chr(min(int(m[1], 16), 0x10FFFF)), style).lower()
    found: dict[str, str] = {}
    important = set()
    for declaration in style.split(";"):
        name, _, value = declaration.partition(":")
        name, value = name.strip(), value.strip()
        if "!" in value:
            value = value.partition("!")[0].strip()
            important.add(name)
        elif name in important:
            continue
        found[name] = value
    return found


def _px(value: str) -> float | None:
    """A CSS length in pixels of an ordinary screen, None where it is not a length."""
    match = _LENGTH.match(value)
    if not match or match[2] not in _PX:
        return None
    return float(match[1]) * _PX[match[2]]


@lru_cache(maxsize=512)
def _removes(style: str) -> bool:
    """Whether a style takes an element away with all that is in it."""
    css = _declarations(style)
    if css.get("display") == "none":
        return True
    opacity = _LENGTH.match(css.get("opacity", ""))
    if opacity and float(opacity[1]) * (0.01 if opacity[2] == "%" else 1) <= MAX_FAINT_OPACITY:
        return True
    return _is_moved_away(css) or _is_cut_away(css)


def _is_moved_away(css: dict[str, str]) -> bool:
    names = ["text-indent", "margin-left", "margin-top"]
    if css.get("position") in ("absolute", "fixed", "relative"):
        names += ["left", "top"]
    return any((_px(css.get(name, "")) or 0.0) <= OFF_SCREEN_PX for name in names)


def _is_cut_away(css: dict[str, str]) -> bool:
    """A box without room whose overflow is hidden, or one that is clipped or scaled to nothing."""
    if re.search(r"scale\(\s*0*\.?0*\s*[,)]", css.get("transform", "")):
        return True
    if re.fullmatch(
        r"rect\(\s*[01](px)?[\s,]+[01](px)?[\s,]+[01](px)?[\s,]+[01](px)?\s*\)", css.get("clip", "")
    ):
        return True
    if css.get("overflow") not in ("hidden", "clip"):
        return False
    sizes = [_px(css[name]) for name in ("height", "max-height", "width", "max-width") if name in css]
    return any(size is not None and size <= 1.0 for size in sizes)


def _from_attributes(tag: str, attributes: dict[str, str | None], look: _Look) -> _Look:
    if tag == "a" and "href" in attributes:
        look = replace(look, color=(0, 0, 238))
    if "background" in attributes:
        look = replace(look, background=None)
    if named := attributes.get("bgcolor"):
        look = replace(look, background=_color(named) or look.background)
    if named := attributes.get("text" if tag == "body" else "color"):
        look = replace(look, color=_color(named) or look.color)
    return look


@lru_cache(maxsize=512)
def _from_style(style: str, look: _Look) -> _Look:
    css = _declarations(style)
    if paint := css.get("background-color") or css.get("background"):
        clear = paint in ("transparent", "none", "inherit", "initial")
        look = look if clear else replace(look, background=_first_color(paint))
    if css.get("background-image", "none") != "none":
        look = replace(look, background=None)
    if paint := css.get("color"):
        clear = paint == "transparent" or bool(re.fullmatch(r"(?:rgb|hsl)a\(.*[,/]\s*0?\.?0*%?\s*\)", paint))
        look = replace(look, color=_color(paint) or look.color, see_through=clear)
    if seen := css.get("visibility"):
        look = replace(look, invisible=seen in ("hidden", "collapse"))
    size = _font_px(css)
    return look if size is None else replace(look, tiny=_is_tiny(size, css, look))


def _font_px(css: dict[str, str]) -> float | None:
    if "font-size" in css:
        return _px(css["font-size"])
    short = re.search(r"(?<![\w.#])(\d*\.?\d+(?:px|pt|em|rem|%)|0)(?=[\s/]|$)", css.get("font", ""))
    return _px(short[1]) if short else None


def _is_tiny(size: float, css: dict[str, str], outer: _Look) -> bool:
    """Sizes in em and % are shares of the outer element's, so tiny stays tiny."""
    relative = re.search(r"[\d.](?:em|%)", css.get("font-size", css.get("font", "")))
    return size < MAX_TINY_PX or (outer.tiny and relative is not None)


_NAMED: Final[dict[str, tuple[int, int, int]]] = {
    "white": (255, 255, 255), "black": (0, 0, 0), "snow": (255, 250, 250), "ivory": (255, 255, 240),
    "azure": (240, 255, 255), "whitesmoke": (245, 245, 245), "ghostwhite": (248, 248, 255),
    "floralwhite": (255, 250, 240), "mintcream": (245, 255, 250), "aliceblue": (240, 248, 255),
    "seashell": (255, 245, 238), "lightyellow": (255, 255, 224), "silver": (192, 192, 192),
    "gray": (128, 128, 128), "grey": (128, 128, 128), "red": (255, 0, 0), "green": (0, 128, 0),
    "blue": (0, 0, 255), "yellow": (255, 255, 0), "navy": (0, 0, 128), "maroon": (128, 0, 0),
    "lime": (0, 255, 0), "aqua": (0, 255, 255), "cyan": (0, 255, 255), "fuchsia": (255, 0, 255),
    "magenta": (255, 0, 255), "purple": (128, 0, 128), "teal": (0, 128, 128), "olive": (128, 128, 0),
    "orange": (255, 165, 0),
}  # fmt: skip


@lru_cache(maxsize=512)
def _color(name: str) -> tuple[int, int, int] | None:
    """A colour of HTML or CSS as RGB, None where it is none we know."""
    name = name.strip().lower()[:64]
    if name in _NAMED:
        return _NAMED[name]
    if digits := re.fullmatch(r"#?([0-9a-f]{3,4}|[0-9a-f]{6}|[0-9a-f]{8})", name):
        code = digits[1] if len(digits[1]) >= 6 else "".join(c + c for c in digits[1])
        return int(code[:2], 16), int(code[2:4], 16), int(code[4:6], 16)
    if parts := re.match(r"rgba?\(\s*(\d{1,3})[\s,]+(\d{1,3})[\s,]+(\d{1,3})", name):
        return int(parts[1]), int(parts[2]), int(parts[3])
    return None


def _first_color(paint: str) -> tuple[int, int, int] | None:
    """The colour in a `background` shorthand; None where a picture may cover it."""
    if "url(" in paint or "gradient" in paint:
        return None
    return _color(paint) or next((found for word in paint.split()[:8] if (found := _color(word))), None)


def _alike(color: tuple[int, int, int] | None, background: tuple[int, int, int] | None) -> bool:
    if color is None or background is None:
        return False
    return max(abs(a - b) for a, b in zip(color, background, strict=True)) <= MAX_FAINT
