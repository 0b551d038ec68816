"""A sweep's journal: what is written is there, what was cut short is not, nobody else's file is taken."""

from pathlib import Path

import pytest

from filterd.api import Label
from filterd.errors import ConfigError, Overloaded, Unwritable
from filterd.mailboxes.journal import Journal, JournalLine, default_path

SPAM = JournalLine("INBOX/1.a\udcff.b", Label.SPAM, acted=True, content="0123")
HAM = JournalLine("INBOX/2\n", Label.HAM, acted=False)


def write(path: Path, mailbox: Path, *entries: JournalLine) -> None:
    with Journal.open(path, mailbox) as journal:
        journal.add(entries)


def test_what_was_written_is_known(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "j"
    write(path, tmp_path, SPAM)
    write(path, tmp_path, HAM)
    with Journal.open(path, tmp_path) as journal:
        assert (journal.get(SPAM.key), journal.get(HAM.key), journal.get("x")) == (SPAM, HAM, None)
        assert journal.acted_before("0123")
        assert not journal.acted_before("")
        size = path.stat().st_size
        journal.add([SPAM, HAM])
        assert path.stat().st_size == size, "what is known is not written again"
    assert path.stat().st_mode & 0o777 == 0o600


def test_what_this_run_has_done_was_not_done_before(tmp_path: Path) -> None:
    with Journal.open(tmp_path / "j", tmp_path) as journal:
        journal.add([SPAM])
        assert not journal.acted_before("0123")


def test_a_last_line_cut_at_any_byte_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "j"
    write(path, tmp_path, HAM)
    one = path.stat().st_size
    write(path, tmp_path, SPAM)
    whole = path.read_bytes()
    for cut in range(one, len(whole)):
        path.write_bytes(whole[:cut])
        write(path, tmp_path, HAM)
        with Journal.open(path, tmp_path) as journal:
            assert journal.get(SPAM.key) is None
            assert journal.get(HAM.key) == HAM
    for cut in range(one):
        path.write_bytes(whole[:cut])
        write(path, tmp_path, SPAM)
        with Journal.open(path, tmp_path) as journal:
            assert journal.get(SPAM.key) == SPAM


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b'{"filterd-sweep": 1, "mailbox": "/elsewhere"}\n', id="another mailbox"),
        pytest.param(b'{"filterd-sweep": 2, "mailbox": "MAILBOX"}\n', id="another format"),
        pytest.param(b"hello\n", id="a text"),
        pytest.param(
            b'{"filterd-sweep": 1, "mailbox": "MAILBOX"}\n["a", "eggs", true, ""]\n', id="bad label"
        ),
        pytest.param(b'{"filterd-sweep": 1, "mailbox": "MAILBOX"}\n["a"]\n', id="short line"),
        pytest.param(b"[" * 100_000 + b"\n", id="deep"),
        pytest.param(b"\xff\xff\n", id="binary"),
    ],
)
def test_other_files_are_refused_in_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "j"
    path.write_bytes(content.replace(b"MAILBOX", str(tmp_path).encode()))
    with pytest.raises(ConfigError) as raised:
        Journal.open(path, tmp_path)
    assert str(raised.value).startswith(f"{path}: no journal of {tmp_path}")
    assert "\n" not in str(raised.value)
    with Journal.open(path, tmp_path, anew=True) as journal:
        journal.add([HAM])


def test_one_sweep_at_a_time(tmp_path: Path) -> None:
    with Journal.open(tmp_path / "j", tmp_path), pytest.raises(Overloaded, match="under way"):
        Journal.open(tmp_path / "j", tmp_path)
    Journal.open(tmp_path / "j", tmp_path).close()


def test_where_nothing_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(Unwritable, match="--state"):
        Journal.open(tmp_path / "file" / "j", tmp_path)


def test_each_mailbox_has_its_own_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert default_path(Path("/a")).parent == tmp_path / "filterd" / "sweep"
    assert default_path(Path("/a")) != default_path(Path("/b"))
    assert default_path(Path("/a/../b")) == default_path(Path("/b"))
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_path(Path("/a")).is_relative_to(tmp_path / ".local" / "state")
