"""Addresses as text: where somebody listens, and the networks that somebody may come from.

unix:/run/filterd/spamd.sock
tcp:127.0.0.1:783, tcp:[::1]:783
systemd:spamd                  from a .socket unit with FileDescriptorName=spamd (sd_listen_fds(3))
"""

import contextlib
import ipaddress
import os
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from filterd.errors import ConfigError

# sun_path has 108 bytes on Linux and 104 on BSD, the closing NUL included (unix(7)).
MAX_UNIX_PATH_BYTES = 103

_TCP = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:.]+(?:%\w+)?)\]|(?P<host>[\w.-]+)):(?P<port>[0-9]{1,5})")


@dataclass(frozen=True, slots=True)
class Unix:
    """A unix socket by its path."""

    path: Path


@dataclass(frozen=True, slots=True)
class Tcp:
    """A TCP address; to listen on port 0 lets the system choose one."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Systemd:
    """The socket that systemd passes under a name."""

    name: str


Address = Unix | Tcp | Systemd
Ip = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def parse_address(text: str) -> Address:
    """An address from a configuration's `listen`. Raises ConfigError."""
    kind, _, rest = text.partition(":")
    if kind == "unix" and rest.startswith("/") and "\0" not in rest:
        if len(os.fsencode(rest)) > MAX_UNIX_PATH_BYTES:
            raise ConfigError(f"{text}: a socket's path has {MAX_UNIX_PATH_BYTES} bytes at most; shorten it")
        return Unix(Path(rest))
    if kind == "tcp" and (match := _TCP.fullmatch(rest)) and int(match["port"]) < 1 << 16:
        return Tcp(match["six"] or match["host"], int(match["port"]))
    if kind == "systemd" and rest and ":" not in rest:
        return Systemd(rest)
    raise ConfigError(
        f"{text!r} is no address; write unix:/absolute/path, tcp:127.0.0.1:783, tcp:[::1]:783 or systemd:name"
    )


def peer_address(text: str, *, unix: bool = True) -> Unix | Tcp:
    """Where somebody else listens, such as a next hop. Raises ConfigError.

    unix: whether a socket's path will do.
    """
    with contextlib.suppress(ConfigError):
        match parse_address(text):
            case Unix() as address if unix:
                return address
            case Tcp(port=port) as address if port:
                return address
    other = " or unix:/absolute/path" if unix else "; a unix socket is for LMTP alone"
    raise ConfigError(f"{text!r} is no address; write tcp:127.0.0.1:10026{other}")


def parse_ip(text: str) -> Ip:
    """An IP address without its zone; of an IPv4 one that was mapped into IPv6 itself. Raises ValueError."""
    address = ipaddress.ip_address(text.partition("%")[0])
    return getattr(address, "ipv4_mapped", None) or address


@cache
def parse_networks(key: str, given: tuple[str, ...]) -> tuple[Network, ...]:
    """The networks that a setting names. key: its name, for the ValueError that this raises."""
    try:
        return tuple(ipaddress.ip_network(one) for one in given)
    except ValueError as error:
        raise ValueError(f"{key}: {error}; write 192.0.2.0/24, 2001:db8::/32 or 192.0.2.1") from error


def is_in(address: Ip, networks: tuple[Network, ...]) -> bool:
    """Whether one of the networks has it."""
    return any(address in network for network in networks)
