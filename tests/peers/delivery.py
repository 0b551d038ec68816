"""A mailbox of our own mails through procmail or maildrop, while the filter is killed at random.

Each mail is delivered by a process of the real program with the recipe of `deploy/`; `filterd check --tag` in
it runs below `timeout -s KILL`, so that a SIGKILL hits it at any moment: before it has read, while it waits,
in the middle of its output, or never. What arrived is compared with what was sent, byte by byte.
"""

import os
import random
import shutil
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from filterd import headers
from tests.conftest import ROOT, need_program

DEPLOY = ROOT / "deploy"
TIMEOUT_S = 120.0  # of one delivery
WORKERS = 2
KILLED_SHARE = 0.6
PROCMAIL = "procmail"
MAILDROP = "maildrop"

_WORDS = ["river", "garden", "kettle", "oak", "prize", "winter", "letter", "urgent", "lamp", "winner", "noon"]


def mails(count: int, seed: int = 0) -> list[bytes]:
    """Different mails of many shapes: encodings, up to 300 KB, forged headers, lines like headers."""
    rng = random.Random(seed)
    return [_mail(number, rng) for number in range(count)]


def _mail(number: int, rng: random.Random) -> bytes:
    subject = " ".join(rng.choices(_WORDS, k=4))
    head = f"From: sender{number}@example.net\nTo: ann@example.org\nSubject: {subject}\n"
    head += f"Message-ID: <{number}.{rng.getrandbits(32)}@example.net>\n"
    if number % 7 == 0:
        head += "X-Spam-Flag: NO\nX-Spam-Status: No, score=-99\n\tfolded=yes\n"
    body = "\n".join(" ".join(rng.choices(_WORDS, k=9)) for _ in range(rng.randint(1, 30))).encode()
    shapes = (
        b"\n",
        b"\nFrom the start of a line\n>From a quoted one\n",
        b"\n.\n..\nX-Spam-Flag: YES\n",
        "\ncafé naïve – 東京\n".encode(),
        b"\n\x80\xff latin \xe9\n",
        b"\n" + b"x" * 5000 + b"\n",
        b"\n" + b"a line of a larger mail, over and over again\n" * (7000 if number % 40 == 6 else 700),
    )
    return head.encode() + b"\n" + body + shapes[number % len(shapes)]


@dataclass(slots=True)
class Outcome:
    """What became of a mailbox. killed: filters that a SIGKILL hit; changed, missing, doubled: by number."""

    sent: int
    arrived: int = 0
    tagged: int = 0
    killed: int = 0
    refused: list[int] = field(default_factory=list)
    missing: list[int] = field(default_factory=list)
    doubled: list[int] = field(default_factory=list)
    changed: list[int] = field(default_factory=list)

    @property
    def whole(self) -> bool:
        """Every mail once, as it was."""
        return self.arrived == self.sent and not (
            self.refused or self.missing or self.doubled or self.changed
        )


class Mailbox:
    """A user's folder with the recipe in it. socket: of the daemon that is asked, "" for none."""

    def __init__(self, folder: Path, program: str, socket: str, filterd: str = "") -> None:
        self.folder, self._program = folder, program
        self._command = need_program(program)
        self._socket = socket
        self._killed = folder / "killed"
        self._killed.touch()
        self._wrapper = folder / "filterd"
        self._wrapper.write_text(
            "#!/bin/bash\n"
            f'timeout -s KILL "$KILL_AFTER" {filterd or f"{sys.executable} -m filterd"} "$@"\n'
            f"status=$?; [ $status = 137 ] && echo >> {self._killed}; exit $status\n"
        )
        self._wrapper.chmod(0o755)
        self.rules = folder / "rules"
        self.rules.write_text(self._procmail() if program == PROCMAIL else self._maildrop(), "utf-8")
        self.rules.chmod(0o600)
        for name in ("inbox", "spam"):
            for part in ("cur", "new", "tmp"):
                (folder / name / part).mkdir(parents=True)

    def _procmail(self) -> str:
        settings = (
            f"PATH={os.environ['PATH']}",
            f"MAILDIR={self.folder}",
            f"DEFAULT={self.folder}/inbox/",
            f"LOGFILE={self.folder}/log",
            f"FILTERD={self._wrapper}",
            f"FILTERD_SPAM={self.folder}/spam/",
        )
        return "\n".join((*settings, (DEPLOY / "procmail" / "filterd.rc").read_text("utf-8")))

    def _maildrop(self) -> str:
        shipped = (DEPLOY / "maildrop" / "filterd.mailfilter").read_text("utf-8")
        shipped = shipped.replace("/opt/filterd/bin/filterd", str(self._wrapper))
        shipped = shipped.replace("$HOME/Maildir/.Junk/", f"{self.folder}/spam/")
        return f'DEFAULT="{self.folder}/inbox/"\nlogfile "{self.folder}/log"\n{shipped}'

    def deliver(self, mail: bytes, kill_after_s: float = 0.0) -> int:
        """The delivery's exit status; 0 means that the mail is in the mailbox. kill_after_s: 0 is never."""
        env = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "LOGNAME": os.environ.get("LOGNAME", "root"),
            "PYTHONPATH": str(ROOT),
            "FILTERD_SOCKET": self._socket,
            "KILL_AFTER": f"{kill_after_s:.4f}",
        }
        # procmail takes no variables from its environment, so they go into its arguments.
        passed = [f"{name}={env[name]}" for name in ("FILTERD_SOCKET", "KILL_AFTER", "PYTHONPATH")]
        command = [self._command, *(passed if self._program == PROCMAIL else []), str(self.rules)]
        done = subprocess.run(
            command, input=mail, capture_output=True, env=env, check=False, timeout=TIMEOUT_S, cwd=self.folder
        )
        return done.returncode

    def files(self) -> list[bytes]:
        """Every mail that arrived, in whichever folder."""
        found = [self.folder / name / part for name in ("inbox", "spam") for part in ("new", "cur")]
        return [file.read_bytes() for folder in found for file in folder.iterdir()]

    @property
    def killed(self) -> int:
        """How many filters were killed so far."""
        return self._killed.read_text().count("\n")

    @property
    def log(self) -> str:
        """What the delivering program said."""
        file = self.folder / "log"
        return file.read_text("utf-8", "replace") if file.exists() else ""


def undisturbed_s(mailbox: Mailbox) -> float:
    """Seconds that a delivery takes on this machine; kills within them hit about every second filter."""
    took = []
    for mail in mails(5, seed=1):
        begun = time.monotonic()
        mailbox.deliver(mail)
        took.append(time.monotonic() - begun)
    return statistics.median(took)


def run(mailbox: Mailbox, sent: Sequence[bytes], longest_s: float, seed: int = 0) -> Outcome:
    """Deliver all with random kills up to longest_s after a filter's start, and look at what arrived."""
    rng = random.Random(seed)
    kills = [rng.uniform(0.001, longest_s) if rng.random() < KILLED_SHARE else 0.0 for _ in sent]
    with ThreadPoolExecutor(WORKERS) as pool:
        statuses = list(pool.map(mailbox.deliver, sent, kills))
    outcome = compare(sent, mailbox.files())
    outcome.refused = [number for number, status in enumerate(statuses) if status]
    outcome.killed = mailbox.killed
    return outcome


def compare(sent: Sequence[bytes], files: Sequence[bytes]) -> Outcome:
    """Mails against what is in a mailbox; a tagged one has lost its forged headers as well."""
    outcome = Outcome(len(sent), arrived=len(files))
    by_id = {_id(mail): number for number, mail in enumerate(sent)}
    seen: Counter[int] = Counter()
    for file in files:
        number = by_id[_id(file)]
        seen[number] += 1
        tagged = b"\nX-Spam-Checker-Version: filterd" in b"\n" + file.partition(b"\n\n")[0]
        outcome.tagged += tagged
        whole = headers.strip(file) == headers.strip(sent[number]) if tagged else file == sent[number]
        if not whole:
            outcome.changed.append(number)
    outcome.missing = sorted(set(range(len(sent))) - set(seen))
    outcome.doubled = sorted(number for number, times in seen.items() if times > 1)
    return outcome


def _id(mail: bytes) -> bytes:
    return next(line for line in mail.split(b"\n") if line.startswith(b"Message-ID:"))


def make(folder: Path, program: str, socket: str, filterd: str = "") -> Mailbox:
    """A new mailbox in a folder that is emptied first."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return Mailbox(folder, program, socket, filterd)
