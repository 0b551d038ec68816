"""Structure, encodings and charsets of mails."""

import base64
from email.message import EmailMessage

import pytest

from filterd.reading import mime

TOP = b"From: ann@example.org\nSubject: Hello\nMIME-Version: 1.0\n"
FUNNY = "Grüße, 10 € frei"


def text_of(raw: bytes) -> str:
    return " ".join(mime.parse(raw).text.split())


def test_a_mail_of_the_standard_library() -> None:
    mail = EmailMessage()
    mail["Subject"] = "Grüße aus Köln " + "x" * 100
    mail.set_content("plain words")
    mail.add_alternative("<p>shown <b>words</b></p>", subtype="html")
    mail.add_attachment(b"MZ", maintype="application", subtype="octet-stream", filename="Invoice.PDF.exe")
    for raw in (bytes(mail), bytes(mail).replace(b"\n", b"\r\n")):
        read = mime.parse(raw)
        assert read.subject == "Grüße aus Köln " + "x" * 100
        assert read.text.split() == ["shown", "words"]
        assert read.facts == ["attachment:exe"]


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        pytest.param(b"Content-Type: text/plain; charset=utf-8", FUNNY.encode(), id="utf-8"),
        pytest.param(b"Content-Type: text/plain", FUNNY.encode(), id="undeclared-utf-8"),
        pytest.param(
            b"Content-Type: text/plain; charset=iso-8859-1", FUNNY.encode("cp1252"), id="latin-1-is-cp1252"
        ),
        pytest.param(
            b"Content-Type: text/plain; charset=us-ascii", FUNNY.encode("cp1252"), id="ascii-is-not"
        ),
        pytest.param(b"Content-Type: text/plain; charset=martian", FUNNY.encode(), id="unknown-charset"),
        pytest.param(b"Content-Type: text/plain; charset=base64_codec", FUNNY.encode(), id="codec-base64"),
        pytest.param(b"Content-Type: text/plain; charset=zlib", FUNNY.encode(), id="codec-zlib"),
        pytest.param(b"Content-Type: text/plain; charset=rot13", FUNNY.encode(), id="codec-rot13"),
        pytest.param(b"Content-Type: text/plain; charset=unicode_escape", FUNNY.encode(), id="codec-escape"),
        pytest.param(b"Content-Type: text/plain; charset=idna", FUNNY.encode(), id="codec-idna"),
        pytest.param(
            b"Content-Type: text/plain; charset=" + b"x" * 90_000, FUNNY.encode(), id="long-charset"
        ),
        pytest.param(b"Content-Type: text/plain; charset*=us-ascii'en'utf-8", FUNNY.encode(), id="rfc2231"),
        pytest.param(b"Content-Type: text/plain", FUNNY.encode("utf-16"), id="utf-16-by-bom"),
        pytest.param(b"Content-Type: text/plain; charset=utf-16le", FUNNY.encode("utf-16-le"), id="utf-16"),
        pytest.param(b"Content-Type: text/plain; charset=utf-7", FUNNY.encode("utf-7"), id="utf-7"),
        pytest.param(
            b'Content-Type: TEXT/Plain (a (nested) one); CHARSET="utf-8"', FUNNY.encode(), id="comment"
        ),
        pytest.param(b"Content-Type : text/plain", FUNNY.encode(), id="blank-before-colon"),
        pytest.param(b"Content-Type: nonsense", FUNNY.encode(), id="no-type"),
        pytest.param(b"Content-Type: multipart/mixed", FUNNY.encode(), id="no-boundary"),
        pytest.param(b"Content-Type: multipart/mixed; boundary=q", FUNNY.encode(), id="boundary-never-comes"),
        pytest.param(b"Content-Transfer-Encoding: BASE64", base64.encodebytes(FUNNY.encode()), id="base64"),
        pytest.param(
            b"Content-Transfer-Encoding: base64", base64.b64encode(FUNNY.encode())[:-1], id="cut-off"
        ),
        pytest.param(
            b"Content-Transfer-Encoding: base64",
            base64.b64encode(FUNNY.encode()[:7]) + b"\n!?\n" + base64.b64encode(FUNNY.encode()[7:]),
            id="padding-in-the-middle",
        ),
        pytest.param(
            b"Content-Transfer-Encoding: quoted-printable", b"Gr=C3=BC=C3=9Fe, =\n10 =E2=82=AC frei", id="qp"
        ),
        pytest.param(b"Content-Transfer-Encoding: rot26", FUNNY.encode(), id="unknown-encoding"),
    ],
)
def test_one_part(headers: bytes, body: bytes) -> None:
    assert text_of(TOP + headers + b"\n\n" + body) == FUNNY


def test_ascii_that_claims_to_be_wide() -> None:
    assert text_of(TOP + b"Content-Type: text/plain; charset=utf-16\n\nplain ASCII") == "plain ASCII"


def test_charset_of_the_html_itself() -> None:
    html = '<meta http-equiv=x content="text/html; charset=koi8-r"><p>привет</p>'.encode("koi8-r")
    assert text_of(TOP + b"Content-Type: text/html\n\n" + html) == "привет"


def test_text_cut_within_a_character_is_still_utf8() -> None:
    read = mime.parse(TOP + b"\n" + "x€".encode() * mime.MAX_TEXT_BYTES)
    assert read.facts == ["truncated"]
    assert set(read.text) <= {"x", "€", "\ufffd"}


@pytest.mark.parametrize(
    ("value", "subject"),
    [
        pytest.param(b"plain", "plain", id="plain"),
        pytest.param(b"=?UTF-8?Q?caf=C3=A9_now?=", "café now", id="q"),
        pytest.param(b"=?utf-8?b?Y2Fmw6k=?=\n =?utf-8?b?IG5vdw==?=", "café now", id="folded"),
        pytest.param(b"=?utf-8?q?caf=C3?= =?utf-8?q?=A9?=", "café", id="character-cut-in-two"),
        pytest.param(b"Re: =?utf-8?q?a?= b =?latin1?q?=E9?=", "Re: a b é", id="mixed"),
        pytest.param(b"=?utf-8*en?q?a?=", "a", id="language"),
        pytest.param(b"=?zlib?b?YWJj?=", "abc", id="codec-as-charset"),
        pytest.param(b"=?utf-8?b?!!!?=x", "x", id="no-base64"),
        pytest.param(b"=?utf-8?x?a?=", "=?utf-8?x?a?=", id="no-encoding"),
        pytest.param("grün".encode(), "grün", id="raw-utf-8"),
        pytest.param(b"gr\xfcn", "grün", id="raw-latin-1"),
    ],
)
def test_subject(value: bytes, subject: str) -> None:
    read = mime.parse(b"Subject: " + value + b"\nFrom: a@example.org\n\nx").subject
    assert read == subject


def multipart(kind: str, *parts: bytes, boundary: str = "=_b") -> bytes:
    head = f'Content-Type: multipart/{kind}; boundary="{boundary}"\n\npreamble\n'.encode()
    return (
        head + b"".join(f"--{boundary}\n".encode() + p + b"\n" for p in parts) + f"--{boundary}--\n".encode()
    )


PLAIN = b"Content-Type: text/plain\n\nplain words"
HTML = b"Content-Type: text/html\n\n<p>html words</p>"
NO_HTML = b"Content-Type: text/html\n\n<img src=x>"


@pytest.mark.parametrize(
    ("mail", "text"),
    [
        pytest.param(multipart("alternative", PLAIN, HTML), "html words", id="alternative"),
        pytest.param(multipart("alternative", HTML, PLAIN), "html words", id="alternative-backwards"),
        pytest.param(multipart("alternative", PLAIN, NO_HTML), "plain words", id="empty-html"),
        pytest.param(multipart("mixed", PLAIN, HTML), "plain words html words", id="mixed"),
        pytest.param(
            multipart("mixed", b"\nbare", b"", PLAIN) + b"epilogue", "bare plain words", id="epilogue"
        ),
        pytest.param(multipart("related", HTML, b"Content-Type: image/png\n\nx"), "html words", id="related"),
        pytest.param(
            multipart("mixed", multipart("alternative", PLAIN, HTML, boundary="in"), b"\nfooter"),
            "html words footer",
            id="nested",
        ),
        pytest.param(
            multipart("mixed", PLAIN, b"Content-Type: message/rfc822\n\nSubject: Fwd\n\nforwarded"),
            "plain words Fwd forwarded",
            id="rfc822",
        ),
        pytest.param(
            multipart("digest", b"\nSubject: one\n\n1", b"\nSubject: two\n\n2"), "one 1 two 2", id="digest"
        ),
        pytest.param(multipart("mixed", PLAIN)[:-8], "plain words", id="no-end"),
        pytest.param(
            b"Content-Type: multipart/mixed;\n\tboundary=a b\n\n--a\n\nx\n--a--\n", "x", id="unquoted"
        ),
        pytest.param(
            b"Content-Type: multipart/mixed; boundary*0=a; boundary*1=b\n\n--ab\n\nx\n--ab--\n",
            "x",
            id="pieces",
        ),
    ],
)
def test_structure(mail: bytes, text: str) -> None:
    for raw in (TOP + mail, (TOP + mail).replace(b"\n", b"\r\n")):
        assert text_of(raw) == text


@pytest.mark.parametrize(
    ("part", "fact"),
    [
        pytest.param(b'Content-Type: application/x; name="a.SCR"\n\nx', "attachment:scr", id="name"),
        pytest.param(b"Content-Type: application/pdf\n\nx", "attachment:pdf", id="type"),
        pytest.param(
            b'Content-Disposition: attachment; filename="=?utf-8?q?a=2Ejs?="\n\nx', "attachment:js", id="word"
        ),
        pytest.param(
            b"Content-Type: text/html\nContent-Disposition: attachment\n\nx", "attachment:html", id="html"
        ),
        pytest.param(b"\nbegin 644 run.bat\n#0V%T\n`\nend\n", "attachment:bat", id="uuencoded"),
    ],
)
def test_attachments_are_facts(part: bytes, fact: str) -> None:
    read = mime.parse(TOP + multipart("mixed", PLAIN, part))
    assert read.facts == [fact]
    assert read.text.split()[:2] == ["plain", "words"]
    assert "0V%T" not in read.text


def test_text_of_the_last_part_of_a_large_mail_is_found() -> None:
    picture = b"Content-Type: image/png\nContent-Transfer-Encoding: base64\n\n" + (b"A" * 76 + b"\n") * 60_000
    assert text_of(TOP + multipart("mixed", picture, PLAIN)) == "plain words"


def test_a_line_that_is_no_header_begins_the_body() -> None:
    assert (
        text_of(b"Subject: offer\nbuy now , only $ 5\nhttp://example.org\n")
        == "buy now , only $ 5 http://example.org"
    )


@pytest.mark.parametrize(
    ("headers", "doubt"),
    [
        pytest.param(b"Content-Type: text/html\nContent-Type: text/plain\n", "header", id="type"),
        pytest.param(b"Content-Type: multipart/mixed; boundary=a; boundary=b\n", "parameter", id="boundary"),
    ],
)
def test_doubts(headers: bytes, doubt: str) -> None:
    assert mime.parse(TOP + headers + b"\nx").doubts == {doubt}


def test_the_same_header_twice_is_no_doubt() -> None:
    assert not mime.parse(TOP + b"Subject: Hello\n\nx").doubts
