"""From bytes to canonical text: which kind, which readings, how long at most, how fast at worst."""

import gzip
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filterd.api import Kind, Message
from filterd.reading.text import (
    GTUBE,
    LONG_SMS,
    MAX_BODY,
    MAX_READINGS,
    MAX_SMS,
    MAX_SMS_PIECES,
    MAX_SUBJECT,
    SMS_PIECE,
    CanonicalText,
    detect,
    of_sms,
    read,
    windows,
    without_head,
)

MAIL = b"From: ann@example.org\nSubject: Lunch\nMIME-Version: 1.0\n"
PATIENCE_S = 5.0  # ten times what the slowest takes alone; the machine is shared


def only(raw: bytes, kind: Kind | None = None) -> CanonicalText:
    (text,) = read(Message(raw, kind=kind))
    return text


@pytest.mark.parametrize(
    ("raw", "kind"),
    [
        pytest.param(b"", Kind.SMS, id="empty"),
        pytest.param(b"See you at 8?", Kind.SMS, id="sms"),
        pytest.param(b"Subject: one line only", Kind.SMS, id="no-line-end"),
        pytest.param(b"note: buy milk\nand bread", Kind.SMS, id="unknown-header"),
        pytest.param(b"hello\nSubject: x\n", Kind.SMS, id="header-later"),
        pytest.param(b"http://example.org\nFrom: x\n", Kind.SMS, id="address"),
        pytest.param(MAIL + b"\nbody", Kind.MAIL, id="mail"),
        pytest.param(MAIL.replace(b"\n", b"\r\n") + b"\r\nbody", Kind.MAIL, id="crlf"),
        pytest.param(b"From ann Thu Jan  1 00:00:00 2015\n" + MAIL, Kind.MAIL, id="mbox"),
        pytest.param(b"X-Odd: 1\n folded\nReceived: by x\n\n", Kind.MAIL, id="odd-header-first"),
        pytest.param(b"Subject: offer\nbuy now\n", Kind.MAIL, id="no-empty-line"),
        pytest.param(b"\xef\xbb\xbf" + MAIL, Kind.MAIL, id="bom"),
    ],
)
def test_detect(raw: bytes, kind: Kind) -> None:
    assert detect(raw) is kind


def test_mail() -> None:
    text = only(MAIL + b"\nAre you free for lunch?\n\n> > earlier\n|| words\n")
    assert (text.subject, text.body) == ("Lunch", "Are you free for lunch?\n> earlier\n> words")
    assert without_head(text.canonical) == "Lunch\n\nAre you free for lunch?\n> earlier\n> words"


def test_a_compressed_mail_is_read_through() -> None:
    plain = MAIL + b"\nAre you free for lunch?\n"
    packed = gzip.compress(plain)
    assert detect(packed) is Kind.MAIL
    assert read(Message(packed)) == read(Message(plain))
    assert read(Message(packed[:40]))  # cut off
    assert read(Message(b"\x1f\x8b\x08 no gzip"))
    assert read(Message(gzip.compress(MAIL + b"\n" + b"\n" * 100_000_000)))[0].body == ""


def test_mail_without_subject_is_its_body() -> None:
    assert without_head(only(b"From: a@example.org\n\nhello\n").canonical) == "hello"


def test_wrapped_lines_are_joined_and_short_ones_stay() -> None:
    line = "the quick brown fox jumps over the lazy dog and then some"
    assert only(MAIL + f"\n{line}\nmore of it\nBob\n\nEnd\n".encode()).body == f"{line} more of it\nBob\nEnd"


def test_encoded_blobs_in_plain_text_shrink() -> None:
    blob = "QUJD" * 19
    assert (
        only(MAIL + f"\nkey:\n{blob}\n{blob}\n{blob}\nQUI=\nbye\n".encode()).body == f"key:\n{blob[:20]}\nbye"
    )


def test_sms_is_what_was_typed() -> None:
    text = "Ok lar... C u 2nite @ 8 :-) 😀 £5"
    assert only(text.encode()) == CanonicalText(kind=Kind.SMS, subject="", body=text)
    assert only(text.encode(), Kind.SMS).canonical == of_sms(text).canonical == text


def test_sms_that_is_not_utf8() -> None:
    assert only(b"Win \xa35,000 now").body == "Win £5,000 now"


def test_kind_is_believed() -> None:
    assert only(b"no headers at all\n\nbody", Kind.MAIL).body == "no headers at all\nbody"
    assert only(MAIL, Kind.SMS).body.startswith("From: ann@example.org\nSubject: Lunch")


@pytest.mark.parametrize(
    ("raw", "fact"),
    [
        pytest.param(MAIL + b"\n" + GTUBE.encode(), "gtube", id="gtube"),
        pytest.param(MAIL.replace(b"Lunch", GTUBE.encode()) + b"\nx", "gtube", id="gtube-subject"),
        pytest.param(GTUBE.encode(), "gtube", id="gtube-sms"),
        pytest.param(MAIL + b"Content-Type: text/html\n\n<p>x", "html-only", id="html-only"),
        pytest.param(MAIL + b"Content-Type: text/html\n\n<p>x<p hidden>y", "hidden-text", id="hidden"),
        pytest.param(MAIL + b"\n" + b"word " * MAX_BODY, "truncated", id="truncated"),
        pytest.param(b"word " * MAX_SMS, "truncated", id="truncated-sms"),
    ],
)
def test_facts(raw: bytes, fact: str) -> None:
    assert fact in only(raw).facts


def test_an_ordinary_mail_has_no_facts() -> None:
    assert only(MAIL + b"\nx").facts == ()


@pytest.mark.parametrize(
    ("raw", "bodies"),
    [
        pytest.param(
            MAIL + b'Content-Type: multipart/mixed; boundary=a; boundary="b"\n\n--a\n\none\n--b\n\ntwo\n',
            {"one\n--b\ntwo", "two"},
            id="boundary-twice",
        ),
        pytest.param(
            MAIL + b"Content-Type: text/plain\nContent-Type: text/html\n\n<b>x</b>",
            {"<b>x</b>", "x"},
            id="type-twice",
        ),
        pytest.param(
            MAIL + b"Content-Transfer-Encoding: 7bit\nContent-Transfer-Encoding: base64\n\naGVsbG8=",
            {"aGVsbG8=", "hello"},
            id="encoding-twice",
        ),
    ],
)
def test_contradictions_are_read_every_way(raw: bytes, bodies: set[str]) -> None:
    texts = read(Message(raw))
    assert {text.body for text in texts} == bodies
    assert all("ambiguous" in text.facts for text in texts)


def test_a_contradiction_without_effect_is_one_reading() -> None:
    assert only(MAIL + b"Content-Type: text/plain\nContent-Type: text/x\n\nhello").facts == ()


PIECES = st.lists(
    st.one_of(
        st.binary(max_size=40),
        st.sampled_from(
            [
                b"\n",
                b"\r\n\r\n",
                b"\n\n",
                b"From: a@b\n",
                b"Subject: ",
                b"=?utf-8?b?",
                b"?=",
                b"Content-Type: ",
                b"multipart/mixed; boundary=b",
                b"text/html",
                b"; charset=",
                b"utf-16",
                b"utf-7",
                b"--b\n",
                b"--b--\n",
                b"Content-Transfer-Encoding: base64\n",
                b"boundary=c",
                b"message/rfc822\n\n",
                b'<p style="',
                b"<!--",
                b"begin 644 x\n",
                "аb".encode(),
                b"\xff\xfe",
                b"\x1b$B",
                b"http://",
                b"a b c d ",
                b"(",
                b'"',
            ]
        ),
    ),
    max_size=25,
).map(b"".join)


@settings(max_examples=500, deadline=None)
@given(PIECES, st.sampled_from([None, *Kind]))
def test_any_bytes_are_read_the_same_way_twice_and_bounded(raw: bytes, kind: Kind | None) -> None:
    texts = read(Message(raw, kind=kind))
    assert 1 <= len(texts) <= MAX_READINGS
    assert texts == read(Message(raw, kind=kind))
    for text in texts:
        assert len(text.subject) <= MAX_SUBJECT
        assert len(text.body) <= MAX_BODY
        assert len(text.facts) <= 20
        text.canonical.encode()


@given(st.lists(st.integers(0, 50256), max_size=300), st.integers(1, 40), st.integers(1, 6))
def test_windows(ids: list[int], size: int, limit: int) -> None:
    cut = windows(ids, size, limit)
    assert 1 <= len(cut) <= limit
    assert all(len(window) <= size for window in cut)
    assert cut[0] == ids[:size]
    if len(cut) > 1:
        assert cut[-1] == ids[-size:]
        assert all(len(window) == size for window in cut)
    if len(ids) <= size * limit:
        covered = {
            position
            for i, w in enumerate(cut)
            for position in range(starts(ids, cut)[i], starts(ids, cut)[i] + len(w))
        }
        assert covered == set(range(len(ids)))


def starts(ids: list[int], cut: list[list[int]]) -> list[int]:
    last = len(ids) - len(cut[0])
    return [last * i // max(len(cut) - 1, 1) for i in range(len(cut))]


def test_windows_of_nothing() -> None:
    assert windows([], 8, 3) == [[]]


def test_a_long_sms_is_seen_in_pieces_as_well() -> None:
    ids = list(range(130))
    whole, *parts = windows(ids, 200, 3, Kind.SMS)
    assert whole == ids
    assert [part[0] for part in parts] == [0, 27, 54, 82]
    assert {len(part) for part in parts} == {SMS_PIECE}
    assert windows(ids, 200, 3, Kind.MAIL) == [ids]
    assert windows(ids[:LONG_SMS], 200, 3, Kind.SMS) == [ids[:LONG_SMS]]
    assert len(windows(list(range(5000)), 128, 3, Kind.SMS)) == 3 + MAX_SMS_PIECES


def test_windows_are_spread_evenly() -> None:
    assert [window[0] for window in windows(list(range(100)), 10, 4)] == [0, 30, 60, 90]


MIB = 1 << 20


def html(body: bytes) -> bytes:
    return MAIL + b"Content-Type: text/html\n\n" + body[:MIB]


def nested(depth: int) -> bytes:
    levels = (b"--b%d\nContent-Type: multipart/mixed; boundary=b%d\n\n" % (i, i + 1) for i in range(depth))
    return MAIL + b"Content-Type: multipart/mixed; boundary=b0\n\n" + b"".join(levels) + b"deep text\n"


def numbered(form: bytes, count: int) -> bytes:
    return b"".join(form % i for i in range(count))


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda: nested(2_000), id="nested-parts"),
        pytest.param(lambda: b"Subject: x\nContent-Type: message/rfc822\n\n" * 25_000, id="nested-mails"),
        pytest.param(
            lambda: MAIL + b"Subject: " + b"=?utf-8?q?=41?= " * 60_000 + b"\n\nx", id="encoded-words"
        ),
        pytest.param(lambda: MAIL + b"Content-Type: " + b"(" * MIB + b"\n\nx", id="deep-comments"),
        pytest.param(
            lambda: MAIL + b"Content-Type: text/plain" + b'; a="\\' * 200_000 + b"\n\nx", id="parameters"
        ),
        pytest.param(lambda: MAIL + b"a:\n" * (MIB // 3) + b"\nx", id="headers"),
        pytest.param(
            lambda: MAIL + b"Content-Type: multipart/mixed; boundary=b\n\n" + b"--b\n" * 260_000, id="parts"
        ),
        pytest.param(lambda: html(b"<div>" * 50_000), id="nested-div"),
        pytest.param(
            lambda: html(b"<p>" + numbered(b"<font color=%d>", 60) + b"<p>x" * 3_900), id="cloned-fonts"
        ),
        pytest.param(lambda: html(b"<p " + numbered(b"a%d=1 ", 100_000) + b">x"), id="attributes"),
        pytest.param(lambda: html(b"<p " + numbered(b"a%d='>' ", 80_000) + b">x"), id="quoted-attributes"),
        pytest.param(lambda: html(b"<table><tr><td>x" * 60_000), id="tables"),
        pytest.param(lambda: html(b"<" * MIB), id="brackets"),
        pytest.param(lambda: html(b"<script>" * 130_000), id="scripts"),
        pytest.param(lambda: html(b"<style>" + b"@a{" * 50_000 + b"</style>x"), id="style-sheets"),
        pytest.param(lambda: html(b"&" * MIB), id="entities"),
        pytest.param(
            lambda: MAIL + b"Content-Transfer-Encoding: base64\n\n" + b"QQ==" * (MIB // 4), id="paddings"
        ),
        pytest.param(lambda: MAIL + b"\n" + b"begin 644 x\n" * 80_000, id="uuencode"),
        pytest.param(lambda: MAIL + b"\n" + b" \t" * (MIB // 2) + b"x", id="blanks"),
        pytest.param(lambda: MAIL + b"\n" + b"a-" * (MIB // 2) + b"#", id="spaced-out"),
        pytest.param(lambda: MAIL + b"\n" + b"http://" * (MIB // 7), id="addresses"),
        pytest.param(lambda: MAIL + b"\n" + ("a" + "\u0301\u0327" * 250_000).encode(), id="marks"),
        pytest.param(lambda: MAIL + b"\n" + "\ufdfa".encode() * 300_000, id="ligatures"),
        pytest.param(lambda: MAIL + b"\n" + "vіаgrа ".encode() * 100_000, id="look-alikes"),
        pytest.param(
            lambda: MAIL + b"Content-Type: text/plain; charset=utf-7\n\n" + b"+AGE-" * 200_000, id="utf-7"
        ),
        pytest.param(lambda: MAIL + b"\n" + b"\0" * MIB, id="nul"),
        pytest.param(lambda: MAIL + b"\n" + b"hello world\n" * (50 * MIB // 12), id="50-mb"),
    ],
)
def test_hostile_mail_is_read_in_bounded_time(make: Callable[[], bytes]) -> None:
    raw = make()
    started = time.process_time()
    texts = read(Message(raw, kind=Kind.MAIL))
    assert time.process_time() - started < PATIENCE_S
    assert all(len(text.canonical) <= MAX_BODY + MAX_SUBJECT + 2 for text in texts)


UCI = Path(__file__).resolve().parents[3].parent / "shared" / "data" / "sms_uci" / "SMSSpamCollection"


@pytest.mark.shared
def test_real_sms_are_sms_and_nearly_as_typed() -> None:
    if not UCI.exists():
        pytest.skip("needs ../shared/data/sms_uci")
    texts = [line.split("\t", 1)[1] for line in UCI.read_text("utf-8").split("\n") if line]
    assert all(detect(text.encode()) is Kind.SMS for text in texts)
    kept = sum(of_sms(text).body == text for text in texts)
    assert kept / len(texts) > 0.7
