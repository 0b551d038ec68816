import base64
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from filterd.errors import Unwritable
from filterd_trainer.evaluation.report import Block, Chapter, Gallery, Grid, Paragraph, Picture, page, write

PNG = b"\x89PNG\r\n\x1a\n not really"


class Balanced(HTMLParser):
    """Fails where an element is not closed in order."""

    VOID = ("meta", "img", "!doctype")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def whole() -> str:
    parts = [
        Chapter("In short", [Paragraph("All is well."), Grid([["accuracy", 0.97, None]], ["", "a", "b"])]),
        Chapter("Two side by side", [Gallery([Picture(PNG, "one"), Picture(PNG, "two", "A caption")])]),
    ]
    return page("A report", parts, lead="of a test")


def alone(block: Block) -> str:
    return page("A report", [Chapter("Only", [block])])


def test_page_is_well_formed_and_links_its_sections() -> None:
    parser = Balanced()
    parser.feed(whole())
    assert parser.open == []
    assert re.findall(r'href="#([^"]+)">([^<]+)', whole()) == [
        ("in-short", "In short"),
        ("two-side-by-side", "Two side by side"),
    ]


def test_page_asks_for_nothing_from_elsewhere() -> None:
    assert not re.search(r"(https?:)?//|<script|<link|@import|url\(", whole())
    assert "prefers-color-scheme: dark" in whole()


def test_figure_holds_the_image_itself() -> None:
    match = re.search(
        r'src="data:image/png;base64,([^"]+)" alt="a &amp; b"', alone(Gallery([Picture(PNG, "a & b")]))
    )
    assert match and base64.b64decode(match[1]) == PNG


@pytest.mark.parametrize(
    "block",
    [
        pytest.param(Paragraph(hostile := '<img src=x onerror="alert(1)">'), id="paragraph"),
        pytest.param(Grid([[hostile]], [hostile], hostile), id="table"),
        pytest.param(Gallery([Picture(b"", hostile, hostile)]), id="figure"),
    ],
)
def test_text_is_never_markup(block: Block) -> None:
    html = page(hostile, [Chapter(hostile, [block])], hostile)
    assert "<img src=x" not in html
    assert 'onerror="' not in html


@pytest.mark.parametrize(
    ("cell", "shown"), [(None, "–"), (0.5, "0.5000"), (1234, "1234"), ("97.7%", "97.7%"), ("", "")]
)
def test_cells(cell: str | float | None, shown: str) -> None:
    assert f"<td>{shown}</td>" in alone(Grid([[cell]]))


def test_writing_makes_the_folder_and_says_in_a_line_why_it_cannot(tmp_path: Path) -> None:
    write(tmp_path / "new" / "report.html", "é")
    assert (tmp_path / "new" / "report.html").read_bytes() == "é".encode()
    with pytest.raises(Unwritable, match="choose another --out"):
        write(tmp_path / "new" / "report.html" / "x", b"")
