"""What must not stop a daemon: damaged bundles, wrong files on a reload, clients by the thousand."""

import contextlib
import signal
import socket
from pathlib import Path
from typing import Any

import pytest
import yaml

from filterd import judge
from filterd.config import Config, Model
from filterd.daemon import engines
from filterd.errors import BundleError
from filterd.scoring import bundle
from filterd.scoring.engine import Engine
from tests.filterd import fakes
from tests.filterd.daemon.test_server import HAM, Daemon, daemon

__all__ = ["daemon"]


@pytest.fixture
def damaged(monkeypatch: pytest.MonkeyPatch) -> set[Path | None]:
    """Bundles that cannot be opened; None is the one in use."""
    broken: set[Path | None] = {None}

    def open_engine(config: Config, path: Path | None = None, *, threads: int | None = None) -> Engine:
        if path in broken:
            raise BundleError(f"{path or 'current'}: damaged")
        return fakes.engine(name=str(path))[0]

    monkeypatch.setattr(judge, "open_engine", open_engine)
    return broken


def test_a_start_goes_back_to_the_bundle_before(
    damaged: set[Path | None], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = Config(state=str(tmp_path))
    engine, warning = engines.open_engine(config)
    assert engine.bundle.manifest.name == str(config.bundles / bundle.PREVIOUS)
    assert warning == "current: damaged; fake-1 judges instead"
    assert "bundle damaged" in caplog.text
    damaged.add(config.bundles / bundle.PREVIOUS)
    assert engines.open_engine(config)[0].bundle.manifest.name == str(bundle.DEFAULT)
    damaged.add(bundle.DEFAULT)
    with pytest.raises(BundleError, match="current: damaged"):
        engines.open_engine(config)
    damaged.clear()
    assert engines.open_engine(config)[1] == ""


def test_a_bundle_that_is_named_is_not_replaced(damaged: set[Path | None]) -> None:
    with pytest.raises(BundleError, match="damaged"):
        engines.open_engine(Config(model=Model(bundle="/named")))


def test_a_reload_takes_all_of_a_file_or_nothing(daemon: Daemon) -> None:
    daemon.start()
    good = yaml.safe_load((daemon.folder / "filterd.yaml").read_text())
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"plugins": {"milter": {"rulez": []}}}, "rulez"),
        (
            {"plugins": {"sms": {"kannel": {"secret_file": "/nowhere", "forward_to": "http://a/"}}}},
            "/nowhere",
        ),
        ({"http": good["http"] | {"token_file": "/nowhere"}}, "token_file"),
    ]
    for i, (section, reason) in enumerate(wrong, start=1):
        daemon.configure(headers={"prefix": "X-New-"}, **section)
        checked = daemon.run("config", "check")
        assert checked.returncode == 78 and reason in checked.stderr.decode()
        daemon.send(signal.SIGHUP)
        daemon.wait_for(lambda i=i: len(daemon.lines("not reloaded")) == i)  # type: ignore[misc]
        assert reason in daemon.lines("not reloaded")[-1]
        assert reason in str(daemon.ask("GET", "/v1/status")["warning"])
        assert daemon.run("check", "--tag", stdin=HAM).stdout.startswith(b"X-Spam-Status: ")
    daemon.configure(headers={"prefix": "X-New-"})
    daemon.send(signal.SIGHUP)
    daemon.wait_for(lambda: daemon.lines("reloaded"))
    assert daemon.ask("GET", "/v1/status")["warning"] == ""
    assert daemon.run("check", "--tag", stdin=HAM).stdout.startswith(b"X-New-Status: ")


def test_silent_clients_take_no_other_listeners_descriptors(daemon: Daemon) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    daemon.configure(
        http={"listen": [f"tcp:127.0.0.1:{port}", f"unix:{daemon.http}"], "max_connections": 100},
        spamd={"listen": [f"unix:{daemon.spamd}"], "max_connections": 100},
    )
    daemon.start()
    with contextlib.ExitStack() as stack:
        for _ in range(900):
            client = stack.enter_context(socket.socket())
            client.connect(("127.0.0.1", port))
        assert daemon.label(HAM) == "ham"
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(daemon.spamd))
            client.sendall(b"PING SPAMC/1.5\r\n\r\n")
            assert b"PONG" in client.recv(100)
        open_now = len(list(Path(f"/proc/{daemon.process.pid}/fd").iterdir())) if daemon.process else 0
        assert open_now < 300
    assert len(daemon.log.read_text().splitlines()) < 100
