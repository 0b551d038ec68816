"""Who runs on a state folder, and that a number left behind is nobody."""

import os
import signal
import threading
from pathlib import Path

import pytest

from filterd.promotion import presence
from filterd.promotion.presence import Presence


def test_a_daemon_is_found_while_it_lives(tmp_path: Path) -> None:
    assert presence.find(tmp_path) is None
    here = Presence.announce(tmp_path)
    assert here
    here.judges_with("model-1")
    assert presence.find(tmp_path) == (os.getpid(), "model-1")
    here.judges_with("m-2")
    assert presence.find(tmp_path) == (os.getpid(), "m-2")
    assert Presence.announce(tmp_path) is None  # one is enough
    here.leave()
    assert presence.find(tmp_path) is None


def test_what_a_crash_leaves_is_no_daemon(tmp_path: Path) -> None:
    (tmp_path / presence.FILE).write_text(f"{os.getpid()}\nmodel\n")
    assert presence.find(tmp_path) is None
    assert presence.reload(tmp_path) == "no daemon runs on this state folder"
    assert presence.reload(None) == "no daemon runs on this state folder"


def test_a_reload_is_waited_for(tmp_path: Path) -> None:
    here = Presence.announce(tmp_path)
    assert here
    here.judges_with("old")
    before = signal.signal(signal.SIGHUP, lambda *_: here.judges_with("new"))
    try:
        assert presence.reload(tmp_path, "new").startswith("the daemon judges with it (after 0.")
        assert presence.reload(tmp_path) == "the daemon reloads"
    finally:
        signal.signal(signal.SIGHUP, before)
        here.leave()


def test_a_daemon_that_does_not_take_it_is_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presence, "RELOADED_WITHIN_S", 0.05)
    here = Presence.announce(tmp_path)
    assert here and threading.current_thread() is threading.main_thread()
    here.judges_with("old")
    before = signal.signal(signal.SIGHUP, lambda *_: None)
    try:
        assert "not taken it yet" in presence.reload(tmp_path, "new")
    finally:
        signal.signal(signal.SIGHUP, before)
        here.leave()


def test_a_folder_that_is_not_there_has_no_daemon(tmp_path: Path) -> None:
    assert Presence.announce(tmp_path / "none") is None
    assert presence.find(tmp_path / "none") is None
