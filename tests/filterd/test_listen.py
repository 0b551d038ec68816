"""Addresses and the sockets behind them."""

import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from filterd import listen
from filterd.errors import ConfigError


@pytest.mark.parametrize("mode", [0o600, 0o660, 0o666])
def test_a_unix_socket_has_its_mode_whatever_the_umask(mode: int, tmp_path: Path) -> None:
    path = tmp_path / "s"
    before = os.umask(0o077)
    try:
        with listen.open_socket(f"unix:{path}", mode=mode) as sock:
            assert stat.S_IMODE(path.stat().st_mode) == mode
            assert not sock.getblocking()
    finally:
        os.umask(before)


def test_a_dead_socket_is_replaced_and_a_living_one_is_not(tmp_path: Path) -> None:
    path = tmp_path / "s"
    listen.open_socket(f"unix:{path}").close()
    with listen.open_socket(f"unix:{path}"):
        with pytest.raises(ConfigError, match="another process listens there"):
            listen.open_socket(f"unix:{path}")
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))


def test_a_file_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "s"
    path.write_text("mine")
    with pytest.raises(ConfigError, match="no socket; remove it"):
        listen.open_socket(f"unix:{path}")
    assert path.read_text() == "mine"


def test_a_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file or directory; is its folder there"):
        listen.open_socket(f"unix:{tmp_path}/no/s")


def test_a_port_in_use() -> None:
    with listen.open_socket("tcp:127.0.0.1:0") as first:
        port = first.getsockname()[1]
        with pytest.raises(ConfigError, match=f"^tcp:127.0.0.1:{port}: .*in use; choose another"):
            listen.open_socket(f"tcp:127.0.0.1:{port}")


def test_an_unknown_host() -> None:
    with pytest.raises(ConfigError, match="choose another address"):
        listen.open_socket("tcp:no-such-host.invalid:1")


def test_which_are_local() -> None:
    assert listen.is_unix("unix:/run/x")
    assert not listen.is_unix("tcp:127.0.0.1:1")


@pytest.mark.parametrize("name", ["spamd", "http"])
def test_no_socket_from_systemd(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LISTEN_PID", str(os.getpid() + (name == "spamd")))
    monkeypatch.setenv("LISTEN_FDNAMES", "spamd")
    with pytest.raises(ConfigError, match=f"FileDescriptorName={name}"):
        listen.open_socket(f"systemd:{name}")


CHILD = """
import os
from filterd import listen
os.environ["LISTEN_PID"] = str(os.getpid())
assert listen.is_unix("systemd:two") and not listen.is_unix("systemd:one")
with listen.open_socket("systemd:two") as a, listen.open_socket("systemd:one") as b:
    print(a.getsockname(), b.getsockname())
"""


def test_sockets_from_systemd(tmp_path: Path) -> None:
    """What systemd does: descriptors from 3 on, named by LISTEN_FDNAMES, in a process told its own number."""
    with listen.open_socket("tcp:127.0.0.1:0") as one, listen.open_socket(f"unix:{tmp_path}/s") as two:
        shell = f"exec 3<&{one.fileno()} 4<&{two.fileno()}; exec {sys.executable} -c '{CHILD}'"
        printed = subprocess.run(
            ["bash", "-c", shell],
            pass_fds=(one.fileno(), two.fileno()),
            env=os.environ | {"LISTEN_FDS": "2", "LISTEN_FDNAMES": "one:two"},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        assert printed == f"{tmp_path}/s {one.getsockname()}\n"
