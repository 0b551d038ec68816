"""procmail and maildrop with our recipes: whatever becomes of the filter, a mail arrives once and whole."""

import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.filterd.daemon.test_server import Daemon
from tests.peers import delivery
from tests.peers.delivery import MAILDROP, PROCMAIL

PROGRAMS = pytest.mark.parametrize("program", [PROCMAIL, MAILDROP])
BIG = b"From: ann@example.org\nSubject: big\nMessage-ID: <big@x>\n\n" + b"a line of a big mail\n" * 300_000


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """With the engine that counts words."""
    folder = Path(tempfile.mkdtemp(dir="/tmp", prefix="filterd-"))
    made = Daemon(folder)
    made.serving = "tests.filterd.serving"
    made.start()
    yield made
    made.end(signal.SIGKILL)
    shutil.rmtree(folder)


@PROGRAMS
def test_our_mails_come_through_unfiltered_as_they_are(program: str, tmp_path: Path) -> None:
    """What the delivering program itself would change is no mail to measure with."""
    mailbox = delivery.make(tmp_path / "box", program, "", "/nonexistent")
    sent = delivery.mails(14)
    assert [mailbox.deliver(mail) for mail in sent] == [0] * 14
    outcome = delivery.compare(sent, mailbox.files())
    assert outcome.whole
    assert outcome.tagged == 0


@pytest.mark.slow
@PROGRAMS
def test_random_kills(program: str, tmp_path: Path, daemon: Daemon) -> None:
    """`make bench` has a thousand of these (tests/bench/delivery.py)."""
    undisturbed_s = delivery.undisturbed_s(delivery.make(tmp_path / "first", program, str(daemon.http)))
    mailbox = delivery.make(tmp_path / "box", program, str(daemon.http))
    outcome = delivery.run(mailbox, delivery.mails(60), longest_s=undisturbed_s)
    assert outcome.whole, outcome
    assert outcome.killed >= 5, f"some were hit: {outcome}"
    assert outcome.tagged >= 5, "and some were not"
    assert outcome.tagged + outcome.killed == 60


@PROGRAMS
@pytest.mark.parametrize(
    "filterd",
    [
        pytest.param("bash -c 'kill -9 $$'", id="killed before it reads"),
        pytest.param("bash -c 'head -c 3000000; kill -9 $$'", id="killed in the middle of its output"),
        pytest.param("bash -c 'cat; kill -9 $$'", id="killed at the end of it"),
        pytest.param("bash -c 'head -c 100; exit 74'", id="disk full"),
        pytest.param("/nonexistent/filterd", id="not there"),
        pytest.param("false", id="refuses"),
    ],
)
def test_the_original_is_kept(program: str, filterd: str, tmp_path: Path) -> None:
    mailbox = delivery.make(tmp_path / "box", program, "", filterd)
    assert mailbox.deliver(BIG) == 0, mailbox.log
    assert mailbox.files() == [BIG]


@PROGRAMS
def test_no_daemon_and_no_model(program: str, tmp_path: Path) -> None:
    mail = delivery.mails(1)[0]
    dead = delivery.make(
        tmp_path / "a", program, str(tmp_path / "nobody.sock"), _nothing_to_judge_with(tmp_path)
    )
    assert dead.deliver(mail) == 0
    assert dead.files() == [mail]


def _nothing_to_judge_with(folder: Path) -> str:
    program = folder / "no-model"
    program.write_text(f'#!/bin/sh\nFILTERD_BUNDLE=/nowhere exec {sys.executable} -m filterd "$@"\n')
    program.chmod(0o755)
    return str(program)


@pytest.mark.slow
@PROGRAMS
def test_a_daemon_that_hangs(program: str, tmp_path: Path, daemon: Daemon) -> None:
    """The filter waits for as long as it waits (30 s; here it is killed after 2), and the mail arrives."""
    mailbox = delivery.make(tmp_path / "box", program, str(daemon.http))
    mail = delivery.mails(1)[0]
    daemon.send(signal.SIGSTOP)
    try:
        assert mailbox.deliver(mail, kill_after_s=2.0) == 0
    finally:
        daemon.send(signal.SIGCONT)
    assert mailbox.files() == [mail]
