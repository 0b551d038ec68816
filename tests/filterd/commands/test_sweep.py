"""`filterd sweep`: what it files and tags, that it goes on, and that a kill at any point loses nothing."""

import gzip
import itertools
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from filterd.api import Label, Message, Verdict
from filterd.commands import sweep as sweeping
from filterd.commands.sweep import SweepPlan
from filterd.errors import ConfigError, ModelUnavailable, NotFound, Overloaded
from tests.conftest import ROOT
from tests.filterd.mailboxes import made
from tests.filterd.mailboxes.made import check_whole, mail, put

SPAM = (2, 5, 8)
ALL = range(1, 10)
FILE = SweepPlan(move_to="Junk")
FILE_AND_TAG = SweepPlan(move_to="Junk", tag=True)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Nine mails in INBOX and Work, three of them spam; Junk and Sent are there and hold spam too."""
    root = tmp_path / "Maildir"
    for number in ALL:
        folder = root / ".Work" if number > 6 else root
        put(folder, number, spam=number in SPAM, sub="new" if number in (5, 6) else "cur")
    put(root / ".Sent", 20, spam=True)
    put(root / ".Junk", 21, spam=True)
    return root


class Judge:
    """Counts what it is asked; after `patience` batches it raises `error`."""

    def __init__(self, patience: int = 1000, error: BaseException | None = None) -> None:
        self.asked = 0
        self._patience, self._error = patience, error

    def __call__(self, messages: Sequence[Message]) -> list[Verdict]:
        self._patience -= 1
        if self._patience < 0 and self._error:
            raise self._error
        self.asked += len(messages)
        return made.judge(messages)


def run(root: Path, plan: SweepPlan, judge: Judge | None = None, *, again: bool = False) -> tuple[int, Judge]:
    judge = judge or Judge()
    status = sweeping.sweep(root, plan, lambda: judge, root.parent / "journal", again=again)
    return status, judge


def spam_flags(path: Path) -> int:
    return path.read_bytes().count(b"X-Spam-Flag: YES\n")


def test_a_plain_sweep_judges_and_touches_nothing(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = check_whole(root, [*ALL, 20, 21])
    status, judge = run(root, SweepPlan())
    assert (status, judge.asked) == (0, 9)
    assert check_whole(root, [*ALL, 20, 21]) == before
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [(line[0], line[2].split("/")[0]) for line in lines[:3]] == [
        ("spam", "INBOX"),
        ("spam", "INBOX"),
        ("spam", "Work"),
    ]
    assert lines[3:] == [
        ["folder", "mails", "judged", "before", "ham", "unsure", "spam", "failed"],
        ["INBOX", "6", "0", "4", "0", "2", "0"],
        ["Work", "3", "0", "2", "0", "1", "0"],
        ["all", "9", "0", "6", "0", "3", "0"],
    ]


def test_spam_is_filed_as_it_is(root: Path) -> None:
    assert run(root, FILE)[0] == 0
    where = check_whole(root, [*ALL, 20, 21])
    assert {n for n, path in where.items() if ".Junk" in path.parts} == {*SPAM, 21}
    assert where[5].parent.name == "new"
    assert where[2].read_bytes() == mail(2, spam=True)


def test_spam_is_tagged_in_its_place(root: Path) -> None:
    assert run(root, SweepPlan(tag=True))[0] == 0
    where = check_whole(root, [*ALL, 20, 21])
    assert {n for n, path in where.items() if spam_flags(path)} == set(SPAM)
    for number in SPAM:
        raw = where[number].read_bytes()
        assert b"X-Spam-Flag: NO" not in raw
        assert f",S={len(raw)},W={len(raw) + raw.count(10)}" in where[number].name
    assert where[1].read_bytes() == mail(1)


def test_a_dry_run_touches_nothing_and_saves_the_judging(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = check_whole(root, [*ALL, 20, 21])
    assert run(root, replace(FILE, dry_run=True))[1].asked == 9
    assert check_whole(root, [*ALL, 20, 21]) == before
    assert "would be to Junk" in capsys.readouterr().out
    assert run(root, FILE)[1].asked == 0
    where = check_whole(root, [*ALL, 20, 21])
    assert {n for n, path in where.items() if ".Junk" in path.parts} == {*SPAM, 21}


def test_tagging_after_a_dry_run_judges_only_what_it_tags(root: Path) -> None:
    run(root, replace(FILE_AND_TAG, dry_run=True))
    assert run(root, FILE_AND_TAG)[1].asked == 3
    where = check_whole(root, [*ALL, 20, 21])
    assert all(spam_flags(where[n]) == 1 and ".Junk" in where[n].parts for n in SPAM)


def test_nothing_is_judged_twice_unless_asked(root: Path) -> None:
    run(root, FILE)
    put(root, 10)
    assert run(root, FILE)[1].asked == 1
    assert run(root, FILE, again=True)[1].asked == 7


def test_flags_that_change_are_no_news(root: Path) -> None:
    run(root, FILE)
    for path in (root / "cur").iterdir():
        path.rename(path.with_name(path.name.replace(":2,RS", ":2,FRS")))
    assert run(root, FILE)[1].asked == 0


@pytest.mark.parametrize("plan", [FILE, FILE_AND_TAG], ids=["filed", "filed and tagged"])
@pytest.mark.parametrize("name", ["", "1700000999.M9P9.host:2,RS"], ids=["same name", "a new name"])
def test_who_moves_a_mail_back_has_the_last_word(root: Path, plan: SweepPlan, name: str) -> None:
    run(root, plan)
    filed = check_whole(root, [*ALL, 20, 21])[2]
    back = filed.rename(root / "cur" / (name or filed.name))
    assert run(root, plan)[0] == 0
    assert run(root, plan)[0] == 0
    assert back.exists()


def test_only_the_named_folders(root: Path) -> None:
    assert run(root, replace(FILE, only=("Work", "Sent")))[1].asked == 4
    where = check_whole(root, [*ALL, 20, 21])
    assert {n for n, path in where.items() if ".Junk" in path.parts} == {8, 20, 21}
    with pytest.raises(NotFound, match="no folder 'Wrok'; there are INBOX, Junk, Sent, Work"):
        run(root, SweepPlan(only=("Wrok",)))


def test_deleted_mails_and_what_fails(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put(root, 11, spam=True).rename(root / "cur" / "1700000011.M11P7.host:2,ST")
    (root / "cur" / "1700000012.M12P7.host:2,").write_bytes(b"\n")
    status, judge = run(root, FILE)
    assert (status, judge.asked) == (66, 9)
    assert capsys.readouterr().err == (
        "filterd: INBOX/1700000012.M12P7.host:2,: empty, there is nothing to judge\n"
    )


def test_a_mail_that_goes_away_meanwhile_is_none(root: Path) -> None:
    class Deleting(Judge):
        def __call__(self, messages: Sequence[Message]) -> list[Verdict]:
            next((root / "cur").glob("1700000002*")).unlink()
            return super().__call__(messages)

    assert run(root, FILE, Deleting())[0] == 0
    check_whole(root, [n for n in [*ALL, 20, 21] if n != 2])


def test_unsure_where_asked(root: Path) -> None:
    class Unsure(Judge):
        def __call__(self, messages: Sequence[Message]) -> list[Verdict]:
            return [replace(one, label=Label.UNSURE) for one in super().__call__(messages)]

    run(root, FILE, Unsure())
    assert len(list((root / ".Junk" / "cur").iterdir())) == 1
    run(root, replace(FILE, unsure=True), Unsure(), again=True)
    assert len(list((root / ".Junk" / "cur").iterdir())) == 8


def test_a_judge_that_gives_up_leaves_a_run_to_go_on(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sweeping, "BATCH", 2)
    with pytest.raises(ModelUnavailable):
        run(root, FILE, Judge(2, ModelUnavailable("gone")))
    assert "the same command goes on" in capsys.readouterr().err
    check_whole(root, [*ALL, 20, 21])
    assert run(root, FILE)[1].asked == 5


def test_a_busy_judge_is_waited_for(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeping, "BUSY_PAUSES_S", (0, 0))
    answers = iter(["raise", "unavailable", "ok"])

    class Busy(Judge):
        def __call__(self, messages: Sequence[Message]) -> list[Verdict]:
            answer = next(answers)
            if answer == "raise":
                raise Overloaded("busy")
            found = super().__call__(messages)
            return found if answer == "ok" else [replace(one, available=False) for one in found]

    assert run(root, FILE, Busy())[0] == 0
    assert {n for n, p in check_whole(root, [*ALL, 20, 21]).items() if ".Junk" in p.parts} == {*SPAM, 21}


def test_what_stayed_unjudged_is_judged_next_time(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeping, "BUSY_PAUSES_S", ())

    class Unavailable(Judge):
        def __call__(self, messages: Sequence[Message]) -> list[Verdict]:
            return [replace(one, available=False) for one in super().__call__(messages)]

    assert run(root, FILE, Unavailable())[0] == 66
    assert run(root, FILE)[1].asked == 9


def test_an_mbox_is_judged_and_never_changed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "mbox"
    path.write_bytes(b"".join(b"From a\n" + mail(n, spam=n in SPAM) + b"\n" for n in ALL))
    path.chmod(0o400)
    before = path.stat().st_mtime_ns
    assert run(path, SweepPlan())[1].asked == 9
    assert run(path, SweepPlan())[1].asked == 0
    assert capsys.readouterr().out.split("\n")[4].split() == ["mbox", "9", "0", "6", "0", "3", "0"]
    for plan in (FILE, SweepPlan(tag=True), SweepPlan(only=("x",))):
        with pytest.raises(ConfigError, match="judged only"):
            run(path, plan)
    assert path.stat().st_mtime_ns == before


def test_what_is_no_mailbox(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no Maildir and no mbox"):
        run(tmp_path / "none", SweepPlan())
    with pytest.raises(NotFound, match="no cur and new"):
        run(tmp_path, SweepPlan())
    put(tmp_path / "someone", 1)
    with pytest.raises(ConfigError, match="one at a time"):
        run(tmp_path, FILE)


# Kills. The audit hook sees every open, rename, chmod and removal before it happens, so a kill at the n-th of
# them, for each n, is a kill at every point between two changes of the file system.


TOUCHES = {"open", "os.rename", "os.remove", "os.chmod", "os.utime", "os.mkdir", "os.scandir"}


def killed_at(step: int, root: Path) -> bool:
    """Sweep in a child that dies before its step-th access to a file; False where it got to its end."""
    child = os.fork()
    if not child:
        left = itertools.count(step, -1)

        def hook(event: str, _: object) -> None:
            if event in TOUCHES and next(left) == 0:
                os.kill(os.getpid(), signal.SIGKILL)

        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        sys.addaudithook(hook)
        try:
            run(root, FILE_AND_TAG)
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != 0


def finished(root: Path, numbers: Sequence[int], spam: set[int]) -> None:
    where = check_whole(root, numbers)
    assert {n for n, path in where.items() if ".Junk" in path.parts} == spam
    for number in spam:
        raw = where[number].read_bytes()
        assert raw.count(b"X-Spam-Flag: YES\n") == 1
        assert f",S={len(raw)},W={len(raw) + raw.count(10)}" in where[number].name


def test_killed_before_every_access_to_a_file_and_started_again(tmp_path: Path) -> None:
    for step in itertools.count(1):
        root = tmp_path / str(step) / "Maildir"
        for number in range(4):
            put(root, number, spam=number % 2 == 0)
        died = killed_at(step, root)
        check_whole(root, range(4))
        run(root, FILE_AND_TAG)
        finished(root, range(4), {0, 2})
        if not died:
            break
    assert step > 20


SWEEP = """
import sys, pathlib
from filterd.commands import sweep
from tests.filterd.mailboxes import made
root = pathlib.Path(sys.argv[1])
plan = sweep.SweepPlan(move_to="Junk", tag=True)
sys.exit(sweep.sweep(root, plan, lambda: made.judge, root.parent / "journal", again=False))
"""


@pytest.mark.slow
def test_killed_at_random_times(tmp_path: Path) -> None:
    root = tmp_path / "Maildir"
    numbers = range(250)
    for number in numbers:
        put(root, number, spam=number % 2 == 0)
    chance, kills = random.Random(5), 0
    while True:
        command = [sys.executable, "-c", SWEEP, str(root)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=ROOT) as child:
            assert child.stdout
            if kills < 6:
                child.stdout.readline()  # it is at work
                time.sleep(chance.random() * 0.02)
                child.kill()
            child.communicate()
        check_whole(root, numbers)
        if child.returncode == 0:
            break
        kills += 1
    assert kills >= 3
    finished(root, numbers, {n for n in numbers if n % 2 == 0})


# Mails that a mail server has compressed.


def test_compressed_mails_are_judged_and_filed_and_never_written_into(root: Path) -> None:
    packed = {path: gzip.compress(path.read_bytes()) for path in [*root.glob("cur/*"), *root.glob("new/*")]}
    for path, content in packed.items():
        path.write_bytes(content)
    status, judge = run(root, FILE_AND_TAG)
    assert (status, judge.asked) == (0, 9)
    filed = [path for path in (root / ".Junk/cur").iterdir() if path.read_bytes() in packed.values()]
    filed += [path for path in (root / ".Junk/new").iterdir() if path.read_bytes() in packed.values()]
    assert len(filed) == 2, "the spam of INBOX, byte for byte as it was"


def test_compressed_mails_that_would_only_be_tagged_are_left_and_said(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    packed = {path: gzip.compress(path.read_bytes()) for path in [*root.glob("cur/*"), *root.glob("new/*")]}
    for path, content in packed.items():
        path.write_bytes(content)
    status, _ = run(root, SweepPlan(tag=True))
    assert status == 66
    assert capsys.readouterr().err.count("compressed by the mail server; it is not written into") == 2
    assert all(path.read_bytes() == content for path, content in packed.items())


def test_names_that_are_no_utf_8_do_not_end_a_sweep(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    odd = root / "cur" / os.fsdecode(b"1700000099.M99P7.h\xff\xfe:2,S")
    odd.write_bytes(mail(99, spam=True))
    folder = root / os.fsdecode(b".Gesch\xe4ft")
    put(folder, 98, spam=True)
    status, judge = run(root, FILE)
    assert (status, judge.asked) == (0, 11)
    out = capsys.readouterr().out
    assert out.encode() and "\udcff" not in out
    assert not odd.exists()
