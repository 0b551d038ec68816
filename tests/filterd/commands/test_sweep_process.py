"""`filterd sweep` and `filterd learn --maildir` as people type them: alone, and with a daemon."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from filterd.commands import entry
from tests.filterd.daemon import test_server
from tests.filterd.daemon.test_server import Daemon
from tests.filterd.mailboxes.made import check_whole, put

daemon = test_server.daemon
NUMBERS = range(20)


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    """Twenty mails, half of them spam; afterwards each is there, once."""
    root = tmp_path / "Maildir"
    for number in NUMBERS:
        put(root, number, spam=number % 2 == 0)
    yield root
    check_whole(root, NUMBERS)


def test_with_a_daemon(root: Path, daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    daemon.start()
    monkeypatch.setenv("XDG_STATE_HOME", str(root.parent))
    done = daemon.run("sweep", str(root), "--move-to", "Junk", "--tag")
    assert (done.returncode, done.stderr) == (0, b"")
    junk = [path for path in check_whole(root, NUMBERS).values() if ".Junk" in path.parts]
    assert len(junk) == 10
    assert all(b"X-Spam-Flag: YES\n" in path.read_bytes() for path in junk)
    row = done.stdout.decode().splitlines()[-1].split()
    assert (row[:3], row[5:]) == (["INBOX", "20", "0"], ["10", "10", "0"])

    for said in (b"learned as spam: 10, known already: 0\n", b"learned as spam: 0, known already: 10\n"):
        assert daemon.run("learn", "--spam", "--maildir", str(root / ".Junk")).stdout == said


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        pytest.param(("sweep", "ROOT", "--tag", "--wrong"), 64, "No such option", id="unknown option"),
        pytest.param(("sweep", "ROOT/none", "--tag"), 66, "no Maildir", id="missing"),
        pytest.param(("sweep", "ROOT", "--move-to", "../x"), 78, "no folder's name", id="wrong folder"),
        pytest.param(("sweep", "ROOT", "--bundle", "ROOT"), 69, "manifest.json", id="no bundle"),
        pytest.param(("learn", "--ham", "--maildir", "ROOT", "a.eml"), 78, "exclude each", id="both"),
        pytest.param(("learn", "--ham", "--maildir", "ROOT/cur"), 66, "neither", id="no Maildir"),
    ],
)
def test_errors_are_one_line(
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    status: int,
    says: str,
) -> None:
    monkeypatch.setattr(sys, "argv", ["filterd", *(one.replace("ROOT", str(root)) for one in arguments)])
    monkeypatch.setenv("FILTERD_SOCKET", "")
    monkeypatch.setenv("XDG_STATE_HOME", str(root.parent))
    with pytest.raises(SystemExit) as ended:
        entry.main()
    assert ended.value.code == status
    said = capsys.readouterr()
    assert says in said.err
    assert said.out == ""
