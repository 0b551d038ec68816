"""What is put around a text so that it is not read: it is read, or the mail says that it was cut."""

import base64
import binascii

import pytest

from filterd.api import Kind, Message
from filterd.reading import mime, text

SPAM = b"Congratulations! You have won a prize, claim it now at http://win.example/\n"
HEAD = b"From: a <a@b.test>\nTo: c@d.test\nSubject: hi\nMIME-Version: 1.0\n"
PLAIN = HEAD + b"Content-Type: text/plain\n"
HTML = HEAD + b"Content-Type: text/html\n\n"
QP = PLAIN + b"Content-Transfer-Encoding: quoted-printable\n\n"
BASE64 = PLAIN + b"Content-Transfer-Encoding: base64\n\n"
MIXED = HEAD + b"Content-Type: multipart/mixed; boundary=b\n\n--b\n\nsee below\n"
UU = b"".join(binascii.b2a_uu(SPAM[i : i + 45]) for i in range(0, len(SPAM), 45))


def attached(headers: bytes, content: bytes) -> bytes:
    """A mail with a text and a file in base64."""
    encoded = base64.encodebytes(content)
    return MIXED + b"--b\n" + headers + b"\nContent-Transfer-Encoding: base64\n\n" + encoded + b"--b--\n"


def read(raw: bytes) -> text.CanonicalText:
    (found,) = text.read(Message(raw, kind=Kind.MAIL))
    return found


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(QP + b"=\n" * 800_000 + SPAM, id="soft-breaks"),
        pytest.param(QP + b"= \t\r\n" * 400_000 + SPAM, id="soft-breaks-with-blanks"),
        pytest.param(BASE64 + b"\n" * 1_600_000 + base64.encodebytes(SPAM), id="lines-before-base64"),
        pytest.param(BASE64 + b"!?*\n" * 400_000 + base64.encodebytes(SPAM), id="junk-before-base64"),
        pytest.param(BASE64 + base64.encodebytes(b"\n" * 1_500_000 + SPAM), id="base64-of-lines"),
        pytest.param(PLAIN + b"\n" + b"\n" * 3_000_000 + SPAM, id="lines"),
        pytest.param(PLAIN + b"\n" + b" \t" * 1_500_000 + SPAM, id="blanks"),
        pytest.param(HTML + b"<!--" + b"x" * 530_000 + b"--><p>" + SPAM, id="comment"),
        pytest.param(HTML + b"<style>" + b"x{a:b}" * 90_000 + b"</style><p>" + SPAM, id="style"),
        pytest.param(
            MIXED + b"--b\nContent-Type: text/plain\n\n\n" * 600 + b"--b\n\n" + SPAM + b"--b--",
            id="empty-parts",
        ),
    ],
)
def test_junk_that_shows_nothing_hides_nothing(raw: bytes) -> None:
    found = read(raw)
    assert "won a prize" in found.body
    assert "truncated" not in found.facts


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(HTML + b"<!--" + b"x" * 3_000_000 + b"--><p>" + SPAM, id="endless-comment"),
        pytest.param(MIXED + b"--b\n\n.\n" * 600 + b"--b\n\n" + SPAM + b"--b--", id="too-many-parts"),
        pytest.param(MIXED + b"--b\n" * 30_000 + b"--b\n\n" + SPAM + b"--b--", id="too-many-boundaries"),
        pytest.param(PLAIN + b"\n" + b"word " * 200_000 + SPAM + b"word " * 4_000, id="too-long"),
        pytest.param(HEAD + b"X-A: b\n" * 30_000 + b"Content-Type: text/html\n\n<p>" + SPAM, id="long-head"),
    ],
)
def test_what_was_cut_says_so(raw: bytes) -> None:
    found = read(raw)
    assert "truncated" in found.facts
    assert text.DOUBTFUL & set(found.facts)
    assert found.head[-1] == "read cut"


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(PLAIN + b"Content-Disposition: attachment; filename=a.txt\n\n" + SPAM, id="single-part"),
        pytest.param(
            attached(b"Content-Type: text/html\nContent-Disposition: attachment", b"<p>" + SPAM), id="html"
        ),
        pytest.param(
            attached(b"Content-Type: application/octet-stream; name=a.html", b"<p>" + SPAM), id="by-name"
        ),
        pytest.param(attached(b"Content-Type: text/plain\nContent-Disposition: attachment", SPAM), id="text"),
        pytest.param(attached(b"Content-Type: message/rfc822", b"Subject: x\n\n" + SPAM), id="forwarded"),
        pytest.param(
            attached(
                b"Content-Type: message/rfc822",
                attached(b"Content-Type: message/rfc822", b"To: x@y\n\n" + SPAM),
            ),
            id="forwarded-twice",
        ),
        pytest.param(
            attached(b"Content-Type: application/x; name=a.eml", b"Subject: x\n\n" + SPAM), id="eml"
        ),
        pytest.param(
            HEAD + b"Content-Type: application/ics\n\nBEGIN:VCALENDAR\nSUMMARY:" + SPAM + b"END:VCALENDAR\n",
            id="calendar",
        ),
        pytest.param(HEAD + b"Content-Type: message/delivery-status\n\n" + SPAM, id="delivery-status"),
        pytest.param(HEAD + b"Content-Type: application/xhtml+xml\n\n<p>" + SPAM, id="xhtml"),
        pytest.param(HEAD + b"Content-Type: text/enriched\n\n<bold>" + SPAM + b"</bold>", id="enriched"),
        pytest.param(HEAD + b"\nsee\n\nbegin 644 a.txt\n" + UU + b"`\nend\n", id="uuencoded"),
        pytest.param(HEAD + b"Content-Type: text/plain; charset=cp037\n\n" + SPAM, id="ebcdic"),
        pytest.param(HEAD + b"Content-Type: text/plain; charset=IBM1140\n\n" + SPAM, id="ebcdic-euro"),
        pytest.param(
            HEAD + b"no header\nContent-Type: text/html\n\n<p>You have won<b></b> a prize</p>", id="junk-line"
        ),
        pytest.param(HEAD + b"Content-Type: message/partial\n\nSubject: x\n\n" + SPAM, id="partial"),
        pytest.param(b">From a@b Tue Mar  4 09:59:00 2025\n" + HEAD + b"\n" + SPAM, id="quoted-from"),
        pytest.param(b"Subject: a\n \n \t\n b\n" + HEAD[:20] + b"\n\n" + SPAM, id="blank-header-lines"),
    ],
)
def test_words_are_found_wherever_they_are(raw: bytes) -> None:
    assert "won a prize" in read(raw).body


def test_large_attachments_are_no_doubt() -> None:
    raw = attached(
        b"Content-Type: text/csv; name=a.csv\nContent-Disposition: attachment", b"1;2;3\n" * 900_000
    )
    assert read(raw).facts == ("attachment:csv",)


def test_many_small_pages_are_rendered_and_long_ones_beyond_are_doubt() -> None:
    page = 'Content-Type: text/html\n\n<p>one</p><p style="display:none">two</p>{}\n--b\n'
    small = "From: a@example.org\nContent-Type: multipart/mixed; boundary=b\n\n--b\n" + page.format("") * 9
    found = read(small.encode())
    assert found.body.split() == ["one"] * 9
    assert "tangled-html" not in found.facts
    found = read((small + page.format("x" * mime.MAX_SMALL_SOURCE)).encode())
    assert "tangled-html" in found.facts
