"""Bounds of a connection, and HTTP that is none."""

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filterd_plugins.sms.gateways import Answer, Refused
from filterd_plugins.sms.session import MAX_BODY_BYTES, MAX_HEAD_BYTES, Session
from tests.plugins.sms.conversation import Dialog, converse, plugin

HEAD = b"POST /twilio HTTP/1.1\r\nHost: a\r\n"


def refused(raw: bytes, piece: int = 4096) -> Answer:
    session = Session()
    for start in range(0, len(raw), piece):
        session.feed(raw[start : start + piece])
        try:
            assert session.request() is None
        except Refused as error:
            assert session.answer(error.answer).startswith(b"HTTP/1.1 %d " % error.answer.status)
            assert session.over
            return error.answer
    raise AssertionError("not refused")


@pytest.mark.parametrize("piece", [1, 4096, 1 << 20])
@pytest.mark.parametrize(
    ("raw", "status"),
    [
        pytest.param(b"hello\r\n\r\n", 400, id="no HTTP"),
        pytest.param(b"GET / HTTP/1.1\r\n\r\n", 400, id="no host"),
        pytest.param(b"GET /" + b"x" * (MAX_HEAD_BYTES + 1), 431, id="endless line"),
        pytest.param(HEAD + b"X: y\r\n" * MAX_HEAD_BYTES, 431, id="endless headers"),
        pytest.param(HEAD + b"Content-Length: -1\r\n\r\n", 400, id="negative length"),
        pytest.param(HEAD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n", 400, id="two lengths"),
        pytest.param(HEAD + b"Transfer-Encoding: gzip\r\n\r\n", 501, id="another coding"),
        pytest.param(HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", 400, id="no chunk"),
        pytest.param(
            HEAD + b"Content-Length: 99999999\r\n\r\n" + b"x" * (MAX_BODY_BYTES + 1), 413, id="large body"
        ),
        pytest.param(
            HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"1000\r\n" + b"x" * 4096 + b"\r\n", 0, id="chunks"
        ),
    ],
)
def test_bounds(raw: bytes, status: int, piece: int) -> None:
    if not status:
        raw, status = raw + (b"1000\r\n" + b"x" * 4096 + b"\r\n") * 20, 413
    assert refused(raw, piece).status == status


def test_the_largest_body_is_taken() -> None:
    session = Session()
    session.feed(HEAD + b"Content-Length: %d\r\n\r\n" % MAX_BODY_BYTES + b"x" * MAX_BODY_BYTES)
    found = session.request()
    assert found
    assert len(found.body) == MAX_BODY_BYTES


async def test_a_head_has_no_body(tmp_path: Path) -> None:
    sms, _ = plugin(tmp_path, Dialog())
    out, over = await converse(sms, [b"HEAD /kannel HTTP/1.1\r\nHost: a\r\n\r\n"])
    assert out.endswith(b"\r\n\r\n")
    assert not over


async def test_an_end_in_the_middle_is_an_end(tmp_path: Path) -> None:
    sms, classifier = plugin(tmp_path, Dialog())
    whole = b"GET /kannel?secret=s%23cret&text=hi HTTP/1.1\r\nHost: a\r\n\r\n"
    for cut in range(len(whole)):
        out, over = await converse(sms, [whole[:cut], b""])
        assert over
        assert not out or out.startswith(b"HTTP/1.1 400")
    assert classifier.seen == []


@given(st.binary(max_size=200), st.lists(st.integers(0, 200)))
def test_whatever_comes_in_means_the_same_in_any_pieces(raw: bytes, cuts: list[int]) -> None:
    raw = b"GET /kannel HTTP/1.1\r\nHost: a\r\n" + raw
    edges = [0, *sorted(min(cut, len(raw)) for cut in cuts), len(raw)]
    assert outcome([raw]) == outcome([raw[a:b] for a, b in pairwise(edges) if a < b])


def outcome(pieces: list[bytes]) -> tuple[object, ...]:
    session = Session()
    for piece in pieces:
        session.feed(piece)
        try:
            if found := session.request():
                return ("request", found.body if found.body else b"", found.headers.get("host"))
        except Refused as error:
            return ("refused", error.answer.status)
    return ("waits",)
