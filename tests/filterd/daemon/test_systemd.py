"""sd_notify to a socket of ours."""

import asyncio
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from filterd.daemon import systemd

TIMEOUT_S = 5.0


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.settimeout(TIMEOUT_S)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        yield listening


def test_a_state_is_one_datagram(manager: socket.socket) -> None:
    assert systemd.notify("READY=1")
    assert manager.recv(100) == b"READY=1"


def test_an_abstract_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"filterd-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind("\0" + name)
        listening.settimeout(TIMEOUT_S)
        monkeypatch.setenv("NOTIFY_SOCKET", "@" + name)
        assert systemd.notify("STOPPING=1")
        assert listening.recv(100) == b"STOPPING=1"


@pytest.mark.parametrize("address", [None, "", "relative", "/nobody/there", "@nobody-there"])
def test_nobody_to_tell(address: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    if address is None:
        monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    else:
        monkeypatch.setenv("NOTIFY_SOCKET", address)
    assert not systemd.notify("READY=1")


async def test_the_watchdog_hears_of_us_twice_a_period(
    manager: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "400000")
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    started = asyncio.get_running_loop().time()
    task = asyncio.create_task(systemd.keep_watchdog())
    for _ in range(3):
        assert await asyncio.to_thread(manager.recv, 100) == b"WATCHDOG=1"
    assert 0.35 <= asyncio.get_running_loop().time() - started < 1.5
    task.cancel()
    await asyncio.wait([task])


@pytest.mark.parametrize(
    ("period", "pid"),
    [
        pytest.param("", "", id="no watchdog"),
        pytest.param("0", "", id="turned off"),
        pytest.param("100000", "1", id="another process's"),
    ],
)
async def test_no_watchdog_of_ours(period: str, pid: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", period)
    monkeypatch.setenv("WATCHDOG_PID", pid or str(os.getpid()))
    async with asyncio.timeout(TIMEOUT_S):
        await systemd.keep_watchdog()
