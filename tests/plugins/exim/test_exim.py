"""A real Exim with the two pieces of deploy/exim/filterd.conf, asking `filterd serve` as spamd's client."""

import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT, need_program
from tests.filterd.daemon.test_server import GTUBE_MAIL, HAM, Daemon
from tests.peers.postfix import free_port

EXIM = Path("/var/tmp/filterd-exim/usr/sbin/exim4")
SNIPPET = ROOT / "deploy" / "exim" / "filterd.conf"
TIMEOUT_S = 15.0
FORGED = b"X-Spam-Flag: YES\nX-Spam-Status: Yes, score=99\nX-Spam-Level: *****\nX-Spam-Report: forged\n" + HAM

CONFIGURATION = """\
exim_path = {exim}
exim_user = Debian-exim
spool_directory = {folder}/spool
log_file_path = {folder}/log/%slog
pid_file_path = {folder}/exim.pid
primary_hostname = mail.example.org
daemon_smtp_ports = {port}
local_interfaces = 127.0.0.1
keep_environment =
acl_smtp_rcpt = accept
acl_smtp_data = data
{main}
begin acl
data:
{acl}
  accept
begin routers
all:
  driver = accept
  transport = maildir
begin transports
maildir:
  driver = appendfile
  directory = {folder}/mail
  maildir_format
  envelope_to_add
  user = Debian-exim
begin retry
* * F,1h,1s
"""


class Exim:
    """One instance, started as root on a port of its own."""

    def __init__(self, folder: Path, spamd: Path, *, refuse: bool = False, strict: bool = False) -> None:
        self.folder, self.port = folder, free_port()
        for name in ("spool", "log", "mail"):
            (folder / name).mkdir()
            shutil.chown(folder / name, "Debian-exim")
        main, acl = pieces(spamd, refuse=refuse, strict=strict)
        given = {"exim": EXIM, "folder": folder, "port": self.port, "main": main, "acl": acl}
        (folder / "exim.conf").write_text(CONFIGURATION.format(**given))
        self._process = subprocess.Popen(
            [EXIM, "-C", str(folder / "exim.conf"), "-bdf", "-q1s"], stdin=subprocess.DEVNULL
        )
        wait_for(self._answers)

    def _answers(self) -> bool:
        assert self._process.poll() is None, self.log
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=TIMEOUT_S) as client:
                return client.recv(4) == b"220 "
        except OSError:
            return False

    @property
    def log(self) -> str:
        return "".join(file.read_text() for file in sorted((self.folder / "log").glob("*")))

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(TIMEOUT_S)

    def send(self, user: str, mail: bytes) -> subprocess.CompletedProcess[bytes]:
        command = [
            need_program("swaks"),
            "--server",
            f"127.0.0.1:{self.port}",
            "--helo",
            "client.example.net",
        ]
        command += ["--from", "ann@example.net", "--to", f"{user}@example.org", "--data", "-"]
        return subprocess.run(command, input=mail, capture_output=True, timeout=TIMEOUT_S, check=False)

    def mailbox(self, user: str) -> list[bytes]:
        for_user = f"Envelope-to: {user}@example.org\n".encode()
        mails = [file.read_bytes() for file in (self.folder / "mail" / "new").glob("*")]
        return [mail for mail in mails if mail.startswith(for_user)]

    def arrived(self, user: str) -> bytes:
        wait_for(lambda: self.mailbox(user))
        (mail,) = self.mailbox(user)
        return mail


def pieces(spamd: Path, *, refuse: bool, strict: bool) -> tuple[str, str]:
    """The two pieces of our file, with what is commented there as wanted."""
    text = SNIPPET.read_text("utf-8").replace("/run/filterd/spamd.sock retry=5s", f"{spamd} retry=1s")
    if strict:
        text = uncommented(text, "wait at its sender")
    if refuse:
        text = uncommented(text, "To refuse instead")
    main, acl = re.split(r"^# 2\..*\n", text, flags=re.M)
    return main, acl


def uncommented(text: str, after: str) -> str:
    """The file with the `deny` that follows these words in force."""
    head, deny, rest = re.split(r"^  # (deny\n)", text[text.index(after) :], maxsplit=1, flags=re.M)
    lines = rest.split("\n\n")
    body = re.sub(r"^  # ", "  ", lines[0], flags=re.M)
    return text[: text.index(after)] + head + "  " + deny + "\n\n".join([body, *lines[1:]])


def wait_for(condition: Callable[[], object]) -> None:
    until = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    folder = Path(tempfile.mkdtemp(dir="/tmp", prefix="filterd-"))
    folder.chmod(0o755)
    made = Daemon(folder)
    made.start()
    yield made
    made.end(signal.SIGKILL)
    shutil.rmtree(folder)


@pytest.fixture
def make(daemon: Daemon) -> Iterator[Callable[..., Exim]]:
    """Makes instances of Exim; those that ask nobody have a socket where nobody listens."""
    if not EXIM.exists():
        pytest.skip("program exim4 is not unpacked; run tests/plugins/exim/unpack.sh as root")
    started: list[Exim] = []

    def start(*, down: bool = False, spamd: Path = daemon.spamd, **options: bool) -> Exim:
        folder = Path(tempfile.mkdtemp(dir="/tmp", prefix="exim-"))
        folder.chmod(0o755)
        started.append(Exim(folder, folder / "nobody.sock" if down else spamd, **options))
        return started[-1]

    yield start
    for one in started:
        one.stop()
        shutil.rmtree(one.folder)


def test_ham_and_spam_are_marked_and_forged_headers_go(make: Callable[..., Exim]) -> None:
    exim = make()
    for user, mail in (("ham", HAM), ("forged", FORGED), ("spam", GTUBE_MAIL)):
        assert exim.send(user, mail).returncode == 0
    for user in ("ham", "forged"):
        headers = exim.arrived(user).partition(b"\n\n")[0]
        assert re.search(rb"^X-Spam-Score: -?[0-9.]+$", headers, re.M), headers
        assert not re.search(rb"^X-Spam-(Flag|Report|Status):", headers, re.M), headers
        assert len(re.findall(rb"^X-Spam-", headers, re.M)) == 2
    spam = exim.arrived("spam").partition(b"\n\n")[0]
    assert re.findall(rb"^X-Spam-Flag: .*$", spam, re.M) == [b"X-Spam-Flag: YES"]
    assert re.search(rb"^X-Spam-Level: \+{5,}$", spam, re.M), spam


def test_spam_is_refused_to_its_sender(make: Callable[..., Exim]) -> None:
    exim = make(refuse=True)
    done = exim.send("spam", GTUBE_MAIL)
    assert re.search(rb"<\*\* 550 This message looks like spam \([0-9.]+ points\)", done.stdout), done.stdout
    assert exim.send("ham", HAM).returncode == 0
    assert exim.arrived("ham")
    assert not exim.mailbox("spam")


@pytest.mark.parametrize("mail", [HAM, GTUBE_MAIL], ids=["ham", "spam"])
def test_without_filterd_mail_passes_unmarked(mail: bytes, make: Callable[..., Exim]) -> None:
    exim = make(down=True, refuse=True)
    assert exim.send("down", mail).returncode == 0
    assert b"X-Spam-" not in exim.arrived("down")
    assert "spam acl condition" in exim.log


def test_without_filterd_mail_waits_where_that_is_wanted(make: Callable[..., Exim], daemon: Daemon) -> None:
    exim = make(down=True, strict=True)
    done = exim.send("later", HAM)
    assert b"<** 451 Temporary local problem" in done.stdout, done.stdout
    assert not exim.mailbox("later")
    (exim.folder / "nobody.sock").symlink_to(daemon.spamd)
    assert exim.send("later", HAM).returncode == 0
    assert exim.arrived("later")


@pytest.fixture(scope="module")
def busy() -> Iterator[Daemon]:
    """One that gets nothing done in time."""
    folder = Path(tempfile.mkdtemp(dir="/tmp", prefix="filterd-"))
    folder.chmod(0o755)
    made = Daemon(folder)
    made.configure(queue={"deadline_s": 0.000001, "on_error": "tempfail"})
    made.start()
    yield made
    made.end(signal.SIGKILL)
    shutil.rmtree(folder)


@pytest.mark.parametrize("strict", [False, True], ids=["passes unmarked", "waits where that is wanted"])
def test_an_overloaded_filterd(strict: bool, busy: Daemon, make: Callable[..., Exim]) -> None:
    exim = make(spamd=busy.spamd, strict=strict)
    done = exim.send("busy", HAM)
    assert "spam acl condition" in exim.log
    if strict:
        assert b"<** 451 Temporary local problem" in done.stdout, done.stdout
        assert not exim.mailbox("busy")
    else:
        assert done.returncode == 0, done.stdout
        assert b"X-Spam-" not in exim.arrived("busy")
