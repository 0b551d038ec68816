"""One self-contained HTML page: sections, tables and images as data URIs. Nothing is fetched, nothing runs.

What a page holds are plain values; `templates/report.html` makes markup of them and escapes every text.
"""

import base64
import re
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import ClassVar

import msgspec
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from filterd.errors import Unwritable

Cell = str | int | float | None


class Paragraph(msgspec.Struct, frozen=True):
    """A paragraph of plain text."""

    form: ClassVar[str] = "paragraph"
    text: str


class Grid(msgspec.Struct, frozen=True):
    """A table whose first column names the rows. None is shown as a dash, a float with four digits."""

    form: ClassVar[str] = "table"
    rows: Iterable[Sequence[Cell]]
    header: Sequence[str] = ()
    caption: str = ""


class Picture(msgspec.Struct, frozen=True):
    """An image. alt: what it shows, for those who cannot see it."""

    png: bytes
    alt: str
    caption: str = ""


class Gallery(msgspec.Struct, frozen=True):
    """Pictures side by side where the window is wide enough, below each other where not."""

    form: ClassVar[str] = "gallery"
    pictures: Sequence[Picture]


Block = Paragraph | Grid | Gallery


class Chapter(msgspec.Struct, frozen=True):
    """A titled part of the page; the page links to it from its top."""

    title: str
    blocks: Sequence[Block]


def page(title: str, sections: Sequence[Chapter], lead: str = "") -> str:
    """The whole page, in light or dark as the reader's system has it."""
    return _templates().get_template("report.html").render(title=title, sections=sections, lead=lead)


def write(file: Path, content: str | bytes) -> None:
    """Write a file of a report, making its folder. Raises Unwritable."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.encode() if isinstance(content, str) else content)
    except OSError as error:
        raise Unwritable(f"{file}: {error.strerror}; choose another --out") from error


@cache
def _templates() -> Environment:
    made = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"cell": _cell, "anchor": _anchor, "base64": lambda png: base64.b64encode(png).decode()}
    return made


def _cell(value: Cell) -> str:
    if value is None:
        return "–"
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def _anchor(title: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-") or "section"
