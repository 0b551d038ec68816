"""Each small parser of the reader: cut off at every byte, what encoders write, and any bytes.

A cut input never raises, and what was read of it is how the whole begins: nothing that stands at the end
of a mail changes what was read before it.
"""

import base64
import binascii
import gzip
import quopri
import re
import zipfile
from collections.abc import Callable
from email.header import Header
from email.utils import encode_rfc2231
from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filterd.reading import attachments, authentication, css, fields, parts, sheet, transfer
from filterd.reading.charsets import decode, decode_words
from filterd.reading.html import visible
from filterd.reading.kind import opened
from filterd.reading.parts import ReadingRule

SAID = "Grüße aus Köln, zwölf Euro.\n" * 3
ICS = (
    "BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\nSUMMARY:Lunch\\, at\r\n  noon\r\n"
    "DESCRIPTION;LANGUAGE=en:one\\ntwo\r\n"
    "END:VEVENT\r\nEND:VCALENDAR\r\n"
)
PAGE = (
    "<style>.h{display:none} td>a{color:#fff}</style><p>one</p><p class=h>two</p>"
    "<table><tr><td bgcolor='#000'>"
    '<a href="http://x.example/">three</a></table><!-- four --><b>fi</b>ve'
)


def uuencoded(data: bytes) -> bytes:
    lines = b"".join(binascii.b2a_uu(data[at : at + 45]) for at in range(0, len(data), 45))
    return b"begin 644 a.txt\n" + lines + b"`\nend\n"


def of_uuencoded(content: bytes) -> bytes:
    return b"".join(data for _, data in transfer.without_uuencoded(content)[1])


def archive(*names: str) -> bytes:
    packed = BytesIO()
    with zipfile.ZipFile(packed, "w") as file:
        for name in names:
            file.writestr(name, "x" * 9)
    return packed.getvalue()


def inflated(content: bytes) -> bytes:
    found = opened(content)
    return b"" if found == content else found


BEGINS_LIKE: dict[str, tuple[Callable[[bytes], bytes], bytes]] = {
    "base64": (transfer.from_base64, base64.encodebytes(SAID.encode())),
    "quoted-printable": (
        lambda cut: transfer.decoded(cut, "quoted-printable").partition(b"=")[0],  # less a unit that was cut
        quopri.encodestring(SAID.encode()),
    ),
    "uuencode": (of_uuencoded, uuencoded(SAID.encode())),
    "gzip": (inflated, gzip.compress(b"From: ann@example.org\n\n" + SAID.encode(), mtime=0)),
    "ics": (lambda cut: attachments.words("text/calendar", "", cut).text.rstrip("\\").encode(), ICS.encode()),
    "zip": (
        lambda cut: attachments.words("application/zip", "", cut).text.encode(),
        archive("a.exe", "b.txt"),
    ),
}


@pytest.mark.parametrize("name", BEGINS_LIKE)
def test_of_what_was_cut_off_the_beginning_is_read(name: str) -> None:
    read, whole = BEGINS_LIKE[name]
    everything = read(whole)
    assert everything
    for end in range(len(whole)):
        assert everything.startswith(read(whole[:end])), end


@pytest.mark.parametrize(
    "value",
    [
        b'text/plain; charset*0*=utf-8\'\'%C3%BCber; charset*1=more; name="a \\"b\\" (c)" (comment)',
        b"attachment; filename*=iso-8859-1'de'Gr%FC%DFe.exe; x = y",
    ],
)
def test_parameters_that_were_cut_off(value: bytes) -> None:
    known = fields.value(value).parameters
    for end in range(len(value)):
        found = fields.value(value[:end])
        assert found.first.startswith(value.partition(b";")[0].decode()[:end])
        assert set(found.parameters) <= set(known)


def test_encoded_words_that_were_cut_off() -> None:
    value = b"=?utf-8?B?R3LDvMOfZQ==?= =?iso-8859-1?q?aus_K=F6ln?= now"
    assert decode_words(value) == "Grüßeaus Köln now"
    for end in range(len(value)):
        assert decode_words(value[:end]).startswith(("Grüße", "=?utf-8", "=?utf", "=", ""))


def test_results_of_authentication_that_were_cut_off() -> None:
    value = (
        b"mx.example.net; dkim=pass header.d=example.org; spf=pass smtp.mailfrom=a@example.org; dmarc=fail"
    )
    said = ["dkim aligned", "spf aligned", "dmarc fail"]
    for end in range(len(value) + 1):
        words = authentication.words(
            {b"authentication-results": [value[:end]]}, "example.org", ["mx.example.net"]
        )
        methods = [
            f"{method} {outcome}" for method, outcome in zip(*[iter(words.split()[1:])] * 2, strict=True)
        ]
        # A domain that was cut is another's, and a result that was cut is none.
        assert all(one in said or one.endswith((" other", " none")) for one in methods), end


def test_html_that_was_cut_off() -> None:
    assert visible(PAGE).text.split() == ["one", "three", "five"]
    for end in range(len(PAGE)):
        words = re.findall("[a-z]+", visible.__wrapped__(PAGE[:end]).text)  # "</" at the end is shown, too
        assert all(
            whole.startswith(word) for word, whole in zip(words, ["one", "three", "five"], strict=False)
        ), end


def test_a_head_that_was_cut_off() -> None:
    raw = b"From: ann@example.org\nContent-Type: text/plain;\n charset=utf-8\nSubject: lunch\n\nAt noon?\n"
    for end in range(len(raw)):
        head, body = parts.read_head(raw[:end], 0, end, ReadingRule(), set())
        assert body <= end
        assert b"lunch".startswith(head.subject)
        assert head.type in ("", "text/plain") or "text/plain".startswith(head.type)


@given(st.binary(max_size=200))
def test_what_encoders_write_is_read(data: bytes) -> None:
    assert transfer.decoded(base64.encodebytes(data), "base64") == data
    assert transfer.decoded(quopri.encodestring(data, quotetabs=True), "quoted-printable") == data
    assert of_uuencoded(uuencoded(data)) == data
    assert opened(gzip.compress(data, mtime=0)) == data


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=60))
def test_what_the_standard_library_writes_in_heads_is_read(said: str) -> None:
    assert decode_words(Header(said, "utf-8").encode().encode()) == said
    whole = f"attachment; filename*={encode_rfc2231(said, 'utf-8')}".encode()
    assert fields.value(whole).parameters["filename"].decode() == said


@given(st.binary(max_size=120), st.sampled_from(["base64", "quoted-printable", "x-unknown", ""]))
def test_any_bytes(data: bytes, encoding: str) -> None:
    transfer.decoded(data, encoding)
    transfer.without_uuencoded(b"begin 644 a\n" + data)
    opened(b"\x1f\x8b\x08" + data)
    decode_words(b"=?" + data + b"?=")
    decode(data, charset=data[:20])
    fields.value(b"a/b; " + data)
    parts.read_head(data, 0, len(data), ReadingRule(), set())


@given(st.text(st.sampled_from("ab.#{};:@/*\\\"'()[]>+~, -0px!important\n"), max_size=120))
def test_any_style_sheet(source: str) -> None:
    css.declarations(source)
    sheet.parse(source)
    visible.__wrapped__(f"<style>{source}</style><p style='{source}' class=a id=b>text</p>")
