"""A real Postfix for one test: its own configuration, queue, mailboxes and port, started as root and stopped.

    with running(smtpd_milters="inet:127.0.0.1:9999") as postfix:
        postfix.swaks("--to", "ann@example.org")          # mail goes in by SMTP on postfix.port
        (mail,) = postfix.wait_for_mail("ann@example.org")  # and is delivered by virtual(8)
        postfix.queued()                                   # what waits; postfix.log says what happened

No mail leaves the machine: every domain is delivered here, so bounces land in their sender's mailbox. The
client may take another address or login with XCLIENT (`swaks --xclient-addr 192.0.2.1`). Nothing of the
system's Postfix is used but its programs; nothing is chrooted. Everything lies below /tmp, open to the users
that Postfix's daemons run as.
"""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.conftest import need_program

TIMEOUT_S = 30.0  # of anything; a quiet machine needs two
VIRTUAL_UID = 65534  # nobody: virtual(8) delivers as somebody who is not root
POLL_S = 0.05

# service type private unpriv chroot wakeup maxproc command (master(5)); chroot is "n" throughout.
MASTER = """\
127.0.0.1:{port} inet n - n - - smtpd
pickup    unix  n  -  n  60  1  pickup
cleanup   unix  n  -  n  -   0  cleanup
qmgr      unix  n  -  n  300 1  qmgr
rewrite   unix  -  -  n  -   -  trivial-rewrite
bounce    unix  -  -  n  -   0  bounce
defer     unix  -  -  n  -   0  bounce
trace     unix  -  -  n  -   0  bounce
verify    unix  -  -  n  -   1  verify
flush     unix  n  -  n  1000? 0 flush
proxymap  unix  -  -  n  -   -  proxymap
smtp      unix  -  -  n  -   -  smtp
lmtp      unix  -  -  n  -   -  lmtp
relay     unix  -  -  n  -   -  smtp
showq     unix  n  -  n  -   -  showq
error     unix  -  -  n  -   -  error
retry     unix  -  -  n  -   -  error
discard   unix  -  -  n  -   -  discard
local     unix  -  n  n  -   -  local
virtual   unix  -  n  n  -   -  virtual
anvil     unix  -  -  n  -   1  anvil
scache    unix  -  -  n  -   1  scache
postlog   unix-dgram n - n - 1  postlogd
"""


def free_port() -> int:
    """A TCP port of the loopback interface that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Delivered(NamedTuple):
    """A mail as virtual(8) wrote it, less the three lines that it puts on top: raw is what came through."""

    sender: str
    recipient: str
    raw: bytes

    @classmethod
    def read(cls, file: bytes) -> "Delivered":
        """Of a file in the maildir: Return-Path, X-Original-To, Delivered-To, then the mail."""
        *lines, raw = file.split(b"\n", 3)
        values = [line.partition(b":")[2].strip().decode("utf-8", "replace") for line in lines]
        return cls(values[0].strip("<>"), values[2], raw)


class Postfix:
    """One instance in a folder. settings: lines of main.cf; services: more lines of master.cf."""

    def __init__(self, folder: Path, settings: dict[str, str], services: Sequence[str] = ()) -> None:
        self.folder, self.port = folder, free_port()
        self.config, self.mail = folder / "etc", folder / "mail"
        self._delivered: dict[str, Delivered] = {}
        self._make_folders()
        lines = self._defaults() | settings
        (self.config / "main.cf").write_text("".join(f"{key} = {value}\n" for key, value in lines.items()))
        master = MASTER.format(port=self.port) + "".join(f"{line}\n" for line in services)
        (self.config / "master.cf").write_text(master)

    def _make_folders(self) -> None:
        for name in ("etc", "queue", "data", "mail"):
            (self.folder / name).mkdir(mode=0o755)
        shutil.chown(self.folder / "data", "postfix")
        os.chown(self.mail, VIRTUAL_UID, VIRTUAL_UID)

    def _defaults(self) -> dict[str, str]:
        return {
            "compatibility_level": "3.6",
            "queue_directory": str(self.folder / "queue"),
            "data_directory": str(self.folder / "data"),
            "maillog_file": str(self.folder / "log"),
            "maillog_file_prefixes": "/tmp",
            "myhostname": "mail.example.org",
            "mydestination": "",
            "inet_interfaces": "127.0.0.1",
            "inet_protocols": "ipv4",
            "mynetworks": "127.0.0.0/8",
            "alias_maps": "",
            "virtual_mailbox_domains": "regexp:{{/./ all}}",
            "virtual_mailbox_maps": "static:all/",
            "virtual_mailbox_base": str(self.mail),
            "virtual_mailbox_limit": "0",
            "virtual_uid_maps": f"static:{VIRTUAL_UID}",
            "virtual_gid_maps": f"static:{VIRTUAL_UID}",
            "message_size_limit": "100000000",
            "smtpd_authorized_xclient_hosts": "127.0.0.1",
            "smtpd_sasl_auth_enable": "no",
            "smtpd_relay_restrictions": "reject_unauth_destination",
            # Whoever sends thousands of mails or makes errors in a row is a test here, no attack.
            "smtpd_client_connection_count_limit": "0",
            "smtpd_client_message_rate_limit": "0",
            "smtpd_error_sleep_time": "0",
            # Deferred mail is tried again at once: a test waits for it.
            "queue_run_delay": "1s",
            "minimal_backoff_time": "1s",
            "maximal_backoff_time": "2s",
            "in_flow_delay": "0",
        }

    def _run(self, program: str, *arguments: str) -> str:
        command = [need_program(program), "-c", str(self.config), *arguments]
        # postqueue and postfix leave nothing on these pipes but what they say; daemons have their own.
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=TIMEOUT_S)
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}{self.log}"
        return done.stdout

    def start(self) -> None:
        """Returns once it answers on its port."""
        self._run("postfix", "start")
        self.wait_for(lambda: self._answers(self.port))

    @staticmethod
    def _answers(port: int) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_S) as client:
                return client.recv(4) == b"220 "
        except OSError:
            return False

    def stop(self) -> None:
        """End every process of this instance."""
        self._run("postfix", "stop")

    def reload(self, **settings: str) -> None:
        """Change lines of main.cf in the running instance; new connections see them."""
        self._run("postconf", "-e", *(f"{key}={value}" for key, value in settings.items()))
        self._run("postfix", "reload")

    @property
    def log(self) -> str:
        """Everything that this instance has logged."""
        file = self.folder / "log"
        return file.read_text("utf-8", "replace") if file.exists() else ""

    def swaks(
        self, *options: str, mail: bytes | None = None, port: int | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Send with swaks; its stdout is the dialog, its status 0 where the mail was taken.

        mail: the whole mail, lines ending in LF; None lets swaks write one.
        """
        data = ["--data", "-"] if mail is not None else []
        command = [need_program("swaks"), "--server", "127.0.0.1", "--port", str(port or self.port)]
        done = subprocess.run(
            [*command, "--helo", "client.example.net", *data, *options],
            input=mail if mail is not None else b"",
            capture_output=True,
            check=False,
            timeout=TIMEOUT_S,
        )
        said = [stream.decode("utf-8", "replace") for stream in (done.stdout, done.stderr)]
        return subprocess.CompletedProcess(command, done.returncode, *said)

    def sendmail(self, *recipients: str, mail: bytes) -> None:
        """Hand a mail in as a program on this machine does, with sendmail(1)."""
        command = [need_program("sendmail"), "-C", str(self.config), "-f", "own@example.org", *recipients]
        done = subprocess.run(command, input=mail, capture_output=True, check=False, timeout=TIMEOUT_S)
        assert done.returncode == 0, f"{command}: {done.stderr.decode()}"

    def release(self) -> None:
        """Deliver what is on hold."""
        self._run("postsuper", "-H", "ALL")

    @contextlib.contextmanager
    def port_with(self, *settings: str) -> Iterator[int]:
        """One more port for SMTP with settings of its own ("smtpd_milters=…"); gone afterwards."""
        port = free_port()
        options = "".join(f" -o {{{setting}}}" for setting in settings)
        name = f"127.0.0.1:{port}/inet"
        self._run("postconf", "-M", f"{name}=127.0.0.1:{port} inet n - n - - smtpd{options}")
        self._run("postfix", "reload")
        self.wait_for(lambda: self._answers(port))
        try:
            yield port
        finally:
            self._run("postconf", "-MX", name)
            self._run("postfix", "reload")

    def delivered(self) -> list[Delivered]:
        """Every mail that was delivered until now, a copy for each recipient."""
        folder = self.mail / "all" / "new"
        for file in sorted(folder.glob("*")):
            if file.name not in self._delivered:
                self._delivered[file.name] = Delivered.read(file.read_bytes())
        return list(self._delivered.values())

    def mailbox(self, address: str) -> list[bytes]:
        """The mails that were delivered to an address."""
        return [mail.raw for mail in self.delivered() if mail.recipient == address]

    def wait_for_mail(self, address: str, number: int = 1) -> list[bytes]:
        """The mailbox once so many mails are in it; more than that is an error."""
        self.wait_for(lambda: len(self.mailbox(address)) >= number)
        mails = self.mailbox(address)
        assert len(mails) == number, f"{len(mails)} mails instead of {number}"
        return mails

    def queued(self) -> list[dict[str, object]]:
        """What is in the queues, an object of `postqueue -j` each (queue_name, queue_id, recipients …)."""
        return [json.loads(line) for line in self._run("postqueue", "-j").splitlines()]

    def wait_until_empty(self) -> None:
        """Wait until everything in the queue is delivered or returned."""
        self.wait_for(lambda: not self.queued())

    def wait_for(self, condition: Callable[[], object], timeout_s: float = TIMEOUT_S) -> None:
        """Wait until something is so; fails with Postfix's log where it does not come."""
        until = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < until, self.log
            time.sleep(POLL_S)


@contextlib.contextmanager
def running(services: Sequence[str] = (), **settings: str) -> Iterator[Postfix]:
    """A started Postfix, gone afterwards with all its files. Skips where it is missing or we are not root."""
    need_program("postfix")
    if os.getuid():
        pytest.skip("Postfix starts as root only")
    folder = Path(tempfile.mkdtemp(dir="/tmp", prefix="postfix-"))
    folder.chmod(0o755)
    try:
        postfix = Postfix(folder, settings, services)
        try:
            postfix.start()
            yield postfix
        finally:
            postfix.stop()
    finally:
        shutil.rmtree(folder)
