"""A real Dovecot for one test, with the files of deploy/dovecot as an administrator would install them.

    with running(FILTERD_SOCKET="/…/http.sock") as dovecot:
        dovecot.deliver(mail)                       # by LMTP to its user, ann
        with dovecot.imap() as mailbox:
            mailbox.select("INBOX")
        dovecot.mails("Junk")                       # what is in a folder

Only paths, users and filterd's program are replaced in the shipped files. Dovecot starts as root, and so do
filterd's processes; mailboxes belong to a user id of their own. Everything lies below /tmp.
"""

import contextlib
import imaplib
import os
import shlex
import shutil
import smtplib
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT, need_program
from tests.peers.postfix import free_port

DEPLOY = ROOT / "deploy" / "dovecot"
TIMEOUT_S = 30.0  # of anything; a quiet machine needs two
POLL_S = 0.05
MAIL_UID = 5000  # of mailboxes: Dovecot serves nobody below 500
USER, PASSWORD = "ann", "secret"
FULL = "ben"  # whose quota no mail fits into
QUOTA = {USER: "", FULL: "userdb_quota_rule=*:bytes=1"}

CONFIG = """\
base_dir = {folder}/run
state_dir = {folder}/state
log_path = {folder}/log
protocols = imap lmtp
listen = 127.0.0.1
ssl = no
disable_plaintext_auth = no
passdb {{
  driver = passwd-file
  args = {folder}/users
}}
userdb {{
  driver = passwd-file
  args = {folder}/users
}}
mail_location = maildir:~/Maildir
service imap-login {{
  inet_listener imap {{
    port = {port}
  }}
  inet_listener imaps {{
    port = 0
  }}
}}
mail_plugins = quota
protocol imap {{
  mail_plugins = $mail_plugins imap_quota
}}
auth_username_format = %Ln
namespace inbox {{
  inbox = yes
  mailbox Trash {{
    auto = create
  }}
  mailbox Archive {{
    auto = create
  }}
  mailbox Junk {{
    auto = create
  }}
}}
!include {folder}/90-filterd.conf
plugin {{
  quota = count:User quota
  quota_vsizes = yes
  sieve = file:~/sieve;active=~/.dovecot.sieve
}}
"""


class Dovecot:
    """One instance in a folder. environment: of filterd's processes; judging: whether they judge, too."""

    def __init__(self, folder: Path, environment: dict[str, str], *, judging: bool) -> None:
        self.folder, self.port = folder, free_port()
        self._process: subprocess.Popen[bytes] | None = None
        for name in ("run", "state", "home"):
            (folder / name).mkdir()
        os.chown(folder / "home", MAIL_UID, MAIL_UID)
        users = (f"{name}:{self._account(name)}:{quota}\n" for name, quota in QUOTA.items())
        (folder / "users").write_text("".join(users))
        (folder / "dovecot.conf").write_text(CONFIG.format(folder=folder, port=self.port))
        self._install(environment, judging=judging)

    def _account(self, name: str) -> str:
        """What stands between name and extra fields in a passwd-file."""
        return f"{{PLAIN}}{PASSWORD}:{MAIL_UID}:{MAIL_UID}::{self.folder}/home/{name}:"

    def _install(self, environment: dict[str, str], *, judging: bool) -> None:
        """What docs/plugins/dovecot.md says, with other paths."""
        sieve, program = self.folder / "sieve", self.folder / "filterd"
        shutil.copytree(DEPLOY / "sieve", sieve)
        said = [f"export {name}={shlex.quote(value)}" for name, value in environment.items()]
        command = f'cd {ROOT}; exec {sys.executable} -m filterd "$@"'
        program.write_text("\n".join(("#!/bin/sh", *said, command, "")))
        program.chmod(0o755)
        pipe = sieve / "filterd-pipe"
        pipe.write_text(pipe.read_text("utf-8").replace("/opt/filterd/bin/filterd", str(program)), "utf-8")
        shipped = (DEPLOY / "90-filterd.conf").read_text("utf-8")
        shipped = shipped.replace("/etc/dovecot/sieve", str(sieve)).replace("user = filterd", "user = root")
        if judging:
            shipped = shipped.replace("/file-spam.sieve\n", "/judge.sieve\n")
        (self.folder / "90-filterd.conf").write_text(shipped, "utf-8")
        for script in sieve.glob("*.sieve"):
            self._run("sievec", "-c", str(self.folder / "dovecot.conf"), str(script))

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run([need_program(program), *arguments], capture_output=True, check=False)
        assert (done.returncode, done.stdout + done.stderr) == (0, b"")

    def start(self) -> None:
        """Returns once it answers on its port."""
        self._process = subprocess.Popen(
            [need_program("dovecot"), "-c", str(self.folder / "dovecot.conf"), "-F"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.wait_for(self._answers)

    def _answers(self) -> bool:
        try:
            with self.imap():
                return True
        except OSError:
            return False

    def stop(self) -> None:
        """End every process of this instance."""
        if self._process:
            self._process.terminate()
            self._process.wait(TIMEOUT_S)

    @property
    def lmtp(self) -> Path:
        """Its socket for mail."""
        return self.folder / "run" / "lmtp"

    @property
    def log(self) -> str:
        """Everything that this instance has logged."""
        file = self.folder / "log"
        return file.read_text("utf-8", "replace") if file.exists() else ""

    def errors(self) -> list[str]:
        """Lines of the log that an administrator would look at."""
        return [line for line in self.log.splitlines() if " Error: " in line or "Panic" in line]

    @contextlib.contextmanager
    def imap(self) -> Iterator[imaplib.IMAP4]:
        """A connection that is logged in."""
        with imaplib.IMAP4("127.0.0.1", self.port, timeout=TIMEOUT_S) as client:
            client.login(USER, PASSWORD)
            yield client

    def deliver(self, mail: bytes) -> None:
        """Hand a mail over by LMTP; raises what smtplib raises where it is not taken."""
        with smtplib.LMTP(str(self.lmtp), timeout=TIMEOUT_S) as client:
            client.sendmail("sender@example.net", [USER], mail)

    def script(self, text: str) -> None:
        """The user's own sieve script."""
        home = self.folder / "home" / USER
        home.mkdir(exist_ok=True)
        (home / ".dovecot.sieve").write_text(text)
        for path in (home, home / ".dovecot.sieve"):
            os.chown(path, MAIL_UID, MAIL_UID)

    def mails(self, folder: str) -> list[bytes]:
        """The mails in a folder, oldest first, with lines ending in CRLF."""
        with self.imap() as client:
            status, _ = client.select(f'"{folder}"', readonly=True)
            if status != "OK":
                return []
            _, found = client.uid("SEARCH", "ALL")
            fetched = [client.uid("FETCH", uid, "(BODY.PEEK[])")[1][0] for uid in found[0].decode().split()]
            return [one[1] for one in fetched if isinstance(one, tuple)]

    def move(self, source: str, target: str, *, how: str = "MOVE") -> None:
        """Move (or COPY) the newest mail of one folder into another."""
        with self.imap() as client:
            client.select(f'"{source}"')
            _, found = client.uid("SEARCH", "ALL")
            newest = found[0].decode().split()[-1]
            status, said = client.uid(how, newest, f'"{target}"')
            assert status == "OK", said

    def wait_for(self, condition: Callable[[], object], timeout_s: float = TIMEOUT_S) -> None:
        """Wait until something is so; fails with Dovecot's log where it does not come."""
        until = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < until, self.log
            time.sleep(POLL_S)


@contextlib.contextmanager
def running(*, judging: bool = False, **environment: str) -> Iterator[Dovecot]:
    """A started Dovecot, gone afterwards with all its files. Skips where it is missing or we are not root."""
    need_program("dovecot")
    if os.getuid():
        pytest.skip("Dovecot serves several users as root only")
    folder = Path(tempfile.mkdtemp(dir="/tmp", prefix="dovecot-"))
    folder.chmod(0o755)
    try:
        dovecot = Dovecot(folder, environment, judging=judging)
        try:
            dovecot.start()
            yield dovecot
        finally:
            dovecot.stop()
    finally:
        shutil.rmtree(folder)
