"""Bytes: dots, newlines, lines, commands and replies, whole and split anywhere."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filterd_plugins.smtp_proxy import wire
from filterd_plugins.smtp_proxy.wire import (
    BadReply,
    BadSyntax,
    BareNewline,
    DataParser,
    LineParser,
    LineTooLong,
    MessageProblem,
    Reply,
    ReplyParser,
    SmtpCommand,
    WireError,
)

# What tells parsers apart: newlines, dots, and something between them.
BITS = st.lists(
    st.sampled_from([b"\r\n", b"\r", b"\n", b".", b"..", b"a", b"\r\n.", b"\0", b"\xff"]), max_size=24
)
LINES = st.lists(st.sampled_from([b"", b".", b"..", b".a", b"a.", b"a", b"\xff\0", b"x" * 1500]), max_size=8)
BARE = re.compile(rb"(?<!\r)\n|\r(?!\n)")


def parse(data: bytes, pieces: int, max_bytes: int = 1 << 20) -> tuple[DataParser, bytes | None]:
    parser = DataParser(max_bytes)
    for i in range(0, len(data), pieces):
        rest = parser.feed(data[i : i + pieces])
        if rest is not None:
            return parser, rest + data[i + pieces :]
    return parser, None


def content_of(lines: list[bytes]) -> bytes:
    return b"".join(line + b"\r\n" for line in lines)


@given(LINES, st.binary(max_size=8))
def test_a_message_comes_out_as_it_went_in(lines: list[bytes], after: bytes) -> None:
    content = content_of(lines)
    sent = wire.stuff(content)
    for pieces in {1, 2, 3, 7, len(sent) + len(after) + 1}:
        parser, rest = parse(sent + after, pieces)
        assert (parser.content, rest, parser.problem) == (content, after, None)


@given(LINES)
def test_nothing_inside_a_message_is_its_end(lines: list[bytes]) -> None:
    sent = wire.stuff(content_of(lines))
    assert sent.find(b"\r\n.\r\n") in {-1, len(sent) - 5}
    assert sent.endswith(b"\r\n.\r\n") or sent == b".\r\n"


@given(BITS)
def test_bare_newlines_are_found_wherever_the_input_is_split(bits: list[bytes]) -> None:
    data = b"".join(bits) + b"\r\n.\r\n"
    end = (b"\r\n" + data).find(b"\r\n.\r\n")
    content = data[:end]
    for pieces in range(1, len(data) + 1):
        parser, rest = parse(data, pieces)
        assert rest == data[end + 3 :], "only CR LF . CR LF ends it"
        assert (parser.problem is MessageProblem.BARE_NEWLINE) is bool(BARE.search(content)), pieces


@given(BITS)
def test_what_others_take_for_an_end_is_noticed(bits: list[bytes]) -> None:
    data = b"".join(bits)
    if b"\r\n.\r\n" in b"\r\n" + data or data.endswith(b"\r"):
        return
    normal = re.sub(rb"\r\n|\r|\n", b"\n", b"\r\n" + data)
    for pieces in {1, 2, 5, len(data) + 1}:
        parser, _ = parse(data, pieces)
        assert parser.loose_end is (b"\n.\n" in normal), pieces


@pytest.mark.parametrize(
    ("size", "pieces"), [(9, 1), (10, 1), (11, 1), (10, 4), (11, 4), (10, 1 << 20), (500_000, 1 << 10)]
)
def test_a_message_over_the_limit_is_read_to_its_end_and_not_kept(size: int, pieces: int) -> None:
    parser, rest = parse(b"x" * (size - 2) + b"\r\n.\r\nQUIT\r\n", pieces, max_bytes=10)
    assert rest == b"QUIT\r\n"
    assert parser.problem is (MessageProblem.TOO_LARGE if size > 10 else None)
    assert len(parser.content) == (0 if size > 10 else size)
    assert len(parser._data) == 0


def test_a_refused_message_takes_no_memory() -> None:
    parser = DataParser(10)
    for _ in range(100):
        assert parser.feed(b"x" * 1000) is None
        assert len(parser._data) <= 10


@given(BITS)
def test_command_lines_are_the_same_however_they_come(bits: list[bytes]) -> None:
    data = b"".join(bits)

    def lines(pieces: int) -> list[object]:
        parser, found = LineParser(), list[object]()
        for i in range(0, len(data), pieces):
            parser.feed(data[i : i + pieces])
            while True:
                try:
                    line = parser.next()
                except WireError as error:
                    found.append(type(error))
                    if type(error) is BareNewline:
                        return found
                    continue
                if line is None:
                    break
                found.append(line)
        return found

    whole = lines(len(data) + 1)
    assert all(lines(pieces) == whole for pieces in range(1, len(data)))
    assert not any(isinstance(line, bytes) and BARE.search(line) for line in whole)


@pytest.mark.parametrize("pieces", [1, 1000, 1 << 20])
def test_a_long_line_is_read_to_its_end(pieces: int) -> None:
    parser, found = LineParser(), list[object]()
    data = b"NOOP " + b"x" * 10_000 + b"\r\nQUIT\r\n"
    for i in range(0, len(data), pieces):
        parser.feed(data[i : i + pieces])
        try:
            while (line := parser.next()) is not None:
                found.append(line)
        except LineTooLong:
            found.append(LineTooLong)
        assert len(parser._buffer) <= wire.MAX_COMMAND_BYTES + pieces
    while (line := parser.next()) is not None:
        found.append(line)
    assert found == [LineTooLong, b"QUIT"]


@pytest.mark.parametrize(
    ("line", "command"),
    [
        pytest.param(b"QUIT", SmtpCommand("QUIT"), id="bare"),
        pytest.param(b"quit  ", SmtpCommand("QUIT"), id="blanks behind"),
        pytest.param(b"Mail FROM:<>", SmtpCommand("MAIL", b"FROM:<>"), id="mixed case"),
        pytest.param(b"NOOP \xff", SmtpCommand("NOOP", b"\xff"), id="8 bits"),
        pytest.param(b"", None, id="empty"),
        pytest.param(b" QUIT", None, id="blank first"),
        pytest.param(b"QU\0IT", None, id="NUL"),
        pytest.param(b"NOOP a\0b", None, id="NUL in the argument"),
        pytest.param(b"\x16\x03\x01\x02", None, id="a TLS handshake in the clear"),
    ],
)
def test_commands(line: bytes, command: SmtpCommand | None) -> None:
    if command:
        assert wire.parse_command(line) == command
        return
    with pytest.raises(WireError):
        wire.parse_command(line)


@pytest.mark.parametrize(
    ("argument", "address", "parameters"),
    [
        pytest.param(b"FROM:<>", b"", {}, id="nobody"),
        pytest.param(b"from: <a@b>", b"a@b", {}, id="a blank, as many send it"),
        pytest.param(b"FROM:a@b SIZE=1", b"a@b", {"SIZE": b"1"}, id="without brackets"),
        pytest.param(b"FROM:<@x,@y:a@b>", b"a@b", {}, id="source route"),
        pytest.param(b'FROM:<"a > b"@c> SMTPUTF8', b'"a > b"@c', {"SMTPUTF8": None}, id="quoted"),
        pytest.param(b'FROM:<"a\\" b"@c>', b'"a\\" b"@c', {}, id="quoted quote"),
        pytest.param(b"FROM:<a@[IPv6:2001:db8::1]>", b"a@[IPv6:2001:db8::1]", {}, id="literal"),
        pytest.param(b"FROM:<a@b> ret=FULL  ENVID=x=y", b"a@b", {"RET": b"FULL", "ENVID": b"x=y"}, id="DSN"),
        pytest.param("FROM:<ü@b>".encode(), "ü@b".encode(), {}, id="UTF-8"),
    ],
)
def test_envelopes(argument: bytes, address: bytes, parameters: dict[str, bytes | None]) -> None:
    found = wire.parse_envelope(argument, b"FROM")
    assert (found.address, found.parameters) == (address, parameters)
    assert wire.parse_envelope(found.encode(b"FROM"), b"FROM") == found


@pytest.mark.parametrize(
    "argument",
    [
        *(b"", b"FROM", b"FROM:", b"TO:<a@b>", b"FROM:<a@b", b"FROM:<a b@c>", b"FROM:<a>b>", b"FROM:<a@b>x"),
        *(b"FROM:<a@b> =", b"FROM:<a@b> SIZE=", b"FROM:<a@b> SIZE=1 size=2", b"FROM:<a\x01@b>"),
        *(b'FROM:<"a@b>', b"FROM:<a@b> -X", b"FROM:<<a@b>>"),
    ],
)
def test_envelopes_that_are_none(argument: bytes) -> None:
    with pytest.raises(BadSyntax):
        wire.parse_envelope(argument, b"FROM")


@given(st.binary(max_size=60))
def test_no_envelope_brings_its_own_line_or_brackets(argument: bytes) -> None:
    try:
        found = wire.parse_envelope(b"TO:" + argument, b"TO")
    except BadSyntax:
        return
    assert not re.search(rb"[\x00-\x1f\x7f]", found.encode(b"TO"))
    assert wire.parse_envelope(found.encode(b"TO"), b"TO") == found


REPLIES = b"220 hi\r\n250-one\r\n250-two \r\n250 three\r\n354\r\n550 5.1.1 \xfc\x00\x07\r\n"


@pytest.mark.parametrize("pieces", [*range(1, 12), len(REPLIES)])
def test_replies(pieces: int) -> None:
    parser, found = ReplyParser(), list[Reply]()
    for i in range(0, len(REPLIES), pieces):
        parser.feed(REPLIES[i : i + pieces])
        while reply := parser.next():
            found.append(reply)
    assert found == [
        Reply(220, (b"hi",)),
        Reply(250, (b"one", b"two ", b"three")),
        Reply(354, (b"",)),
        Reply(550, (b"5.1.1 \xfc??",)),
    ]
    assert not parser.pending
    assert found[1].encode() == b"250-one\r\n250-two \r\n250 three\r\n"


@pytest.mark.parametrize(
    "said",
    [
        pytest.param(b"HTTP/1.1 400 Bad\r\n", id="another protocol"),
        pytest.param(b"1234\r\n", id="four digits"),
        pytest.param(b"150 no such class\r\n", id="1xx"),
        pytest.param(b"250-a\r\n251 b\r\n", id="two codes"),
        pytest.param(b"250-a\r\n" * 201, id="without an end"),
        pytest.param(b"250 " + b"x" * 5000, id="a line without an end"),
        pytest.param(b"250 " + b"x" * 5000 + b"\r\n", id="a long line"),
    ],
)
def test_replies_that_are_none(said: bytes) -> None:
    parser = ReplyParser()
    parser.feed(said)
    with pytest.raises(BadReply):
        while parser.next():
            pass


def test_a_line_of_a_megabyte_is_a_line() -> None:
    content = b"Subject: x\r\n\r\n" + b"y" * (1 << 20) + b"\r\n"
    parser, rest = parse(wire.stuff(content), 1 << 16, max_bytes=2 << 20)
    assert (parser.content, rest) == (content, b"")
