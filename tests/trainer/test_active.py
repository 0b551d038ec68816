"""The most telling messages are chosen, shown, and named with one key."""

import json
import os
import pty
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console

from filterd.api import Kind
from filterd.errors import BadInput, FilterdError, NotFound
from filterd.scoring.engine import Engine
from filterd.scoring.verdict import Thresholds
from filterd_trainer import active
from filterd_trainer.active import Candidate

HAM = "Subject: lunch on {0}\n\nShall we meet at noon on {0}? I can bring the plans for the {1} along.\n"
SPAM = (
    "Subject: You won {0} pounds\n\nClaim your cash prize of {0} pounds now, call 0900 {1} before midnight!\n"
)
ODD = "Subject: {0}\n\n{1} zebra umbrella quartz\n"
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday")


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine.open()


@pytest.fixture
def maildir(tmp_path: Path) -> Path:
    folder = tmp_path / "Maildir"
    for name in ("cur", "new", "tmp"):
        (folder / name).mkdir(parents=True)
    for i, day in enumerate(DAYS):
        (folder / "cur" / f"{i}.ham:2,S").write_text(HAM.format(day, "garden " * i))
        (folder / "cur" / f"{i}.spam:2,S").write_text(SPAM.format(100 * i + 7, day))
    return folder


def test_uncertainty_is_highest_in_the_band() -> None:
    band = Thresholds(unsure=0.3, spam=0.8)
    assert active.uncertainty(0.5, band) == 1.0
    assert active.uncertainty(0.95, band) > active.uncertainty(0.999, band) > 0
    assert active.uncertainty(0.01, band) < active.uncertainty(0.2, band) < 1


def test_what_others_resemble_is_typical() -> None:
    found = active.typicality(["the cat sat here", "the cat sat there", "the cat ran", "quartz zebra"])
    assert found.argmin() == 3 and found[0] > 0.2
    assert active.typicality(["alone"]).tolist() == [1.0]


def test_near_duplicates_are_asked_for_once(engine: Engine) -> None:
    body = (
        "Subject: {}\n\n" + "please claim the prize that you won in our weekly draw by calling us today " * 2
    )
    messages = [(str(i), body.format("Your prize").encode() + b"%d" % i) for i in range(5)]
    messages.append(("other", HAM.format("Monday", "garden").encode()))
    chosen = active.choose(engine, messages, 10)
    assert len(chosen) == 2
    assert chosen[0].value >= chosen[1].value
    assert len(active.choose(engine, messages, 1)) == 1


def candidates(count: int) -> list[Candidate]:
    return [Candidate(str(i), b"raw", Kind.MAIL, f"text {i}", 0.5, 1.0) for i in range(count)]


@pytest.mark.parametrize(
    ("typed", "sent", "learned"),
    [
        ("sh q", [("spam", "0"), ("ham", "1")], 2),
        ("suh", [("spam", "0"), ("forget", "0"), ("ham", "0")], 1),
        ("x s", [("spam", "1")], 1),
        ("us", [("spam", "0")], 1),
        ("", [], 0),
    ],
)
def test_a_key_a_message(typed: str, sent: list[tuple[str, str]], learned: int) -> None:
    found: list[tuple[str, str]] = []
    pressed = iter(typed)
    count = active.ask(
        Console(quiet=True),
        candidates(3),
        lambda: next(pressed, ""),
        lambda do, one: found.append((do, one.where)),
    )
    assert (found, count) == (sent, learned)


def test_nothing_to_choose_from_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no such file"):
        active.gather([tmp_path / "none"])
    for name in ("cur", "new", "tmp"):
        (tmp_path / name).mkdir()
    with pytest.raises(BadInput, match="no message"):
        active.gather([tmp_path])


def test_what_filterd_refuses_is_passed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FILTERD_SOCKET", "")
    monkeypatch.setenv("FILTERD_CONFIG", str(tmp_path / "none.yaml"))
    with pytest.raises(FilterdError, match=r"none\.yaml"):
        active.learn("spam", candidates(1)[0])


def environment(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "filterd.yaml").write_text(f"state: {tmp_path}/state\n")
    return os.environ | {"FILTERD_SOCKET": "", "FILTERD_CONFIG": str(tmp_path / "filterd.yaml")}


def trainer(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "filterd_trainer.cli", "active", *arguments]


def test_the_list_names_files_and_no_text(maildir: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        trainer("--json", "--count", "3", str(maildir)),
        capture_output=True,
        env=environment(tmp_path),
        check=True,
    )
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(rows) == 3
    assert all(set(row) == {"file", "kind", "probability", "value"} for row in rows)
    assert all(Path(row["file"]).exists() or str(maildir) in row["file"] for row in rows)


def test_a_person_at_a_terminal(maildir: Path, tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        trainer("--count", "2", str(maildir)),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=environment(tmp_path),
    ) as process:
        os.close(theirs)
        seen = _until(ours, b"1 of 2")
        os.write(ours, b"s")
        seen += _until(ours, b"2 of 2")
        os.write(ours, b"q")
        seen += _until(ours, b"1 of 2 labelled")
        assert process.wait(timeout=60) == 0
    os.close(ours)
    assert b"s spam" in seen
    listed = subprocess.run(
        [str(Path(sys.executable).with_name("filterd")), "feedback", "list"],
        capture_output=True, env=environment(tmp_path), check=True,
    )  # fmt: skip
    assert listed.stdout.count(b"spam") == 1


def _until(terminal: int, wanted: bytes) -> bytes:
    found, deadline = b"", time.monotonic() + 120
    while wanted not in found and time.monotonic() < deadline:
        if select.select([terminal], [], [], 1.0)[0]:
            try:
                found += os.read(terminal, 65536)
            except OSError:
                break
    assert wanted in found, found.decode(errors="replace")
    return found
