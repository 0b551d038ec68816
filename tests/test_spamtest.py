"""RFC 5235 spamtest in a real Pigeonhole: what docs/recipes.md says, on the headers that we add."""

import os
import re
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from filterd.api import Kind, Label, Verdict
from filterd.headers import tag
from tests.conftest import ROOT, need_program

MAIL = b"From: a@client.example\nTo: ben@example.org\nSubject: x\nX-Spam-Score: 99.0\n\nHello.\n"
FORGED = "99.0"  # what the sender wrote, which must not count


NOBODY = 65534


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that whoever runs sieve-test may write to."""
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="sieve-") as made:
        if not os.getuid():
            os.chown(made, NOBODY, NOBODY)
        yield Path(made)


@pytest.mark.parametrize(
    ("score", "folder"),
    [(8.2, "Junk"), (5.0, "Junk"), (4.9, "Unsure"), (3.1, "Unsure"), (0.1, "INBOX"), (-6.2, "INBOX")],
)
def test_points_become_percent_of_the_spam_threshold(score: float, folder: str, place: Path) -> None:
    section = (ROOT / "docs/recipes.md").read_text().partition("## Sieve's spamtest")[2]
    settings, _, script = section.split("```")[1].partition("\nrequire ")
    found = Verdict(label=Label.HAM, probability=0.5, points=score, kind=Kind.MAIL)
    mail = tag(MAIL, found)
    assert FORGED.encode() not in mail
    uid = os.getuid() or NOBODY  # Dovecot reads no mail as root
    own = f"mail_uid = {uid}\nmail_gid = {uid}\nfirst_valid_uid = 1\nmail_home = {place}\n"
    for name, text in (("conf", own + settings), ("script.sieve", f"require {script}")):
        (place / name).write_text(text)
    (place / "mail.eml").write_bytes(mail)
    command = [need_program("sieve-test"), "-c", "conf", "-l", "mbox:.", "script.sieve", "mail.eml"]
    done = subprocess.run(command, cwd=place, capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 0, done.stderr
    assert re.findall(r"store message in folder: (\S+)", done.stdout) == [folder], done.stdout
