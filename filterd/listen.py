"""Where a service listens: the socket behind an address.

A unix socket gets an explicit file mode, and a dead one in its place is replaced. Sockets of systemd stay
systemd's: their files are neither made nor removed here.
"""

import os
import pwd
import socket
import stat
import struct
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from filterd.errors import ConfigError
from filterd.kit.address import Systemd, Tcp, Unix, parse_address

if TYPE_CHECKING:  # asyncio takes 80 ms to import, which a command that only reads the configuration saves
    import asyncio

FIRST_PASSED_FD = 3  # sd_listen_fds(3)
BACKLOG = 512  # connections that wait for accept; the kernel's somaxconn bounds it further
# Connections that are accepted in one turn of the event loop: each is a descriptor before anybody has said
# that there are too many, and of several processes on one socket the first would take all that wait.
ACCEPTED_AT_ONCE = 16


def open_socket(text: str, *, mode: int = 0o660) -> socket.socket:
    """A listening, non-blocking socket for an address. Raises ConfigError.

    mode: permissions of a unix socket's file, set before anyone can connect.
    """
    match parse_address(text):
        case Unix(path):
            return _bind_unix(path, mode)
        case Tcp(host, port):
            return _bind_tcp(host, port, text)
        case Systemd(name):
            return _passed(name)


async def serve(protocol: "Callable[[], asyncio.BaseProtocol]", sock: socket.socket) -> "asyncio.Server":
    """Accept what connects to a listening socket, a few in each turn of the event loop."""
    import asyncio

    server = await asyncio.get_running_loop().create_server(protocol, sock=sock, backlog=ACCEPTED_AT_ONCE)
    sock.listen(BACKLOG)  # asyncio has one number for both
    return server


def is_unix(text: str) -> bool:
    """Whether only programs of this machine that a file's mode lets in can be at the other end."""
    match parse_address(text):
        case Unix():
            return True
        case Tcp():
            return False
        case Systemd(name):
            with _passed(name) as sock:
                return sock.family == socket.AF_UNIX


def _bind_unix(path: Path, mode: int) -> socket.socket:
    _clear(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.bind(str(path))
        path.chmod(mode)  # before listen(): until then connecting is refused whatever the mode
        return _listening(sock)
    except OSError as error:
        sock.close()
        raise ConfigError(f"unix:{path}: {error.strerror}; is its folder there and writable?") from error


def _clear(path: Path) -> None:
    """Remove what a daemon that died has left; refuse to touch anything else."""
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise ConfigError(f"unix:{path}: there is a file of this name that is no socket; remove it")
        if _answers(path):
            raise ConfigError(f"unix:{path}: another process listens there; stop it or choose another path")
        path.unlink(missing_ok=True)
    except FileNotFoundError:
        return
    except OSError as error:
        raise ConfigError(f"unix:{path}: {error.strerror}; remove it or choose another path") from error


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            return False
        except BlockingIOError:  # its backlog is full, so it is somebody's
            return True
    return True


def _bind_tcp(host: str, port: int, name: str) -> socket.socket:
    sock: socket.socket | None = None
    try:
        # Of a name with several addresses the first; list both where both are wanted.
        family, _, _, _, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        # The protocol by name: asyncio turns Nagle off only where it is there.
        sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(where)
        return _listening(sock)
    except OSError as error:
        if sock:
            sock.close()
        raise ConfigError(f"{name}: {error.strerror}; choose another address or port") from error


def _listening(sock: socket.socket) -> socket.socket:
    sock.listen(BACKLOG)
    sock.setblocking(False)
    return sock


def _passed(name: str) -> socket.socket:
    """A duplicate of the socket that systemd handed over under a name. Raises ConfigError."""
    names = os.environ.get("LISTEN_FDNAMES", "").split(":")
    if os.environ.get("LISTEN_PID") != str(os.getpid()) or name not in names:
        raise ConfigError(
            f"systemd:{name}: systemd handed over no socket of this name; "
            f"start the .socket unit with FileDescriptorName={name}"
        )
    try:
        sock = socket.socket(fileno=os.dup(FIRST_PASSED_FD + names.index(name)))
    except OSError as error:
        raise ConfigError(f"systemd:{name}: {error.strerror}; is it a stream socket?") from error
    sock.setblocking(False)
    return sock


def peer_of(connection: socket.socket | None) -> str | None:
    """The system user at the other end of a unix socket (unix(7), SO_PEERCRED); None for other sockets."""
    if connection is None or connection.family != socket.AF_UNIX or not hasattr(socket, "SO_PEERCRED"):
        return None
    return user_of(struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[1])


def user_of(number: int) -> str:
    """The name of a system user; the number where it has none."""
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)
