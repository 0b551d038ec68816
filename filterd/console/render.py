"""Templates to pages: everything that is put in is escaped, texts come from the catalogue."""

from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from filterd.language import catalogue

FOLDER: Final = Path(__file__).parent
STATIC: Final = FOLDER / "static"
STRENGTHS: Final = 5  # shades of a word's colour


def page(template: str, language: str, **values: Any) -> str:
    """An HTML page in a language."""
    return (
        _templates()
        .get_template(template)
        .render(t=_speaker(language), language=language, languages=catalogue.languages(), **values)
    )


@cache
def _templates() -> Environment:
    made = Environment(
        loader=FileSystemLoader(FOLDER / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"when": when, "count": count, "percent": percent, "bytes": size, "signed": signed}
    return made


@cache
def _speaker(language: str) -> Callable[..., str]:
    def say(key: str, **values: object) -> str:
        return catalogue.say(language, f"console.{key}", **values)

    return say


def when(seconds: float, form: str = "%Y-%m-%d %H:%M:%S") -> str:
    """A time of this machine's zone."""
    return datetime.fromtimestamp(seconds, UTC).astimezone().strftime(form)


def count(number: float) -> str:
    """12 345, with a thin space, which no language takes for a comma."""
    return f"{number:,.0f}".replace(",", "\u202f")


def percent(share: float) -> str:
    """A share as percent."""
    return f"{100 * share:.1f}\u202f%"


def size(number: float) -> str:
    """Bytes as people read them."""
    for unit in ("B", "KB", "MB"):
        if number < 1000:
            return f"{number:.0f}\u202f{unit}" if unit == "B" else f"{number:.1f}\u202f{unit}"
        number /= 1000
    return f"{number:.1f}\u202fGB"


def signed(points: float) -> str:
    """+1.2"""
    return f"{points:+.1f}"


def shades(pieces: tuple[tuple[str, float], ...]) -> list[tuple[str, str, str]]:
    """Pieces of a text with the class and title of each: s1 … s5 towards spam, h1 … h5 towards ham."""
    top = max((abs(points) for _, points in pieces), default=0.0)
    found = []
    for piece, points in pieces:
        strength = round(STRENGTHS * abs(points) / top) if top else 0
        shade = f"{'s' if points > 0 else 'h'}{strength}" if strength else ""
        found.append((piece, shade, f"{points:+.2f}"))
    return found
