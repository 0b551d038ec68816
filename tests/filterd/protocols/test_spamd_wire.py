"""spamd requests from bytes, whole, in pieces, and built to hurt."""

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filterd.errors import BadInput, FilterdError
from filterd.protocols.spamd import wire
from filterd.protocols.spamd.wire import CompressionError, SpamdCommand, SpamdError, SpamdParser, SpamdRequest
from tests.filterd.protocols.fakes import HAM, SPAM

PACKED = zlib.compress(HAM)


def parsed(pieces: list[bytes], *, end: bool = True, max_bytes: int = 1000) -> SpamdRequest | None:
    parser = SpamdParser(max_bytes)
    for piece in pieces:
        parser.feed(piece)
    if end and parser.request is None:
        parser.end()
    return parser.request


def outcome(pieces: list[bytes], *, end: bool = True, max_bytes: int = 1000) -> object:
    """The request or the error's text: what must not depend on how the bytes were cut."""
    try:
        return parsed(pieces, end=end, max_bytes=max_bytes)
    except FilterdError as error:
        return type(error), str(error)


def head(command: str, version: str, *headers: str) -> bytes:
    return "\r\n".join([f"{command} SPAMC/{version}", *headers, "", ""]).encode()


REQUESTS = [
    pytest.param(head("CHECK", "1.2", f"Content-length: {len(HAM)}") + HAM, id="check"),
    pytest.param(head("REPORT", "1.2", "User: x", f"Content-length: {len(HAM)}") + HAM, id="exim"),
    pytest.param(head("PROCESS", "1.5") + HAM, id="until-half-close"),
    pytest.param(b"CHECK SPAMC/1.0\r\n" + HAM, id="old-without-headers"),
    pytest.param(b"PING SPAMC/1.2\r\n", id="ping-old"),
    pytest.param(b"PING SPAMC/1.2", id="ping-without-line-end"),
    pytest.param(head("PING", "1.5"), id="ping"),
    pytest.param(head("SKIP", "1.5"), id="skip"),
    pytest.param(head("HEADERS", "1.5").replace(b"\r", b"") + HAM, id="bare-lf"),
    pytest.param(head("TELL", "1.3", "Message-class: spam", "Set: local, remote") + SPAM, id="tell"),
    pytest.param(head("TELL", "1.3", "Remove: local") + SPAM, id="forget"),
    pytest.param(
        head("SYMBOLS", "1.5", "Compress: zlib", f"Content-length: {len(PACKED)}") + PACKED, id="zlib"
    ),
    pytest.param(head("CHECK", "1.5", "Content-length: 0"), id="empty"),
    pytest.param(head("CHECK", "1.5", "Content-length: 10") + b"123456789\nand more", id="more-after-a-line"),
    pytest.param(head("CHECK", "1.5", "Content-length: 5") + b"123456", id="more-inside-a-line"),
    pytest.param(head("CHECK", "1.5", "Content-length: 7") + b"123456", id="less"),
    pytest.param(head("CHECK", "1.5", "nonsense"), id="no-colon"),
    pytest.param(b"GET / HTTP/1.1\r\n\r\n", id="http"),
    pytest.param(head("CHECK", "1.5", "Content-length: 1500") + b"x" * 1500, id="over-the-cap"),
    pytest.param(head("PROCESS", "1.5") + b"x" * 1001, id="over-the-cap-whole"),
]


@pytest.mark.parametrize("data", REQUESTS)
@pytest.mark.parametrize("end", [True, False], ids=["half-close", "open"])
def test_where_the_bytes_are_cut_does_not_matter(data: bytes, end: bool) -> None:
    whole = outcome([data], end=end)
    assert outcome([data[i : i + 1] for i in range(len(data))], end=end) == whole
    for i in range(min(len(data), 200) + 1):
        assert outcome([data[:i], data[i:]], end=end) == whole, i


def test_what_a_request_says() -> None:
    asked = parsed([head("TELL", "1.4", "User: ann", "Message-class: SPAM", "Set: local, remote") + SPAM])
    assert asked == SpamdRequest(
        SpamdCommand.TELL, 1.4, "ann", "spam", frozenset({"local", "remote"}), body=SPAM
    )


@pytest.mark.parametrize(
    ("data", "body"),
    [
        pytest.param(b"CHECK SPAMC/1.0\r\nContent-length: 3\r\n\r\n", b"Content-length: 3\r\n\r\n", id="1.0"),
        pytest.param(b"CHECK SPAMC/1.1\r\n\r\nx", b"x", id="1.1"),
        pytest.param(b"CHECK SPAMC/what\r\nx", b"x", id="no-number-is-old"),
        pytest.param(b"CHECK SPAMC/1.5\r\nContent-Length: 1\r\n\r\nxyz", b"xyz", id="other-case-is-ignored"),
        pytest.param(b"CHECK SPAMC/1.5\r\nX-New: y\r\n\r\nxyz", b"xyz", id="unknown-header"),
        pytest.param(b"CHECK SPAMC/1.5\r\nContent-length: 4\r\n\r\nxyz\nmore", b"xyz\n", id="surplus"),
        pytest.param(b"CHECK SPAMC/1.5\r\nContent-length: 0\r\n\r\nxyz", b"", id="surplus-to-nothing"),
    ],
)
def test_bodies(data: bytes, body: bytes) -> None:
    request = parsed([data])
    assert request is not None
    assert request.body == body


@pytest.mark.parametrize(
    ("data", "kind", "says"),
    [
        pytest.param(b"", SpamdError, "closed before headers", id="nothing"),
        pytest.param(b"check SPAMC/1.5\r\n", SpamdError, "check SPAMC", id="lower-case"),
        pytest.param(b"EVAL SPAMC/1.5\r\n", SpamdError, "EVAL", id="unknown-command"),
        pytest.param(b"\xff\xfe\x00\r\n", SpamdError, "?", id="binary"),
        pytest.param(b"CHECK SPAMC/1.5\r\nUser: x\r\n", SpamdError, "EOF during headers", id="cut"),
        pytest.param(b"PING SPAMC/1.5\r\n", SpamdError, "EOF during headers", id="ping-cut"),
        pytest.param(head("CHECK", "1.5", "Content-length: -5"), SpamdError, "non-numeric", id="negative"),
        pytest.param(head("CHECK", "1.5", "Content-length: "), SpamdError, "non-numeric", id="no-length"),
        pytest.param(
            head("CHECK", "1.5", "Content-length: " + "9" * 4000), SpamdError, "numeric", id="4000-digits"
        ),
        pytest.param(
            head("PROCESS", "1.5", "Content-length: 999999999999999999"), BadInput, "over 1000", id="huge"
        ),
        pytest.param(head("TELL", "1.5", "Content-length: 1001"), BadInput, "over 1000", id="tell-large"),
        pytest.param(head("TELL", "1.5") + b"x" * 1001, BadInput, "over 1000", id="tell-endless"),
        pytest.param(
            head("CHECK", "1.5", "Compress: zlib", "Content-length: 1001"), BadInput, "1000", id="zlib-large"
        ),
        pytest.param(head("CHECK", "1.5", "User: a\x01b"), SpamdError, "control", id="control"),
        pytest.param(head("TELL", "1.5", "Message-class: x"), SpamdError, "invalid class", id="class"),
        pytest.param(head("CHECK", "1.5", "Compress: gzip"), SpamdError, "supported: gzip", id="gzip"),
        pytest.param(head("CHECK", "1.5", "Compress: zlib"), CompressionError, "Content-length", id="zlib"),
        pytest.param(head("CHECK", "1.5", *["X: y"] * 256), SpamdError, "too many", id="many-headers"),
        pytest.param(b"CHECK SPAMC/1.5\r\nX: " + b"y" * 5000, SpamdError, "line over", id="endless-line"),
        pytest.param(b"C" * 5000, SpamdError, "line over", id="endless-request"),
    ],
)
def test_errors(data: bytes, kind: type[FilterdError], says: str) -> None:
    with pytest.raises(kind, match=".*" + says.replace("?", r"\?")):
        parsed([data])


def test_255_headers_are_taken() -> None:
    assert parsed([head("CHECK", "1.5", *["X: y"] * 255)]) == SpamdRequest(SpamdCommand.CHECK, 1.5)


@pytest.mark.parametrize("headers", [(), ("Content-length: 5000",)], ids=["open-end", "length"])
def test_a_large_mail_is_judged_by_its_first_part(headers: tuple[str, ...]) -> None:
    request = parsed([head("CHECK", "1.5", *headers), *[b"abcde"] * 1000])
    assert request is not None
    assert request.truncated
    assert request.body == b"abcde" * 200


def zlib_request(body: bytes, command: SpamdCommand = SpamdCommand.CHECK) -> SpamdRequest:
    return SpamdRequest(command, 1.5, compressed=True, length=len(body), body=body)


def test_inflating() -> None:
    found = wire.inflated(zlib_request(PACKED), 1000)
    assert (found.body, found.truncated, found.compressed) == (HAM, False, False)
    exact = wire.inflated(zlib_request(zlib.compress(b"x" * 1000), SpamdCommand.PROCESS), 1000)
    assert (exact.body, exact.truncated) == (b"x" * 1000, False)


@pytest.mark.parametrize("cut", [1, 4, 10])
def test_a_cut_stream_is_refused(cut: int) -> None:
    with pytest.raises(CompressionError, match="end of zlib stream"):
        wire.inflated(zlib_request(PACKED[:-cut]))
    with pytest.raises(CompressionError, match="not a zlib stream"):
        wire.inflated(zlib_request(b"!" + PACKED))


def test_a_bomb_stays_small() -> None:
    bomb = zlib.compress(bytes(30_000_000), 9)
    found = wire.inflated(zlib_request(bomb), 1000)
    assert found.truncated
    assert len(found.body) == 1000
    with pytest.raises(BadInput, match="over 1000 bytes"):
        wire.inflated(zlib_request(bomb, SpamdCommand.PROCESS), 1000)


HEADS = st.sampled_from([b"CHECK SPAMC/1.5\r\n", b"TELL SPAMC/1.3\n", b"PING SPAMC/1.5\r\n", b""])
PARTS = st.sampled_from([b"Content-length: ", b"Compress: zlib", b"\r\n", b"\n", b": ", b"3", b"\x00", b"ab"])


@given(HEADS, st.lists(PARTS | st.binary(max_size=20), max_size=12), st.integers(1, 7))
def test_anything_at_all(start: bytes, parts: list[bytes], size: int) -> None:
    data = start + b"".join(parts)
    pieces = [data[i : i + size] for i in range(0, len(data), size)]
    assert outcome(pieces, max_bytes=20) == outcome([data], max_bytes=20)
