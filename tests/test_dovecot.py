"""deploy/dovecot in a real Dovecot: filing by LMTP, corrections by IMAP, and what happens on failure."""

import os
import re
import shutil
import signal
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.filterd.daemon.test_server import Daemon
from tests.peers import dovecot
from tests.peers.dovecot import DEPLOY, Dovecot
from tests.test_docs import commands

SPAM = (
    b"Received: from shop.example.net by mx.example.org; Mon, 2 Mar 2026 08:00:00 +0000\r\n"
    b"From: Garden Desk <desk@shop.example.net>\r\nTo: ann@example.org\r\n"
    b"Subject: Order 4711 is waiting for you\r\nMessage-ID: <4711@shop.example.net>\r\n\r\n"
    b"Dear Ann,\r\nthe copper kettle that you looked at is down to nine coins until Tuesday night.\r\n"
    b"Two neighbours of yours have taken theirs already. Follow http://kettle.example.net/4711 and it\r\n"
    b"comes with a lid of oak, our guarantee for forty years and a booklet of the finest soups.\r\n"
)
COPY = (
    SPAM.replace(b"4711", b"98833").replace(b"Ann", b"Bert").replace(b"ann@", b"bert@")
    + b"PS: the booklet is bound in linen.\r\n"
)
HAM = (
    b"From: ben@example.org\r\nTo: ann@example.org\r\nSubject: lunch on friday\r\n\r\n"
    b"Shall we meet at noon, the usual place by the river? Carla comes too, and brings the plans.\r\n"
)


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    """With the engine that counts words, for which SPAM is ham: what moves it is the correction alone."""
    folder = Path(tempfile.mkdtemp(dir="/tmp", prefix="filterd-"))
    made = Daemon(folder)
    made.serving = "tests.filterd.serving"
    made.configure(cache={"messages": 0})
    made.start()
    yield made
    if made.process and made.process.poll() is None:
        made.end(signal.SIGKILL)
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def server(daemon: Daemon) -> Iterator[Dovecot]:
    environment = {
        "FILTERD_SOCKET": str(daemon.http),
        "FILTERD_CONFIG": str(daemon.folder / "filterd.yaml"),
    }
    with dovecot.running(judging=True, **environment) as made:
        yield made


@pytest.fixture(autouse=True)
def clean(daemon: Daemon, server: Dovecot) -> Iterator[None]:
    """Empty folders and nothing learned; the daemon is there again afterwards."""
    yield
    if not daemon.process or daemon.process.poll() is not None:
        daemon.start()
    for mail in (SPAM, COPY, HAM):
        daemon.run("forget", stdin=mail)
    for folder in ("INBOX", "Junk", "Trash", "Archive"):
        with server.imap() as client:
            client.select(folder)
            client.uid("STORE", "1:*", "+FLAGS", "\\Deleted")
            client.expunge()
    server.script("")


def corrections(daemon: Daemon) -> dict[str, int]:
    """How many there are of each label."""
    said = daemon.run("feedback", "stats").stdout.decode().split("\n")
    found = dict(line.split(None, 1) for line in said if line.strip())
    return {label: int(found[label]) for label in ("spam", "ham")}


def label_in(mail: bytes) -> str:
    """What the header says; "" where filterd has not judged."""
    head = mail.split(b"\r\n\r\n")[0].replace(b"\r\n\t", b" ")
    status = [line for line in head.split(b"\r\n") if line.startswith(b"X-Spam-Status:")]
    return status[0].split(b"label=")[1].split()[0].decode() if status else ""


def test_a_move_to_junk_is_learned_and_the_next_copy_goes_there(server: Dovecot, daemon: Daemon) -> None:
    server.deliver(SPAM)
    (first,) = server.mails("INBOX")
    assert label_in(first) == "ham"
    server.move("INBOX", "Junk")
    assert corrections(daemon) == {"spam": 1, "ham": 0}

    server.deliver(COPY)
    assert server.mails("INBOX") == []
    assert [label_in(mail) for mail in server.mails("Junk")] == ["ham", "spam"]
    server.deliver(HAM)
    assert [label_in(mail) for mail in server.mails("INBOX")] == ["ham"], "others are judged as before"
    assert server.errors() == []


def test_a_move_out_of_junk_is_learned_and_the_next_copy_stays(server: Dovecot, daemon: Daemon) -> None:
    wrong = HAM.replace(b"Carla", b"The winner of the urgent prize")
    server.deliver(wrong)
    assert [label_in(mail) for mail in server.mails("Junk")] == ["spam"]
    server.move("Junk", "INBOX")
    assert corrections(daemon) == {"spam": 0, "ham": 1}
    server.deliver(wrong.replace(b"noon", b"one"))
    assert [label_in(mail) for mail in server.mails("INBOX")] == ["spam", "ham"]
    daemon.run("forget", stdin=wrong)


@pytest.mark.parametrize(
    ("target", "how", "learned"),
    [
        pytest.param("Trash", "MOVE", 0, id="thrown away"),
        pytest.param("Archive", "MOVE", 1, id="archived"),
        pytest.param("INBOX", "COPY", 1, id="copied, as clients without MOVE do"),
    ],
)
def test_what_leaves_junk_is_ham_unless_thrown_away(
    server: Dovecot, daemon: Daemon, target: str, how: str, learned: int
) -> None:
    server.deliver(SPAM)
    server.move("INBOX", "Junk")
    server.move("Junk", target, how=how)
    assert corrections(daemon) == {"spam": 1 - learned, "ham": learned}, "the last word wins"


def test_moves_between_other_folders_teach_nothing(server: Dovecot, daemon: Daemon) -> None:
    server.deliver(SPAM)
    for source, target in (("INBOX", "Archive"), ("Archive", "Trash"), ("Trash", "INBOX")):
        server.move(source, target)
    assert corrections(daemon) == {"spam": 0, "ham": 0}


def test_a_users_own_rules_see_the_headers(server: Dovecot) -> None:
    server.script('require "fileinto"; if header :contains "X-Spam-Status" "label=ham" {fileinto "Archive";}')
    server.deliver(HAM)
    assert len(server.mails("Archive")) == 1


def test_a_user_cannot_call_programs(server: Dovecot) -> None:
    server.script('require ["vnd.dovecot.pipe", "copy"]; pipe :copy "filterd-learn" ["--ham"];')
    server.deliver(HAM)
    assert len(server.mails("INBOX")) == 1, "a wrong script of a user loses no mail"
    said = (server.folder / "home" / "ann" / ".dovecot.sieve.log").read_text("utf-8")
    assert "unknown command 'pipe'" in said


def test_a_mail_comes_out_as_it_came_but_for_the_headers(server: Dovecot) -> None:
    body = b"\r\n".join((b".dot", b"From the top", b"caf\xe9 \x80\xff", b"x" * 900, b"", b"no end"))
    server.deliver(HAM + body * 9000)  # 9 MB: more than filterd holds in memory
    (mail,) = server.mails("INBOX")
    assert label_in(mail) == "unsure"  # most of it is not read, so it is not called ham by what is left
    assert mail.removesuffix(b"\r\n").endswith(HAM + body * 9000)


class TestWithoutADaemon:
    """Moves succeed, mail arrives, and a correction is not lost."""

    def test_down(self, server: Dovecot, daemon: Daemon) -> None:
        server.deliver(SPAM)
        daemon.end()
        server.move("INBOX", "Junk")
        daemon.start()
        assert corrections(daemon) == {"spam": 1, "ham": 0}
        server.deliver(COPY)
        assert [label_in(mail) for mail in server.mails("Junk")] == ["ham", "spam"]

    @pytest.mark.slow
    def test_hanging(self, server: Dovecot, daemon: Daemon) -> None:
        server.deliver(SPAM)
        daemon.send(signal.SIGSTOP)
        server.move("INBOX", "Junk")
        daemon.send(signal.SIGCONT)
        assert len(server.mails("Junk")) == 1
        assert corrections(daemon) == {"spam": 1, "ham": 0}
        daemon.end()
        daemon.start()
        server.deliver(COPY)
        assert [label_in(mail) for mail in server.mails("Junk")] == ["ham", "spam"]

    def test_nothing_works(self, server: Dovecot, daemon: Daemon) -> None:
        """A program that is not there: the mail arrives and moves; an administrator reads why in the log."""
        program = server.folder / "filterd"
        program.rename(server.folder / "away")
        before = len(server.errors())
        try:
            server.deliver(HAM)
            server.move("INBOX", "Junk")
        finally:
            (server.folder / "away").rename(program)
        (mail,) = server.mails("Junk")
        assert label_in(mail) == ""
        said = "\n".join(server.errors()[before:])
        assert "filterd-tag: Error: Script terminated abnormally, exit status 127" in said
        assert "report-spam.sieve failed" in said
        assert "Panic" not in said


@pytest.mark.parametrize(
    ("program", "size"),
    [
        pytest.param("kill -9 $$", 0, id="killed at once"),
        pytest.param("head -c 100; kill -9 $$", 0, id="killed in the middle"),
        pytest.param("head -c 2000000; kill -9 $$", 4 << 20, id="killed in the middle of a large mail"),
        pytest.param("cat; exit 75", 4 << 20, id="refuses after all"),
    ],
)
def test_a_filter_that_dies_leaves_the_mail_as_it_was(server: Dovecot, program: str, size: int) -> None:
    script = server.folder / "filterd"
    kept = script.read_bytes()
    script.write_text(f"#!/bin/sh\n{program}\n")
    server.script('require "fileinto"; fileinto "Archive";')
    try:
        server.deliver(HAM + b"a line of text\r\n" * (size // 16))
    finally:
        script.write_bytes(kept)
    (mail,) = server.mails("Archive")  # and the user's own rules went on
    assert mail.endswith(HAM + b"a line of text\r\n" * (size // 16))
    assert label_in(mail) == ""
    assert "Panic" not in server.log


def test_mail_that_comes_tagged_is_filed_by_its_header(daemon: Daemon) -> None:
    with dovecot.running(FILTERD_SOCKET=str(daemon.http)) as server:
        server.deliver(b"X-Spam-Flag: YES\r\n" + HAM)
        server.deliver(HAM)
        assert [len(server.mails(folder)) for folder in ("INBOX", "Junk")] == [1, 1]
        assert server.errors() == []


def test_the_pipe_is_a_program_and_calls_commands_that_exist() -> None:
    assert (DEPLOY / "sieve" / "filterd-pipe").stat().st_mode & stat.S_IXUSR
    assert os.access(DEPLOY / "sieve" / "filterd-pipe", os.X_OK)
    text = (DEPLOY / "90-filterd.conf").read_text("utf-8")
    called = re.findall(r"^  executable = script /etc/dovecot/sieve/filterd-pipe (\w+)", text, re.M)
    assert called == ["learn", "check"]
    assert {f"filterd {name}" for name in called} <= set(commands("filterd"))
