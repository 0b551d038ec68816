"""What the declarations for one element come to: whether its text is seen, and what may undo that."""

import re
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from filterd.reading.color import CLEAR, UNKNOWN, Paint, color, names
from filterd.reading.css import ANIMATIONS, FONT_SIZES, LENGTH, TRICKS, UNITS, px

__all__ = ["PLAIN", "Style", "style"]

MIN_CLIPPED: Final = 1.0  # pixels; a box with less has no room for text


class Style(NamedTuple):
    """What an element's declarations come to, as far as it bears on what is seen; None: nothing is said.

    gone: all that is in it is unseen. cut, scaled: what is in it has no room.
    pull: pixels by which it is moved to the left of where it would stand. away: pixels by which it stands
    left of the page or above it. push: pixels by which it may be moved back. odd: its text may stand
    anywhere in it. tricks: colours do not tell what is seen. overlaps: it may stand over something else.
    before, after: the `content` that rules write there.
    """

    display: str | None = None
    visible: bool | None = None
    opacity: float = 1.0
    size: tuple[float, bool, bool] | None = None
    color: Paint = None
    fill: Paint = None
    background: Paint = None
    gone: bool = False
    cut: bool = False
    scaled: bool = False
    pull: float = 0.0
    away: float = 0.0
    push: float = 0.0
    position: str | None = None
    floats: bool = False
    odd: bool = False
    tricks: bool = False
    overlaps: bool = False
    animated: bool = False
    backwards: bool = False
    before: str = ""
    after: str = ""


PLAIN: Final = Style()


def style(said: Mapping[str, str], moves: bool = True) -> Style:
    """A Style of properties that already went through the cascade; moves: whether to look where it stands."""
    if not said:
        return PLAIN
    if "all" in said or not ANIMATIONS.isdisjoint(said):
        return Style(
            color=UNKNOWN, background=UNKNOWN, visible=True, size=(16.0, False, False), odd=True, tricks=True,
            overlaps=True, animated=True, position="?", display="inline" if "all" in said else None,
        )  # fmt: skip
    found: dict[str, object] = {}
    for name, value in said.items():
        if reader := _READERS.get(name):
            field, read = reader
            found[field] = read(value)
    position = said.get("position")
    if "background-color" in said or "background-image" in said:
        found["background"] = _background_of(said)
    if not _CUTTING.isdisjoint(said):
        found["gone"], found["cut"], found["scaled"] = (
            _is_gone(said),
            _is_cut(said, position),
            _is_scaled_away(said),
        )
    if not TRICKS.isdisjoint(said):
        found["tricks"] = _has_tricks(said)
    if not _OVERLAPPING.isdisjoint(said):
        found["overlaps"] = _overlaps(said, position)
    if "unicode-bidi" in said:
        found["backwards"] = said.get("direction") == "rtl" and "override" in said["unicode-bidi"]
    if moves:
        found["pull"], found["away"] = _pull(said, position), _away(said, position)
        found["push"], found["odd"] = _push(said), not _ODD.isdisjoint(said) and _is_odd(said)
    return Style(**found) if found else PLAIN  # type: ignore[arg-type]


_CUTTING: Final = names(
    "overflow overflow-x overflow-y content-visibility clip clip-path -webkit-clip-path filter transform"
    " -webkit-transform scale"
)
_PULLING: Final = names("left text-indent margin-left transform -webkit-transform translate")


def _has_tricks(said: Mapping[str, str]) -> bool:
    return any(said[name] not in ("none", "normal", "initial") for name in TRICKS.intersection(said))


def _display(value: str) -> str | None:
    if value in ("initial", "unset"):
        return "inline"
    return None if value in ("revert", "revert-layer", "inherit") else value


def _position(value: str) -> str | None:
    return None if value in ("static", "initial", "unset", "revert", "revert-layer") else value


def _floats(value: str) -> bool:
    return value not in ("none", "initial", "unset", "revert")


def _visible(value: str) -> bool | None:
    if value in ("inherit", "unset", "revert", "revert-layer"):
        return None
    return value not in ("hidden", "collapse")


def _opacity(value: str) -> float:
    match = LENGTH.fullmatch(value)
    if not match or match[2] not in ("", "%"):
        return 1.0
    return min(1.0, max(0.0, float(match[1]) * (0.01 if match[2] else 1.0)))


_SHARES: Final[Mapping[str, float]] = {"em": 1.0, "%": 0.01, "ex": 0.5, "ch": 0.5}


def _size(value: str) -> tuple[float, bool, bool] | None:
    """Font size: pixels or a share of the outer one's, whether it is that, whether pixels were asked for."""
    if value in ("inherit", "unset"):
        return None
    if value in ("larger", "smaller"):
        return (1.2 if value == "larger" else 0.83), True, False
    match = LENGTH.fullmatch(value)
    if not match or (not match[2] and float(match[1])):
        return FONT_SIZES.get(value, 16.0), False, False  # unknown, or pixels in quirks mode only
    number = float(match[1])
    if match[2] in _SHARES:
        return number * _SHARES[match[2]], True, False
    return (number * UNITS[match[2]], False, True) if number >= 0.0 else None


def _paint(value: str | None) -> Paint:
    if value is None or value in ("inherit", "unset", "revert", "revert-layer", "currentcolor"):
        return None
    return (0, 0, 0) if value == "initial" else color(value) or UNKNOWN


def _background_of(said: Mapping[str, str]) -> Paint:
    if said.get("background-image", "none") not in ("none", "initial", "unset"):
        return UNKNOWN
    value = said.get("background-color")
    if value == "inherit":
        return UNKNOWN
    paint = None if value in ("initial",) else _paint(value)
    return None if paint == CLEAR else paint


def _is_gone(said: Mapping[str, str]) -> bool:
    """Clipped to nothing, or turned into nothing."""
    path = said.get("clip-path") or said.get("-webkit-clip-path") or ""
    return bool(path and _NO_PATH.fullmatch(path)) or _transparent_filter(said)


_NO_PATH = re.compile(
    r"inset\(\s*(?:[5-9]\d|100)(?:\.\d+)?%\s*\)|circle\(\s*0(?:px|%)?(?:\s+at [^()]*)?\)"
    r"|ellipse\(\s*0(?:px|%)?\s+0(?:px|%)?\s*\)"
    r"|polygon\(\s*0(?:px|%)?\s+0(?:px|%)?(?:\s*,\s*0(?:px|%)?\s+0(?:px|%)?)*\s*\)"
)


def _transparent_filter(said: Mapping[str, str]) -> bool:
    return bool(re.fullmatch(r"opacity\(\s*0*\.?0*%?\s*\)", said.get("filter", "")))


_NO_SCALE = re.compile(r"(?:^|\s)scale(?:x|y|3d)?\(\s*0*\.?0*\s*[,)]")
_TRANSLATE = re.compile(r"(?:^|\s)translate(?:x|3d)?\(\s*(-[\d.]+[a-z%]*)\s*[,)]")
_NO_CLIP = re.compile(r"rect\(\s*(?:[01](?:px)?[\s,]+){3}[01](?:px)?\s*\)")


def _is_scaled_away(said: Mapping[str, str]) -> bool:
    """Whether a transform leaves nothing of a box; inline elements have none."""
    transform = said.get("transform") or said.get("-webkit-transform") or ""
    return bool(_NO_SCALE.search(transform)) or said.get("scale", "1").split()[:1] in (["0"], ["0%"])


def _is_cut(said: Mapping[str, str], position: str | None) -> bool:
    """No room, and what is over is not shown; holds for boxes, which `html.py` looks at."""
    if position in ("absolute", "fixed") and _NO_CLIP.fullmatch(said.get("clip", "")):
        return True
    if said.get("content-visibility") == "hidden":
        return True
    if "aspect-ratio" in said or not _is_clipped(said):
        return False
    return _no_room(said, "height", "top", "bottom") or _no_room(said, "width", "left", "right")


def _is_clipped(said: Mapping[str, str]) -> bool:
    """Whether what is over is not shown; if it is so in one direction, the other is at least scrolled."""
    values = " ".join(
        [said[name] for name in ("overflow", "overflow-x", "overflow-y") if name in said]
    ).split()
    return UNKNOWN not in values and (values == ["clip"] or any(value in _CLIPPING for value in values))


_CLIPPING: Final = names("hidden auto scroll overlay")


def _no_room(said: Mapping[str, str], side: str, start: str, end: str) -> bool:
    if f"min-{side}" in said and _known(said[f"min-{side}"]) > MIN_CLIPPED:
        return False
    if any(_known(said.get(f"padding-{edge}", "0")) > MIN_CLIPPED for edge in (start, end)):
        return False
    return any(_is_nothing(said[name]) for name in (f"max-{side}", side) if name in said)


def _is_nothing(value: str) -> bool:
    length = _sure_px(value)
    return length is not None and "%" not in value and 0.0 <= length <= MIN_CLIPPED


def _sure_px(value: str) -> float | None:
    """A length that all browsers take for one: not without a unit, which counts in quirks mode only."""
    found = px(value)
    return found if found == 0.0 or value[-1:].isalpha() or value[-1:] == "%" else None


def _known(value: str) -> float:
    """A length, and what is none as a large one."""
    found = px(value)
    return 1e9 if found is None else found


def _pull(said: Mapping[str, str], position: str | None) -> float:
    moving = ("text-indent", "margin-left", "left" if position == "relative" else "")
    values = [said[name] for name in moving if name in said]
    transform = said.get("transform") or said.get("-webkit-transform") or ""
    if moved := _TRANSLATE.search(transform):
        values.append(moved[1])
    if "translate" in said:
        values += said["translate"].split()[:1]
    return max([0.0, *(-(_sure_px(value) or 0.0) for value in values if "%" not in value)])


def _away(said: Mapping[str, str], position: str | None) -> float:
    if position not in ("absolute", "fixed") or "right" in said or "bottom" in said:
        return 0.0
    values = [said[name] for name in ("left", "top") if name in said]
    return max([0.0, *(-(_sure_px(value) or 0.0) for value in values if "%" not in value)])


_PUSHING: Final = (
    *(
        "margin-left",
        "padding-left",
        "left",
        "text-indent",
        "width",
        "min-width",
        "padding-right",
        "margin-right",
    ),
    *("top", "padding-top", "margin-top", "right", "bottom"),
)


def _push(said: Mapping[str, str]) -> float:
    """The pixels of all that moves to the right or down, or makes wide."""
    return sum(max(0.0, _known(said[name])) for name in _PUSHING if name in said and said[name] != "auto")


_ODD: Final = names(
    "text-align text-indent direction float display white-space border rotate letter-spacing word-spacing"
)
_ALWAYS_ODD: Final = names("direction border rotate letter-spacing word-spacing")


def _is_odd(said: Mapping[str, str]) -> bool:
    """Whether text may stand elsewhere than at the left of its box, or be wider than usual."""
    if not _ALWAYS_ODD.isdisjoint(said) or said.get("float", "none") != "none":
        return True
    if "text-indent" in said and (px(said["text-indent"]) or 0.0) >= 0.0:
        return True
    if said.get("text-align", "left") not in ("left", "start", "initial"):
        return True
    return said.get("display", "block") not in ("block", "none", "inline", "list-item")


_OVERLAPPING: Final = names(
    "position transform -webkit-transform translate rotate scale border-radius border float white-space"
    " margin-left margin-top margin-right margin-bottom height max-height width max-width line-height display"
)
_MOVING: Final = ("margin-left", "margin-top", "margin-right", "margin-bottom")
_SHIFTS: Final = frozenset(
    ["transform", "-webkit-transform", "translate", "rotate", "scale", "border-radius", "border"]
)


def _overlaps(said: Mapping[str, str], position: str | None) -> bool:
    """Whether a box may stand over another, or its contents reach out of it."""
    if position not in (None, "static") or not _SHIFTS.isdisjoint(said):
        return True
    if said.get("float", "none") != "none" or said.get("white-space", "normal") not in ("normal", "pre-wrap"):
        return True
    if any(name in said and said[name] != "auto" and not _known_positive(said[name]) for name in _MOVING):
        return True
    for name in ("height", "max-height", "width", "max-width", "line-height"):
        if name in said and (name != "line-height" or px(said[name]) == 0.0) and _known(said[name]) < 100.0:
            return True
    return said.get("display") in ("grid", "inline-grid", "flex", "inline-flex", "contents")


def _known_positive(value: str) -> bool:
    found = px(value)
    return found is not None and found >= 0.0


# Properties that are understood each by itself: the field of Style and how its value is read.
_READERS: Final[dict[str, tuple[str, Callable[[str], object]]]] = {
    "display": ("display", _display),
    "visibility": ("visible", _visible),
    "opacity": ("opacity", _opacity),
    "font-size": ("size", _size),
    "color": ("color", _paint),
    "-webkit-text-fill-color": ("fill", _paint),
    "position": ("position", _position),
    "float": ("floats", _floats),
}
