"""What retrainings left behind, whole or not, and the other daemons on a store."""

import contextlib
import json
import socket
import time
from pathlib import Path

import pytest

from filterd.console.reports import MAX_RECORD, SHOWN, reports
from filterd.corrections.database import Database
from filterd.promotion import roster
from filterd.promotion.roster import Roster
from tests.filterd.console.made import console_of

GATE = [{"rule": "no ham is lost", "passed": False, "asked": "<= 0", "found": "<b>3</b>"}]


def record(state: Path, number: int, content: bytes = b"", **said: object) -> None:
    folder = state / "retrain" / f"{number:06d}"
    folder.mkdir(parents=True)
    facts = {"champion": "mini-1", "strategy": "refit", "plan": {"since": 1}}
    whole = {"facts": facts, "gate": GATE, "models": [{"x": 1}], "reason": "the gate", **said}
    (folder / "record.json").write_bytes(content or json.dumps(whole).encode())


def test_the_newest_first_and_what_does_not_fit_is_left_out(tmp_path: Path) -> None:
    assert reports(tmp_path) == []
    for number in range(1, SHOWN + 3):
        record(tmp_path, number, promoted=number == 5)
    record(tmp_path, 90, b"{half")
    record(tmp_path, 91, b" " * (MAX_RECORD + 1))
    record(tmp_path, 92, b'{"gate": 3}')
    (tmp_path / "retrain" / "lock").write_text("")
    (tmp_path / "retrain" / "000093").mkdir()
    found = reports(tmp_path)
    assert [one.number for one in found] == [f"{number:06d}" for number in range(SHOWN + 2, 2, -1)]
    assert found[0].facts.champion == "mini-1" and found[0].gate[0].rule == "no ham is lost"


async def test_pages_show_them(tmp_path: Path) -> None:
    async with console_of(tmp_path) as made:
        record(tmp_path, 7)
        made.service.roster = here = Roster.open(made.service.config)
        there = Roster(Database(made.service.config.feedback_url), Path("/other/<i>state"), "0123456789ab")
        there.announce(version="0.1", model="mini-2", started=1.0, judged=12345)
        async with made.sign_in() as client:
            page = (await client.get("/console/models")).text
            assert "000007" in page and "&lt;b&gt;3" in page and "not passed" in page and "mini-1" in page
            page = (await client.get("/console/status")).text
            assert "/other/&lt;i&gt;state" in page and "mini-2" in page and "12\u202f345" in page
            assert "silent" not in page
        here.close()
        there.close()


def test_a_container_made_anew_takes_its_old_row(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    watching = Roster(Database(database), Path("/b"), "two")
    for host in ("a1b2c3", "d4e5f6"):
        monkeypatch.setattr(socket, "gethostname", lambda host=host: host)
        with contextlib.closing(Roster(Database(database), Path("/a"), "one")) as made:
            made.announce(version="1", model="m", started=0.0, judged=0)
    assert [peer.name for peer in watching.others()] == ["d4e5f6:/a one"]
    watching.close()


def test_who_is_there(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = (Roster(Database(database), Path("/a"), own) for own in ("one", "two"))
    for judged in (1, 2):
        one.announce(version="1", model="m", started=0.0, judged=judged)
    assert one.others() == [] and [(peer.judged, peer.silent) for peer in two.others()] == [(2, False)]
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + roster.GONE_S + 1)
    assert two.others()[0].silent
    monkeypatch.setattr(time, "time", lambda: now + roster.FORGOTTEN_S + 1)
    two.announce(version="1", model="m", started=0.0, judged=0)
    assert two.others() == []
    one.close()
    two.close()
