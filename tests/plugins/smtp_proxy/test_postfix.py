"""The proxy between two ends of a real Postfix, by the very lines of deploy/postfix, with `filterd serve`."""

import re
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.filterd.test_server import GTUBE_MAIL, HAM, Daemon
from tests.postfix import Postfix, free_port, running

DEPLOY = ROOT / "deploy" / "postfix"
FORGED = b"X-Spam-Flag: NO\nX-Spam-Status: No, score=-99\n" + HAM
TIMEOUT_S = 30.0


class Chain:
    """Postfix on `port`, filterd's proxy on `proxy`, and Postfix again on `inner`."""

    def __init__(self, folder: Path) -> None:
        self.port, self.proxy, self.inner = free_port(), free_port(), free_port()
        self.daemon = Daemon(folder)

    def configure(self, **settings: object) -> None:
        section = {"listen": [f"tcp:127.0.0.1:{self.proxy}"], "next_hop": f"tcp:127.0.0.1:{self.inner}"}
        self.daemon.configure(plugins={"smtp_proxy": section | {"hostname": "filter.example.org"} | settings})

    def services(self, file: str) -> list[str]:
        """The lines of a deploy file with this test's ports, and free of comments."""
        text = (DEPLOY / file).read_text("utf-8")
        text = text.replace(":10025", f":{self.proxy}").replace(":10026 ", f":{self.inner} ")
        text = re.sub(r"^smtp (.*)", rf"127.0.0.1:{self.port} \1", text, flags=re.M)
        return [line for line in text.splitlines() if line and not line.startswith("#")]


@contextmanager
def chain(file: str, **settings: object) -> Iterator[tuple[Chain, Postfix]]:
    folder = Path(tempfile.mkdtemp(dir="/tmp", prefix="filterd-"))
    made = Chain(folder)
    made.configure(**settings)
    made.daemon.start()
    try:
        with running(made.services(file), smtpd_forbid_bare_newline="no") as postfix:
            yield made, postfix
        assert "Traceback" not in made.daemon.log.read_text()
    finally:
        if made.daemon.process and made.daemon.process.poll() is None:
            made.daemon.end(signal.SIGKILL)
        shutil.rmtree(folder)


@pytest.fixture(scope="module")
def before() -> "Iterator[tuple[Chain, Postfix]]":
    with chain("proxy-before-queue.cf", spam="reject") as made:
        yield made


@pytest.fixture(scope="module")
def after() -> "Iterator[tuple[Chain, Postfix]]":
    with chain("proxy-after-queue.cf") as made:
        yield made


def headers(mail: bytes) -> list[bytes]:
    return [
        line.split(b":")[0].lower()
        for line in mail.partition(b"\n\n")[0].splitlines()
        if line[:1] not in b" \t"
    ]


def test_before_the_queue_ham_arrives_tagged_once(before: "tuple[Chain, Postfix]") -> None:
    made, postfix = before
    done = postfix.swaks("--to", "ann@example.org", mail=FORGED, port=made.port)
    assert done.returncode == 0, done.stdout
    (mail,) = postfix.wait_for_mail("ann@example.org")
    assert headers(mail).count(b"x-spam-status") == 1
    assert b"score=-99" not in mail
    assert mail.rstrip(b"\n").endswith(HAM.partition(b"\n\n")[2].rstrip(b"\n"))


def test_before_the_queue_spam_is_refused_to_its_sender(before: "tuple[Chain, Postfix]") -> None:
    made, postfix = before
    done = postfix.swaks("--to", "spam@example.org", mail=GTUBE_MAIL, port=made.port)
    assert "550 5.7.1 Message refused as spam" in done.stdout
    assert done.returncode == 26, "swaks: refused after DATA"
    assert not postfix.mailbox("spam@example.org")


def test_the_next_hop_knows_the_real_client(before: "tuple[Chain, Postfix]") -> None:
    made, postfix = before
    xclient = ("--xclient", "ADDR=192.0.2.7 NAME=far.example.net")
    done = postfix.swaks("--to", "carla@example.org", *xclient, mail=HAM, port=made.port)
    assert done.returncode == 0, done.stdout
    postfix.wait_for_mail("carla@example.org")
    assert re.search(r"client=far\.example\.net\[192\.0\.2\.7\]", postfix.log)


def test_after_the_queue(after: "tuple[Chain, Postfix]") -> None:
    made, postfix = after
    for user, mail in (("ben", FORGED), ("junk", GTUBE_MAIL)):
        done = postfix.swaks("--to", f"{user}@example.org", mail=mail, port=made.port)
        assert done.returncode == 0, done.stdout
    (ham,), (spam,) = postfix.wait_for_mail("ben@example.org"), postfix.wait_for_mail("junk@example.org")
    assert headers(ham).count(b"x-spam-status") == headers(spam).count(b"x-spam-status") == 1
    assert b"score=-99" not in ham
    assert b"\nX-Spam-Flag: YES\n" in spam
    postfix.wait_until_empty()
