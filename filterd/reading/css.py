"""Style declarations (CSS) that bear on whether a text is seen: which of them are valid, and lengths.

A value that is not understood is kept as UNKNOWN, and whoever asks takes doubt as shown; one that browsers
ignore is ignored. Odd styles, with escapes or unbalanced signs, are cut by tinycss2; for ordinary ones a
split is 30 times as fast.
"""

import re
from functools import lru_cache
from typing import Final, NamedTuple

import tinycss2

from filterd.reading.color import UNKNOWN, color, names

__all__ = ["FONT_SIZES", "UNKNOWN", "Declarations", "declarations", "is_ordinary", "px"]

MAX_STYLE: Final = 2_000  # characters of one element's own style
MAX_SHORT: Final = 80  # characters of a declaration that is remembered; the same ones are in all mails
MAX_ODD_CSS: Final = 2_000  # characters of an odd style: tinycss2 takes a microsecond for each


_GLOBAL: Final = names("inherit initial unset revert revert-layer")
_KEYWORDS: Final[dict[str, frozenset[str]]] = {
    "display": names(
        "none block inline inline-block flex inline-flex grid inline-grid table inline-table table-row"
        " table-cell table-row-group table-header-group table-footer-group table-column table-column-group"
        " table-caption list-item contents flow-root run-in ruby ruby-text math -webkit-box -webkit-inline-"
        " box -webkit-flex -webkit-inline-flex"
    ),
    "visibility": names("visible hidden collapse"),
    "position": names("static relative absolute fixed sticky -webkit-sticky"),
    "overflow": names("visible hidden clip scroll auto overlay"),
    "float": names("left right none inline-start inline-end"),
    "content-visibility": names("visible hidden auto"),
}
_LENGTHS: Final = names(
    "left top text-indent margin-left margin-top margin-right margin-bottom padding-left padding-top"
    " padding-bottom padding-right width height max-width max-height min-width min-height font-size"
)
# Properties whose mere presence undoes what hides, or moves backgrounds about.
TRICKS: Final = names(
    "text-shadow -webkit-text-stroke -webkit-text-stroke-width -webkit-text-stroke-color background-clip"
    " -webkit-background-clip mix-blend-mode filter -webkit-filter backdrop-filter mask mask-image -webkit-"
    " mask -webkit-mask-image font-size-adjust zoom text-emphasis"
)
ANIMATIONS: Final = names("animation animation-name -webkit-animation -webkit-animation-name")
_OTHERS: Final = names(
    "opacity font color background background-color background-image margin padding right bottom inset"
    " transform -webkit-transform translate scale rotate clip clip-path -webkit-clip-path text-align"
    " direction white-space line-height border-radius border -webkit-text-fill-color overflow-x overflow-y"
    " aspect-ratio all unicode-bidi letter-spacing word-spacing content"
)
RELEVANT: Final = frozenset(_KEYWORDS) | _LENGTHS | TRICKS | ANIMATIONS | _OTHERS

_ORDINARY = re.compile(r"[^\\(){}\[\]\"'@]*+\Z")
# Strings and brackets, one level of these inside: what a split by semicolons must not cut.
_STRING = r'"[^"\\\n]*+"|\'[^\'\\\n]*+\''
_CHUNK = re.compile(
    rf"((?:[^;\"'()\\{{}}\[\]]++|{_STRING}"
    rf"|\((?:[^()\"'\\]++|{_STRING}|\((?:[^()\"'\\]++|{_STRING})*+\))*+\))*+)(;|\Z)"
)
_COMMENT = re.compile(r"/\*.*?(?:\*/|\Z)", re.DOTALL)

Properties = dict[str, str]


class Declarations(NamedTuple):
    """The relevant properties of one rule or style: ordinary ones, and those that are `!important`."""

    normal: Properties
    important: Properties


def is_ordinary(source: str) -> bool:
    """Whether a semicolon ends a declaration wherever it stands."""
    return _ORDINARY.match(source) is not None


@lru_cache(maxsize=2048)
def declarations(source: str) -> Declarations:
    """The relevant declarations of a style, the last valid one of each property. Never raises."""
    if "/*" in source:
        source = _COMMENT.sub("", source)
    found = Declarations({}, {})
    chunks = source.split(";") if is_ordinary(source) else _chunks(source)
    for chunk in chunks:
        important, said = _declaration(chunk) if len(chunk) <= MAX_SHORT else _declaration.__wrapped__(chunk)
        if said:
            if "all" in said:
                found.normal.clear()
                if important:
                    found.important.clear()
            found[important].update(said)
    return found


def _chunks(source: str) -> list[str]:
    """Declarations apart, semicolons in strings and brackets left alone; odd sources are cut by tinycss2."""
    chunks, at = [], 0
    while at < len(source):
        chunk = _CHUNK.match(source, at)
        if chunk is None:
            return _odd_chunks(source[:MAX_ODD_CSS])
        chunks.append(chunk[1])
        at = chunk.end() if chunk.end() > at else len(source)
    return chunks


def _odd_chunks(source: str) -> list[str]:
    found = []
    for node in tinycss2.parse_blocks_contents(source, skip_comments=True, skip_whitespace=True):
        if node.type == "declaration":
            mark = "!important" if node.important else ""
            found.append(f"{node.name}:{tinycss2.serialize(node.value)}{mark}")
    return found


@lru_cache(maxsize=8192)
def _declaration(source: str) -> tuple[bool, Properties]:
    """Whether a declaration is important, and the properties that it sets: none where it is not valid."""
    name, _, value = source.partition(":")
    name = name.strip().lower()
    if name not in RELEVANT:
        return False, {}
    value, mark, importance = value.partition("!")
    value = value.strip() if name == "content" else value.strip().lower()
    if mark and importance.strip().lower() != "important":
        return False, {}
    return bool(mark), _set(name, value)


def _set(name: str, value: str) -> Properties:
    """The properties that a declaration sets, of a shorthand its parts."""
    if name == "all":
        return {"all": UNKNOWN}
    if name == "font":
        return _font(value)
    if name == "background":
        return _background(value)
    if name in ("margin", "padding", "inset"):
        return _sides(name, value)
    valid = _valid(name, value)
    return {} if valid is None else {name: valid}


def _valid(name: str, value: str) -> str | None:
    """The value as far as it is understood, UNKNOWN, or None where browsers ignore it."""
    if value in _GLOBAL:
        return value
    if "(" in value and re.search(r"\b(?:var|calc|min|max|clamp|env|attr|if|light-dark|color-mix)\(", value):
        return UNKNOWN
    if known := _KEYWORDS.get(name):
        several = value.split() if name in ("display", "overflow") else [value]
        if not all(word in known or (name == "display" and word == "flow") for word in several):
            return None
        return UNKNOWN if name == "display" and len(several) > 1 else value
    if name in ("color", "background-color", "-webkit-text-fill-color"):
        valid = color(value) is not None
    elif name == "font-size":
        valid = value in FONT_SIZES or value in ("larger", "smaller") or px(value) is not None
    else:
        valid = name not in _LENGTHS or value in _NO_LENGTHS or px(value) is not None
    return value if valid else None


_NO_LENGTHS: Final = names("auto none fit-content max-content min-content")


FONT_SIZES: Final[dict[str, float]] = {
    "xx-small": 9.0, "x-small": 10.0, "small": 13.0, "medium": 16.0, "large": 18.0, "x-large": 24.0,
    "xx-large": 32.0, "xxx-large": 48.0,
}  # fmt: skip
_FONT_SIZE = re.compile(
    rf"(?:^|\s)((?:\d*\.)?\d+(?:px|pt|em|rem|%|ex|ch|pc|in|cm|mm|vw|vh)|0(?=[\s/])|{'|'.join(FONT_SIZES)}"
    r"|larger|smaller)(?=[\s/])"
)


def _font(value: str) -> Properties:
    """The size that a `font` shorthand sets; a shorthand without size and family is ignored."""
    if value in _GLOBAL:
        return {"font-size": value}
    if size := _FONT_SIZE.search(value):
        return {"font-size": size[1]}
    return {} if "(" not in value and not value[:1].isalpha() else {"font-size": UNKNOWN}


def _background(value: str) -> Properties:
    """Colour and picture of a `background` shorthand; what it does not name is reset."""
    if value in _GLOBAL:
        return {"background-color": value, "background-image": value}
    if any(sign in value for sign in ("url(", "gradient(", "image", "var(", "element(", "paint(")):
        return {"background-color": UNKNOWN, "background-image": UNKNOWN}
    for word in (value, *value.split()[:8]):
        if color(word) is not None:
            return {"background-color": word, "background-image": "none"}
    if re.search(r"[(#]", value):
        found = re.search(r"(?:rgb|hsl|hwb|lab|lch|oklab|oklch|color)a?\([^)]*\)", value)
        if found is None or color(found[0]) is None:
            return {"background-color": UNKNOWN, "background-image": UNKNOWN}
        return {"background-color": found[0], "background-image": "none"}
    return (
        {"background-color": "transparent", "background-image": "none"}
        if _BACKGROUND.fullmatch(value)
        else {}
    )


_BACKGROUND = re.compile(
    r"(?:(?:none|repeat|no-repeat|repeat-[xy]|space|round|scroll|fixed|local|left|right|top|bottom|center|cover"
    r"|contain|border-box|padding-box|content-box|auto|[-+\d.]+(?:px|%|em|pt)?)[\s/]*)+"
)


def _sides(name: str, value: str) -> Properties:
    """The four sides of a shorthand (CSS 2 8.3)."""
    values = value.split()
    if not 1 <= len(values) <= 4 or "(" in value:
        values = [UNKNOWN]
    elif any(part not in _GLOBAL and part != "auto" and px(part) is None for part in values):
        return {}
    top, right, bottom, left = (values * 4)[:4] if len(values) < 3 else [*values, values[1]][:4]
    prefix = "" if name == "inset" else name + "-"
    return {prefix + "top": top, prefix + "right": right, prefix + "bottom": bottom, prefix + "left": left}


LENGTH = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d{1,3})?)([a-z%]*)")
UNITS: Final[dict[str, float]] = {
    "px": 1.0, "pt": 1.333, "pc": 16.0, "em": 16.0, "rem": 16.0, "ex": 8.0, "ch": 8.0, "%": 8.0, "in": 96.0,
    "cm": 37.8, "mm": 3.78, "q": 0.945, "vw": 8.0, "vh": 6.0, "vmin": 6.0, "vmax": 8.0, "lh": 18.0,
    "rlh": 18.0, "svw": 8.0, "svh": 6.0, "lvw": 8.0, "lvh": 6.0, "dvw": 8.0, "dvh": 6.0,
    "": 1.0,  # pixels in quirks mode; browsers ignore them otherwise
}  # fmt: skip


def px(value: str) -> float | None:
    """A CSS length in pixels of an ordinary screen, percents of its width; None where it is no length."""
    match = LENGTH.fullmatch(value)
    if not match or match[2] not in UNITS:
        return None
    return float(match[1]) * UNITS[match[2]]
