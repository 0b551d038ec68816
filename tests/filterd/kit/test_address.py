"""Addresses, and who is in which network."""

from pathlib import Path

import pytest

from filterd.errors import ConfigError
from filterd.kit.address import (
    Address,
    Systemd,
    Tcp,
    Unix,
    is_in,
    parse_address,
    parse_ip,
    parse_networks,
    peer_address,
)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("unix:/run/filterd/spamd.sock", Unix(Path("/run/filterd/spamd.sock"))),
        ("tcp:127.0.0.1:783", Tcp("127.0.0.1", 783)),
        ("tcp:localhost:0", Tcp("localhost", 0)),
        ("tcp:[::1]:783", Tcp("::1", 783)),
        ("tcp:[fe80::1%eth0]:783", Tcp("fe80::1%eth0", 783)),
        ("systemd:spamd", Systemd("spamd")),
    ],
)
def test_addresses(text: str, address: Address) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/run/x.sock",
        "unix:x.sock",
        "unix:",
        "unix:/a\0b",
        "unix:/" + "x" * 103,
        "tcp:783",
        "tcp::783",
        "tcp:*:783",
        "tcp:::1:783",
        "tcp:localhost:65536",
        "tcp:localhost:http",
        "tcp:localhost",
        "systemd:",
        "systemd:a:b",
        "udp:127.0.0.1:1",
    ],
)
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(ConfigError, match=r"address|bytes at most"):
        parse_address(text)


@pytest.mark.parametrize("text", ["systemd:x", "tcp:h:0", "x", "unix:x"])
def test_where_nobody_can_listen_for_us(text: str) -> None:
    for unix in (True, False):
        with pytest.raises(ConfigError, match="is no address; write tcp:127"):
            peer_address(text, unix=unix)


def test_a_peer() -> None:
    assert peer_address("tcp:[::1]:25") == Tcp("::1", 25)
    assert peer_address("unix:/run/x") == Unix(Path("/run/x"))
    with pytest.raises(ConfigError, match="a unix socket is for LMTP alone"):
        peer_address("unix:/run/x", unix=False)


@pytest.mark.parametrize(
    ("text", "inside"),
    [
        ("192.0.2.9", True),
        ("::ffff:192.0.2.9", True),
        ("fe80::1%eth0", True),
        ("198.51.100.1", False),
        ("2001:db8::1", False),
    ],
)
def test_networks(text: str, inside: bool) -> None:
    assert is_in(parse_ip(text), parse_networks("trusted", ("192.0.2.0/24", "fe80::/10"))) is inside


def test_what_is_no_network_is_said_with_its_key() -> None:
    with pytest.raises(ValueError, match=r"trusted: 192\.0\.2\.1/24 has host bits set; write"):
        parse_networks("trusted", ("192.0.2.1/24",))
    with pytest.raises(ValueError, match="address"):
        parse_ip("client.example.net")
