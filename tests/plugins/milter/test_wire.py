"""Bytes to packets: every cut, every wrong length, and what readers make of hostile data."""

import ipaddress
import struct
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filterd_plugins.milter import wire
from filterd_plugins.milter.wire import (
    MAX_BODY_DATA,
    MAX_DATA,
    MAX_HEADER_DATA,
    MAX_STRINGS,
    Client,
    MilterCommand,
    MilterError,
    Packets,
)

LETTERS = [command.value for command in MilterCommand]


def encoded(letter: bytes, data: bytes) -> bytes:
    return struct.pack("!I", len(data) + 1) + letter + data


def everything(packets: Packets) -> list[tuple[MilterCommand, bytes]]:
    found = []
    while one := packets.next():
        found.append(one)
    return found


@given(
    st.lists(st.tuples(st.sampled_from(LETTERS), st.binary(max_size=50)), max_size=8),
    st.data(),
)
def test_packets_come_out_as_they_went_in_wherever_they_are_cut(
    said: list[tuple[bytes, bytes]], data: st.DataObject
) -> None:
    stream = b"".join(encoded(*one) for one in said)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=10)))
    packets, found = Packets(), []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        packets.feed(stream[start:end])
        found += everything(packets)
    assert found == [(MilterCommand(letter), content) for letter, content in said]
    assert len(packets) == 0


@given(st.lists(st.binary(max_size=200), max_size=10))
def test_any_bytes_are_packets_or_an_error(pieces: list[bytes]) -> None:
    packets = Packets()
    try:
        for piece in pieces:
            packets.feed(piece)
            everything(packets)
    except MilterError:
        return
    assert len(packets) <= sum(map(len, pieces))


@pytest.mark.parametrize(
    ("letter", "most"),
    [
        pytest.param(b"L", MAX_HEADER_DATA, id="header"),
        pytest.param(b"B", MAX_BODY_DATA, id="body"),
        pytest.param(b"E", MAX_BODY_DATA, id="end"),
        pytest.param(b"M", MAX_DATA, id="mail"),
        pytest.param(b"D", MAX_DATA, id="macros"),
        pytest.param(b"O", MAX_DATA, id="negotiate"),
    ],
)
def test_a_length_is_refused_before_its_bytes_are_there(letter: bytes, most: int) -> None:
    packets = Packets()
    packets.feed(struct.pack("!I", most + 1) + letter)
    assert packets.next() is None
    packets = Packets()
    packets.feed(struct.pack("!I", most + 2) + letter)
    with pytest.raises(MilterError, match="larger than any real one"):
        packets.next()


@pytest.mark.parametrize(
    "head",
    [
        pytest.param(b"\0\0\0\0Q", id="no-length"),
        pytest.param(b"\xff\xff\xff\xffQ", id="4-gigabytes"),
        pytest.param(b"\0\0\0\x01Z", id="unknown"),
        pytest.param(b"GET / HTTP/1.1\r\n", id="http"),
        pytest.param(b"EHLO client\r\n", id="smtp"),
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc", id="tls"),
    ],
)
def test_other_protocols_end_at_once(head: bytes) -> None:
    packets = Packets()
    packets.feed(head)
    with pytest.raises(MilterError):
        packets.next()


READERS: list[Callable[[bytes], object]] = [
    wire.read_client,
    wire.read_header,
    wire.read_macros,
    wire.read_offer,
    wire.read_strings,
]


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.__name__)
@given(data=st.binary(max_size=60))
def test_readers_read_or_refuse_anything(reader: Callable[[bytes], object], data: bytes) -> None:
    try:
        reader(data)
    except MilterError as error:
        assert "\n" not in str(error)


@pytest.mark.parametrize(
    ("reader", "data"),
    [
        pytest.param(wire.read_offer, b"\0\0\0\6\0\0\1\xff", id="short-offer"),
        pytest.param(wire.read_strings, b"", id="no-string"),
        pytest.param(wire.read_strings, b"<a@b>", id="string-without-end"),
        pytest.param(wire.read_strings, b"a\0" * (MAX_STRINGS + 1), id="too-many-strings"),
        pytest.param(wire.read_header, b"Subject", id="header-without-value"),
        pytest.param(wire.read_header, b"Subject\0hello", id="value-without-end"),
        pytest.param(wire.read_macros, b"", id="macros-of-nothing"),
        pytest.param(wire.read_macros, b"Mi\0", id="macro-without-value"),
        pytest.param(wire.read_client, b"", id="nobody"),
        pytest.param(wire.read_client, b"host", id="host-without-end"),
        pytest.param(wire.read_client, b"host\0", id="no-family"),
    ],
)
def test_refused(reader: Callable[[bytes], object], data: bytes) -> None:
    with pytest.raises(MilterError):
        reader(data)


@pytest.mark.parametrize(
    ("data", "client"),
    [
        (b"a.example\x004\x00\x19192.0.2.1\0", Client("a.example", ipaddress.ip_address("192.0.2.1"))),
        (b"a\x006\x00\x19IPv6:2001:db8::1\0", Client("a", ipaddress.ip_address("2001:db8::1"))),
        (b"a\x006\x00\x19::ffff:192.0.2.1\0", Client("a", ipaddress.ip_address("192.0.2.1"))),
        (b"a\x004\x00\x19192.0.2.1", Client("a", ipaddress.ip_address("192.0.2.1"))),
        (b"localhost\0L\0\0/run/x\0", Client("localhost", local=True)),
        (b"unknown\0U", Client("unknown")),
        (b"a\x004\x00\x19999.0.2.1\0", Client("a")),
    ],
)
def test_clients(data: bytes, client: Client) -> None:
    assert wire.read_client(data) == client


def test_macro_names_lose_their_braces() -> None:
    assert wire.read_macros(b"Mi\x00ABC\0{auth_authen}\0ann\0") == (b"M", {"i": "ABC", "auth_authen": "ann"})
    assert wire.read_macros(b"E") == (b"E", {})


def test_a_reply_cannot_become_two() -> None:
    assert wire.reply("550 5.7.1 a\0b") == encoded(b"y", b"550 5.7.1 a?b\0")
    assert wire.insert_header(0, "X-Ä", "ü") == encoded(b"i", b"\0\0\0\0X-?\0?\0")
