"""deploy/sms: the scripts by real smsd (with a modem of ours) and real gammu-smsd (with its dummy phone).

Whatever filterd does, a message that comes in is kept and one that goes out is sent.
"""

import os
import random
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from filterd.reading.text import GTUBE
from tests.conftest import ROOT, need_program
from tests.peers.modem import Modem

SCRIPTS = ROOT / "deploy" / "sms"
EVENT, CHECK, GAMMU = (SCRIPTS / f"filterd-{name}" for name in ("smsd-event", "smsd-check", "gammu-receive"))
FILTERD = Path(sys.executable).with_name("filterd")
TIMEOUT_S = 60.0
Given = dict[str, str | Path]
HEADER = b"From: 4915550001\nReceived: 26-11-24 20:42:03\nAlphabet: %s\nLength: 9\n\n"

# Fake filterds: what each does when it is asked.
BROKEN = {
    "missing": None,
    "fails": "exit 70",
    "says spam and fails": "echo spam 0.999; exit 1",
    "says nothing": "cat > /dev/null",
    "says nonsense": "cat > /dev/null; echo 'Traceback: spam'",
    "hangs": "exec sleep 30",
    "kills itself": "kill -9 $$",
}


def program(file: Path, body: str | None) -> Path:
    if body is not None:
        file.write_text(f"#!/bin/sh\n{body}\n")
        file.chmod(0o755)
    return file


def run(script: Path, *arguments: str | Path, **environment: str | Path) -> int:
    env = {"PATH": os.environ["PATH"], **{name: str(value) for name, value in environment.items()}}
    return subprocess.run([script, *arguments], env=env, check=False, timeout=TIMEOUT_S).returncode


def wait_for(condition: Callable[[], object], log: Path) -> None:
    until = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < until, log.read_text("latin-1") if log.exists() else "no log"
        time.sleep(0.05)


@pytest.fixture
def spam_sayer(tmp_path: Path) -> Path:
    """A filterd that keeps what it was asked, and finds spam where it says "prize"."""
    asked = tmp_path / "asked"
    spam, ham = "echo 'spam    0.993  sms  x *'", "echo 'ham     0.010  sms  x'"
    return program(tmp_path / "filterd", f"cat > {asked}; grep -q prize {asked} && {spam} || {ham}")


def message(folder: Path, text: bytes, alphabet: bytes = b"ISO") -> Path:
    folder.mkdir(exist_ok=True)
    file = folder / "GSM1.abcdef"
    file.write_bytes(HEADER % alphabet + text)
    file.chmod(0o640)
    os.utime(file, (1_700_000_000, 1_700_000_000))
    return file


@pytest.mark.parametrize("script", [EVENT, CHECK, GAMMU], ids=lambda script: script.name)
def test_scripts_are_plain_shell_and_executable(script: Path) -> None:
    assert script.stat().st_mode & stat.S_IXUSR
    assert script.read_text().startswith("#!/bin/sh\n")
    subprocess.run(["sh", "-n", script], check=True)
    assert "eval" not in script.read_text()


@pytest.mark.parametrize(
    ("alphabet", "raw"),
    [
        (b"ISO", "größer, prize".encode("iso-8859-15")),
        (b"UTF-8", "größer, prize".encode()),
        (b"UCS2", "größer, prize\nਊ prize".encode("utf-16-be")),
    ],
)
def test_an_incoming_message_is_marked(tmp_path: Path, spam_sayer: Path, alphabet: bytes, raw: bytes) -> None:
    file = message(tmp_path / "incoming", raw, alphabet)
    assert run(EVENT, "RECEIVED", file, FILTERD=spam_sayer) == 0
    assert "größer, prize" in (tmp_path / "asked").read_text("utf-8")
    marked = HEADER[:-1] % alphabet + b"X-Spam-Label: spam\nX-Spam-Probability: 0.993\n\n" + raw
    assert file.read_bytes() == marked
    assert (int(file.stat().st_mtime), file.stat().st_mode & 0o777) == (1_700_000_000, 0o640)
    assert [path.name for path in file.parent.iterdir()] == [file.name]
    assert run(EVENT, "RECEIVED", file, FILTERD=spam_sayer) == 0
    assert file.read_bytes() == marked, "a second time changes nothing"


def test_spam_is_moved_where_asked_and_the_next_handler_is_told(tmp_path: Path, spam_sayer: Path) -> None:
    (tmp_path / "spam").mkdir()
    following = program(tmp_path / "next", f'echo "$@" >> {tmp_path}/told')
    given: Given = {"FILTERD": spam_sayer, "SPAM_FOLDER": tmp_path / "spam", "NEXT": following}
    for text in (b"your prize", b"see you"):
        assert run(EVENT, "RECEIVED", message(tmp_path / "incoming", text), **given) == 0
    run(EVENT, "SENT", tmp_path / "sent", "17", **given)
    assert (tmp_path / "told").read_text().splitlines() == [
        f"RECEIVED {tmp_path}/spam/GSM1.abcdef",
        f"RECEIVED {tmp_path}/incoming/GSM1.abcdef",
        f"SENT {tmp_path}/sent 17",
    ]
    assert (tmp_path / "spam" / "GSM1.abcdef").read_bytes().endswith(b"\n\nyour prize")


def test_nothing_in_the_spam_folder_is_replaced(tmp_path: Path, spam_sayer: Path) -> None:
    there = message(tmp_path / "spam", b"another")
    file = message(tmp_path / "incoming", b"your prize")
    assert run(EVENT, "RECEIVED", file, FILTERD=spam_sayer, SPAM_FOLDER=tmp_path / "spam") == 0
    assert there.read_bytes().endswith(b"another")
    assert file.read_bytes().endswith(b"your prize")


@pytest.mark.parametrize("how", BROKEN)
def test_whatever_filterd_does_the_message_stays_as_it_is(tmp_path: Path, how: str) -> None:
    (tmp_path / "spam").mkdir()
    file = message(tmp_path / "incoming", b"your prize")
    before = file.read_bytes()
    given: Given = {"FILTERD": program(tmp_path / "filterd", BROKEN[how]), "TIMEOUT_S": "0.3"}
    assert run(EVENT, "RECEIVED", file, SPAM_FOLDER=tmp_path / "spam", **given) == 0
    assert file.read_bytes() == before
    assert run(CHECK, file, **given) == 0, "it is sent"
    (tmp_path / "inbox").mkdir()
    (tmp_path / "inbox" / "IN1.txt").write_bytes(b"x")
    gammu: Given = {"SMS_MESSAGES": "1", "SMS_1_TEXT": "your prize", "INBOX": tmp_path / "inbox"}
    assert run(GAMMU, "IN1.txt", SPAM_FOLDER=tmp_path / "spam", **gammu, **given) == 0
    assert (tmp_path / "inbox" / "IN1.txt").exists()


@pytest.mark.parametrize("alphabet", [b"binary", b"GSM"])
def test_what_is_no_text_is_not_judged(tmp_path: Path, alphabet: bytes) -> None:
    asked = program(tmp_path / "filterd", f'test -n "$(cat)" && touch {tmp_path}/asked; echo bad; exit 65')
    file = message(tmp_path / "incoming", b"\x00prize", alphabet)
    before = file.read_bytes()
    assert run(EVENT, "RECEIVED", file, FILTERD=asked) == 0
    assert run(CHECK, file, FILTERD=asked) == 0
    assert file.read_bytes() == before
    assert not (tmp_path / "asked").exists()


def test_killed_at_random_times_the_message_is_there_and_whole(tmp_path: Path, spam_sayer: Path) -> None:
    (tmp_path / "spam").mkdir()
    chance = random.Random(7)
    env = {"PATH": os.environ["PATH"], "FILTERD": str(spam_sayer), "SPAM_FOLDER": str(tmp_path / "spam")}
    for _ in range(25):
        file = message(tmp_path / "incoming", b"your prize")
        process = subprocess.Popen([EVENT, "RECEIVED", file], env=env, start_new_session=True)
        time.sleep(chance.random() * 0.08)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        [found] = list(tmp_path.glob("*/GSM1.abcdef"))
        assert found.read_bytes().startswith(HEADER[:-1] % b"ISO")
        assert found.read_bytes().endswith(b"\n\nyour prize")
        found.unlink()


@pytest.mark.parametrize(("text", "status"), [(b"your prize", 1), (b"see you", 0)])
@pytest.mark.parametrize("header", [b"", b"Alphabet: iso\n", b"Alphabet: UTF-8\n"])
def test_outgoing_spam_is_refused(
    tmp_path: Path, spam_sayer: Path, header: bytes, text: bytes, status: int
) -> None:
    file = tmp_path / "out"
    file.write_bytes(b"To: 4915550002\n" + header + b"\n" + text + b"\n")
    assert run(CHECK, file, FILTERD=spam_sayer) == status


def test_gammu_hands_on_whole_texts_and_ids(tmp_path: Path, spam_sayer: Path) -> None:
    told = program(tmp_path / "told", f'echo "$LABEL $@" >> {tmp_path}/list')
    given: Given = {"FILTERD": spam_sayer, "NEXT": told, "ON_SPAM": told, "SMS_MESSAGES": "2"}
    parts = {"SMS_1_TEXT": "your pr", "SMS_2_TEXT": "ize"}
    assert run(GAMMU, "1", "2", DECODED_PARTS="1", DECODED_1_TEXT="your prize", **parts, **given) == 0
    assert run(GAMMU, "3", DECODED_PARTS="0", SMS_1_TEXT="see you", **given) == 0
    assert (tmp_path / "list").read_text() == "spam 1 2\nham 3\n"


SMSD = """
devices = GSM1
incoming = {0}/incoming
outgoing = {0}/outgoing
checked = {0}/checked
failed = {0}/failed
sent = {0}/sent
infofile = {0}/info
pidfile = {0}/pid
logfile = {0}/log
loglevel = 7
delaytime = 1
receive_before_send = yes
eventhandler = {1}
checkhandler = {2}

[GSM1]
device = @127.0.0.1:{3}
incoming = yes
pin = ignore
"""


@pytest.fixture
def smsd(tmp_path: Path) -> Iterator[tuple[Modem, Path]]:
    """A modem, and the folders of a real smsd that runs our scripts with the real filterd."""
    found, modem = need_program("smsd"), Modem()
    for name in ("incoming", "outgoing", "checked", "failed", "sent", "spam"):
        (tmp_path / name).mkdir()
    (tmp_path / "conf").write_text(SMSD.format(tmp_path, EVENT, CHECK, modem.port))
    given = {"FILTERD": str(FILTERD), "FILTERD_SOCKET": "", "SPAM_FOLDER": str(tmp_path / "spam")}
    process = subprocess.Popen(
        [found, f"-c{tmp_path}/conf"],
        env={**os.environ, **given, "TIMEOUT_S": "60"},
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    yield modem, tmp_path
    os.killpg(process.pid, signal.SIGKILL)  # it ends a cycle first when asked to stop
    process.wait()
    modem.stop()


@pytest.mark.slow
def test_smsd_receives_and_sends(smsd: tuple[Modem, Path]) -> None:
    modem, folder = smsd
    log = folder / "log"
    texts = ["see you at noon", "Grüße, 日本", GTUBE]
    for number, text in enumerate(texts):
        modem.receive(f"491555000{number}", text)
    (folder / "outgoing" / "good").write_text("To: 491234567\n\nsee you at noon\n")
    (folder / "outgoing" / "bad").write_text(f"To: 491234567\n\n{GTUBE}\n")
    wait_for(lambda: len(marked(folder)) == 3 and (folder / "sent" / "good").exists(), log)
    wait_for(lambda: any((folder / "failed").iterdir()), log)

    where = {sender(path): path for path in marked(folder)}
    assert {number: path.parent.name for number, path in where.items()} == {
        "4915550000": "incoming",
        "4915550001": "incoming",
        "4915550002": "spam",
    }
    assert b"X-Spam-Label: spam\n" in where["4915550002"].read_bytes()
    assert where["4915550001"].read_bytes().endswith(texts[1].encode("utf-16-be"))
    assert modem.card == {}
    assert len(modem.sent) == 1
    assert "Rejected by checkhandler" in (folder / "failed" / "bad").read_text()


def marked(folder: Path) -> list[Path]:
    files = [path for name in ("incoming", "spam") for path in (folder / name).glob("GSM1.*")]
    return [path for path in files if b"\nX-Spam-Label: " in path.read_bytes()]


def sender(path: Path) -> str:
    return path.read_bytes().split(b"\n")[0].decode().removeprefix("From: ")


GAMMU_RC = """
[gammu]
device = {0}/phone
connection = none
model = dummy

[smsd]
service = files
logfile = {0}/log
inboxpath = {0}/inbox/
outboxpath = {0}/outbox/
sentsmspath = {0}/sent/
errorsmspath = {0}/error/
RunOnReceive = {1}
CommTimeout = 1
ReceiveFrequency = 1
LoopSleep = 1
"""


@pytest.mark.slow
def test_gammu_smsd_receives(tmp_path: Path) -> None:
    gammu, gammu_smsd = need_program("gammu"), need_program("gammu-smsd")
    for name in ("phone/sms/1", "inbox", "outbox", "sent", "error", "spam"):
        (tmp_path / name).mkdir(parents=True)
    rc = tmp_path / "rc"
    rc.write_text(GAMMU_RC.format(tmp_path, GAMMU))
    long = "see you at noon, the usual place by the river, and bring the plans for the new roof. " * 3
    for number, text in enumerate(["größer", GTUBE, long]):
        to = ["-folder", "1", "-unread", "-sender", f"+491555000{number}", "-autolen", "400"]
        save = [gammu, "-c", str(rc), "savesms", "TEXT", *to, "-text", text]
        subprocess.run(save, check=True, capture_output=True)
    given = {"FILTERD": str(FILTERD), "FILTERD_SOCKET": "", "INBOX": str(tmp_path / "inbox")}
    given |= {"SPAM_FOLDER": str(tmp_path / "spam"), "TIMEOUT_S": "60", "LC_ALL": "C.UTF-8"}
    env, nowhere = os.environ | given, subprocess.DEVNULL
    process = subprocess.Popen([gammu_smsd, "-c", rc], env=env, stdout=nowhere, stderr=nowhere)
    try:
        log = tmp_path / "log"
        wait_for(lambda: log.exists() and log.read_text("latin-1").count("finished successfully") == 3, log)
    finally:
        process.terminate()
        process.wait()
    assert [path.name.split("_")[3] for path in (tmp_path / "spam").iterdir()] == ["+4915550001"]
    kept = sorted(path.name.split("_")[3] for path in (tmp_path / "inbox").iterdir())
    assert kept == ["+4915550000", "+4915550002", "+4915550002"]
