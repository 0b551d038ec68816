"""The trace is written beside the mail: what is kept, what is left out, and that nobody waits."""

import logging
import os
import stat
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import pytest

from filterd.api import Kind, Label, Message, Verdict
from filterd.config import Config, Log
from filterd.config import History as HistorySection
from filterd.errors import StoreError
from filterd.history import recorder as recording
from filterd.history import textsearch
from filterd.history.record import Record, VerdictEvent
from filterd.history.recorder import KEY_FILE, Recorder, identity, key_of
from filterd.history.store import HistoryStore, Search
from filterd.scoring.verdict import Thresholds

RAW = b"From: Win <win@bad.example>\nMessage-ID: <m1@bad.example>\nSubject: secret plans\n\nsecret words\n"
FOUND = Verdict(
    label=Label.SPAM,
    probability=0.99,
    points=6.0,
    kind=Kind.MAIL,
    model="fake-1",
    tests=("GPT2",),
    subject="secret plans",
    seconds=0.002,
)
THRESHOLDS = Thresholds(0.3, 0.9)


def event(raw: bytes = RAW, **fields: Any) -> VerdictEvent:
    given = {"id": "q1", "sender": "win@bad.example", "recipients": ("ann@example.org",), "source": "milter"}
    return VerdictEvent(Message(raw, kind=Kind.MAIL, **given | fields), FOUND, THRESHOLDS, time.time())


def recorded(
    tmp_path: Path, *events: VerdictEvent, log: Log | None = None, **kept: Any
) -> tuple[Record, HistoryStore]:
    """The newest row after these events."""
    config = Config(state=str(tmp_path), history=HistorySection(**kept), log=log or Log())
    recorder = Recorder.open(config)
    for one in events:
        recorder.judged(one)
    recorder.start()
    recorder.close()
    history = HistoryStore.open(config.history_url)
    return history.search(Search(), 1)[0], history


def test_by_default_nothing_of_what_people_write_is_kept(tmp_path: Path) -> None:
    row, history = recorded(tmp_path, event())
    kept = history.kept(row.number)
    history.close()
    assert kept and kept.text is None
    assert (row.subject, row.sender, row.recipients) == ("", "", "")
    assert (row.name, row.listener, row.settled, row.spam) == ("q1", "milter", "model", 0.9)
    written = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    for secret in (b"secret", b"ann@", b"win@", b"bad.example", b"m1@"):
        assert secret not in written


def test_what_the_configuration_allows_is_kept(tmp_path: Path) -> None:
    row, history = recorded(tmp_path, event(), subjects=True, addresses="full", text=True)
    kept = history.kept(row.number)
    history.close()
    assert kept and kept.text and "secret words" in kept.text
    assert (row.subject, row.sender, row.recipients) == ("secret plans", "win@bad.example", "ann@example.org")


def test_domains_alone_can_be_kept(tmp_path: Path) -> None:
    row, history = recorded(tmp_path, event(), addresses="domains")
    history.close()
    assert (row.sender, row.recipients) == ("bad.example", "example.org")


def test_a_recipient_is_found_by_the_whole_address_only(tmp_path: Path) -> None:
    row, history = recorded(tmp_path, event())
    keys = Recorder(Config(state=str(tmp_path)), None).keys
    assert history.search(Search(to=keys.address("Ann@example.org")), 9) == [
        msgspec.structs.replace(row, recipient_keys=())
    ]
    assert history.search(Search(to=keys.address("example.org")), 9) == []
    history.close()


def test_workers_that_start_together_have_one_key(tmp_path: Path) -> None:
    together = threading.Barrier(8)

    def made(_: int) -> bytes:
        together.wait()
        return key_of(tmp_path)

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(made, range(8)))) == 1
    assert [path.name for path in tmp_path.iterdir()] == [KEY_FILE]


def test_what_root_makes_is_its_folders_owners(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = []
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(os, "fchown", lambda _, user, group: given.append((user, group)))
    owner = tmp_path.stat()
    assert identity(tmp_path) == identity(tmp_path)
    assert given == [(owner.st_uid, owner.st_gid)]


def test_the_key_is_made_once_and_is_nobody_elses(tmp_path: Path) -> None:
    first = Recorder(Config(state=str(tmp_path)), None).keys.address("a@b")
    assert Recorder(Config(state=str(tmp_path)), None).keys.address("a@b") == first
    assert stat.S_IMODE((tmp_path / KEY_FILE).stat().st_mode) == 0o600
    (tmp_path / KEY_FILE).write_bytes(b"short")
    with pytest.raises(StoreError, match="damaged"):
        Recorder(Config(state=str(tmp_path)), None)


@pytest.mark.parametrize(("addresses", "has"), [("none", False), ("domains", True)])
def test_a_line_of_the_log_has_domains_only_where_allowed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, addresses: Any, has: bool
) -> None:
    with caplog.at_level(logging.INFO, "filterd"):
        _, history = recorded(tmp_path, event(), log=Log(addresses=addresses))
    history.close()
    fields = next(one.__dict__["fields"] for one in caplog.records if one.message == "judged")
    assert {"id", "listener", "kind", "label", "p", "points", "settled", "action", "size", "ms"} <= set(
        fields
    )
    assert ("from" in fields) is has
    said = str(fields)
    assert "secret" not in said and "win@" not in said and "ann@" not in said


def test_no_line_where_it_is_turned_off(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "filterd"):
        _, history = recorded(tmp_path, event(), log=Log(messages=False))
    history.close()
    assert not [one for one in caplog.records if one.message == "judged"]


def test_nobody_waits_for_a_store_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = threading.Event()
    monkeypatch.setattr(recording, "MAX_WAITING", 10)
    monkeypatch.setattr(HistoryStore, "add", lambda *_: gate.wait(10))
    recorder = Recorder.open(Config(state=str(tmp_path)))
    recorder.start()
    started = time.monotonic()
    for _ in range(100):
        recorder.judged(event())
    assert time.monotonic() - started < 1.0  # gate.wait alone takes ten
    assert recorder.dropped >= 80
    gate.set()
    recorder.close()


def test_many_bytes_are_left_out_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "MAX_WAITING_BYTES", 3 * len(RAW))
    recorder = Recorder.open(Config(state=str(tmp_path)))
    for _ in range(5):
        recorder.judged(event())
    assert recorder.dropped == 2
    recorder.flush()
    recorder.judged(event())
    assert recorder.dropped == 2
    recorder.close()


def test_a_store_that_fails_is_said_once_and_the_next_row_is_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = Recorder.open(Config(state=str(tmp_path)))

    def fail(*_: object) -> None:
        raise StoreError("disk full")

    with monkeypatch.context() as broken:
        broken.setattr(HistoryStore, "add", fail)
        recorder.judged(event())
        with pytest.raises(StoreError):
            recorder.flush()
    assert recorder.dropped == 1
    recorder.judged(event())
    recorder.flush()
    recorder.close()
    with HistoryStore.open(tmp_path / "history.sqlite") as history:
        assert history.size() == 1


def test_a_rush_leaves_out_what_makes_a_message_correctable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recording, "BUSY", 3)
    row, history = recorded(tmp_path, *(event() for _ in range(5)))
    assert history.size() == 5
    assert history.kept(row.number) is None
    history.close()


def test_an_older_history_is_taken_into_the_index_with_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    _, history = recorded(tmp_path, *(event() for _ in range(5)))
    history.close()
    for module in (recording, textsearch):
        monkeypatch.setattr(module, "AT_ONCE", 2)
    recorder = Recorder.open(Config(state=str(tmp_path)))
    with caplog.at_level(logging.INFO, "filterd"):
        recorder._catch_up()
        recorder._catch_up()  # and not again
    recorder.close()
    (line,) = [one for one in caplog.records if "in the history's index" in one.message]
    assert line.__dict__["fields"] == {"messages": 4}


@pytest.mark.parametrize("fails", [False, True])
def test_an_index_that_takes_long_keeps_no_row_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, fails: bool
) -> None:
    made, written = threading.Event(), threading.Event()

    def make(_: HistoryStore) -> int:
        assert written.wait(10)
        made.set()
        if fails:
            raise StoreError("no space")
        return 0

    monkeypatch.setattr(HistoryStore, "make_index", make)
    recorder = Recorder.open(Config(state=str(tmp_path)))
    recorder.start()
    recorder.judged(event())
    assert recorder.history
    until = time.monotonic() + 10
    while not recorder.history.size() and time.monotonic() < until:
        time.sleep(0.01)
    assert recorder.history.size() == 1 and not made.is_set()
    written.set()
    recorder.close()
    said = [one for one in caplog.records if one.message == "history's index not made"]
    assert made.is_set() and len(said) == fails
