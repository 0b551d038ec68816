"""Colours of HTML and CSS as RGB. Those of CSS are read by tinycss2 (CSS Color 4)."""

import re
from functools import lru_cache
from typing import Final

from tinycss2 import color4

__all__ = ["CLEAR", "MAX_FAINT_OPACITY", "RGB", "UNKNOWN", "Paint", "color", "legacy_color"]

MAX_FAINT_OPACITY: Final = 0.05
MAX_COLOR: Final = 100  # characters

RGB = tuple[int, int, int]


def names(listed: str) -> frozenset[str]:
    """A set of names that are listed with blanks between them."""
    return frozenset(listed.split())


UNKNOWN: Final = "?"  # the value of a property that may be anything
_SYSTEM_COLORS: Final = names(
    "accentcolor accentcolortext activetext buttonborder buttonface buttontext canvas canvastext"
    " field fieldtext graytext highlight highlighttext linktext mark marktext selecteditem"
    " selecteditemtext visitedtext -webkit-link -webkit-text -webkit-activelink background captiontext"
    " infobackground infotext menu menutext window windowtext windowframe threedface threedhighlight"
    " threedshadow activeborder appworkspace scrollbar inactiveborder activecaption inactivecaption"
    " inactivecaptiontext buttonhighlight buttonshadow threeddarkshadow threedlightshadow"
)
CLEAR: Final = (-1, -1, -1)  # "transparent", and colours with next to no alpha
Paint = RGB | str | None  # UNKNOWN, or None where nothing is said


@lru_cache(maxsize=4096)
def color(value: str) -> RGB | str | None:
    """A CSS colour as RGB, CLEAR, or UNKNOWN where it depends on more; None where it is no colour.

    value: in small letters.
    """
    if len(value) > MAX_COLOR or value in _SYSTEM_COLORS or value == "currentcolor":
        return UNKNOWN
    if re.fullmatch(r"#[0-9a-f]{6}", value):
        return int(value[1:3], 16), int(value[3:5], 16), int(value[5:7], 16)
    try:
        found = color4.parse_color(value)
    except (ValueError, ArithmeticError):
        return UNKNOWN
    if found is None or isinstance(found, str):
        return UNKNOWN if "(" in value else None
    return _rgb(found)


def _rgb(found: color4.Color) -> RGB | str:
    if found.alpha is not None and found.alpha <= MAX_FAINT_OPACITY:
        return CLEAR
    try:
        red, green, blue = (found if found.space == "srgb" else found.to("srgb")).coordinates
    except (NotImplementedError, ValueError, ArithmeticError, TypeError):
        return UNKNOWN
    if found.alpha is not None and found.alpha < 1.0:
        return UNKNOWN  # mixed with what is behind it
    channels = [min(255, max(0, round(255 * (value or 0.0)))) for value in (red, green, blue)]
    return channels[0], channels[1], channels[2]


@lru_cache(maxsize=1024)
def legacy_color(value: str) -> RGB | str | None:
    """A colour in an HTML attribute (HTML 2.3.6, legacy colour values): nearly anything is one."""
    value = value.strip().lower()[:128]
    if not value or value == "transparent":
        return None
    if (named := color(value)) is not None and value[0] != "#" and "(" not in value:
        return named
    if re.fullmatch(r"#[0-9a-f]{3}", value):
        return int(value[1] * 2, 16), int(value[2] * 2, 16), int(value[3] * 2, 16)
    digits = re.sub("[^0-9a-f]", "0", value.removeprefix("#"))
    digits += "0" * (-len(digits) % 3 if digits else 3)
    size = len(digits) // 3
    parts = [digits[i * size : (i + 1) * size][-8:] for i in range(3)]
    while len(parts[0]) > 2 and all(part[0] == "0" for part in parts):
        parts = [part[1:] for part in parts]
    red, green, blue = (int(part[:2], 16) for part in parts)
    return red, green, blue
