"""The words of a PDF, and of what only says that it is one."""

import pytest

from filterd.reading import attachments, pdf
from filterd.reading.html import Link


def a_pdf(text: str, link: str, pages: int = 1) -> bytes:
    """A PDF with a line of text and a link on each page, written by hand (PDF 32000 7.5)."""
    stream = f"BT /F1 18 Tf 20 100 Td ({text}) Tj ET".encode()
    kids = " ".join(f"{4 + 3 * n} 0 R" for n in range(pages))
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        f"<</Type/Pages/Kids[{kids}]/Count {pages}>>".encode(),
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
    ]
    for n in range(pages):
        number = 4 + 3 * n
        objects += [
            (
                f"<</Type/Page/Parent 2 0 R/MediaBox[0 0 400 200]/Contents {number + 1} 0 R"
                f"/Resources<</Font<</F1 3 0 R>>>>/Annots[{number + 2} 0 R]>>"
            ).encode(),
            b"<</Length %d>>stream\n%s\nendstream" % (len(stream), stream),
            f"<</Type/Annot/Subtype/Link/Rect[20 90 300 120]/A<</S/URI/URI({link})>>>>".encode(),
        ]
    body, offsets = b"%PDF-1.4\n", []
    for number, content in enumerate(objects, 1):
        offsets.append(len(body))
        body += b"%d 0 obj%s endobj\n" % (number, content)
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    return b"%sxref\n0 %d\n0000000000 65535 f \n%strailer<</Size %d/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF" % (
        body,
        len(objects) + 1,
        table,
        len(objects) + 1,
        len(body),
    )


def test_text_and_links_of_the_first_pages() -> None:
    seen = attachments.words(
        "application/pdf", "", a_pdf("Pay your invoice", "http://evil.example/pay", pages=5)
    )
    assert seen.text.split() == ["Pay", "your", "invoice"] * pdf.MAX_PAGES
    assert seen.links == (Link("http://evil.example/pay"),) * pdf.MAX_PAGES


@pytest.mark.parametrize(
    "data",
    [b"", b"%PDF-1.4", b"no pdf at all", a_pdf("x", "y")[:300], b"%PDF-1.4\n" + b"1 0 obj<<" * 20_000],
    ids=["empty", "head", "text", "cut", "nested"],
)
def test_what_cannot_be_read_says_nothing(data: bytes) -> None:
    assert attachments.words("application/pdf", "", data).text.strip() in ("", "x")


def test_a_reader_that_takes_too_long_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pdf, "MAX_WALL_S", 0.0001)
    assert pdf.read(a_pdf("late", "late")) == ("", ())
