"""What attachments say, by type, by name, and whatever their bytes are."""

import io
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filterd.reading.attachments import MAX_NAMES, MAX_TEXT, AttachmentText, words
from filterd.reading.html import Link

ICS = (
    b"BEGIN:VCALENDAR\r\nSUMMARY;LANGUAGE=en:Your\\, prize\r\n"
    b"DESCRIPTION:claim it \r\n now\\nhere\r\nEND:VCALENDAR\r\n"
)
SVG = b"<svg><script>no()</script><a href='http://a.example/'><text>Click &amp; win</text></a></svg>"


@pytest.mark.parametrize(
    ("media_type", "name", "data", "text"),
    [
        ("text/html", "", b"<p>one<p style='display:none'>two", "one"),
        ("application/octet-stream", "invoice.htm", b"<b>one</b>", "one"),
        ("application/xhtml+xml", "", b"<html><p>one</p></html>", "one"),
        ("text/plain", "a.txt", "caf\u00e9".encode(), "caf\u00e9"),
        ("text/x-anything", "", "caf\u00e9".encode("cp1252"), "caf\u00e9"),
        ("application/ics", "", ICS, "Your, prize claim it now here"),
        ("image/svg+xml", "", SVG, "Click & win"),
        ("application/x-msdownload", "a.exe", b"MZ words", ""),
    ],
)
def test_words(media_type: str, name: str, data: bytes, text: str) -> None:
    assert " ".join(words(media_type, name, data).text.split()) == text


def test_links() -> None:
    assert words("text/html", "", b"<a href='http://b.example/'>bank</a>").links == (
        Link("http://b.example/", "bank"),
    )
    assert words("image/svg+xml", "", SVG).links == (Link("http://a.example/"),)


def test_a_long_one_is_cut_and_says_so() -> None:
    seen = words("text/plain", "", b"x" * (MAX_TEXT + 1))
    assert (len(seen.text), seen.facts) == (MAX_TEXT, ("truncated",))


@given(
    st.sampled_from(["text/html", "image/svg+xml", "text/calendar", "text/plain", "application/pdf", ""]),
    st.sampled_from(["", "a.html", "a.svg", "a.ics", "a"]),
    st.binary(max_size=300),
)
def test_any_bytes_are_read(media_type: str, name: str, data: bytes) -> None:
    assert isinstance(words(media_type, name, data), AttachmentText)


def a_zip(*names: str, password: bool = False) -> bytes:
    """An archive of empty files."""
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w") as archive:
        for name in names:
            archive.writestr(name, b"")
    data = whole.getvalue()
    return data.replace(b"PK\x03\x04\x14\x00\x00", b"PK\x03\x04\x14\x00\x01") if password else data


def test_names_in_archives() -> None:
    seen = words("application/zip", "", a_zip("Invoice.pdf.exe", "readme.txt"))
    assert seen.text.split() == ["Invoice.pdf.exe", "readme.txt"]
    assert seen.facts == ("archive:exe", "archive:txt")
    assert "archive-locked" in words("", "a.zip", a_zip("a.js", password=True)).facts
    assert len(words("", "a.zip", a_zip(*map(str, range(50)))).text.split()) == MAX_NAMES
    assert words("application/zip", "", b"PK\x03\x04").text == ""
