"""lmtp_proxy between a real Postfix and a real Dovecot, whose user ben has no room for any mail."""

import contextlib
import shutil
import signal
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.filterd.daemon.test_server import GTUBE_MAIL, HAM, Daemon
from tests.peers import dovecot
from tests.peers.dovecot import FULL, USER, Dovecot
from tests.peers.postfix import Postfix, running
from tests.plugins.smtp_proxy.test_postfix import headers

FORGED = b"X-Spam-Flag: YES\nX-Spam-Status: No, score=-99\n" + HAM
TIMEOUT_S = 30.0
SENDER = "sender@example.net"


class Way(NamedTuple):
    """What a mail passes, and filterd's socket in the middle."""

    postfix: Postfix
    daemon: Daemon
    dovecot: Dovecot
    socket: Path


@pytest.fixture(scope="module")
def way() -> Iterator[Way]:
    folder = Path(tempfile.mkdtemp(dir="/tmp", prefix="filterd-"))
    folder.chmod(0o755)  # Postfix's lmtp client is no root
    daemon, proxy = Daemon(folder), folder / "lmtp.sock"
    daemon.serving = "tests.filterd.serving"
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder)
        server = stack.enter_context(dovecot.running())
        section = {"listen": [f"unix:{proxy}"], "mode": "0666", "next_hop": f"unix:{server.lmtp}"}
        daemon.configure(plugins={"lmtp_proxy": section})
        daemon.start()
        stack.callback(daemon.end, signal.SIGKILL)
        # The sender's own domain stays with Postfix, so that bounces can be looked at.
        transport = f"inline:{{example.org=lmtp:unix:{proxy}}}"
        postfix = stack.enter_context(running(transport_maps=transport))
        yield Way(postfix, daemon, server, proxy)
        assert "Traceback" not in daemon.log.read_text()


@pytest.fixture(autouse=True)
def clean(way: Way) -> Iterator[None]:
    yield
    for folder in ("INBOX", "Junk"):
        with way.dovecot.imap() as client:
            client.select(folder)
            client.uid("STORE", "1:*", "+FLAGS", "\\Deleted")
            client.expunge()


def talk(path: Path, recipients: list[str], mail: bytes) -> list[bytes]:
    """Replies of an LMTP server to each recipient, then to the mail for each that was taken."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(TIMEOUT_S)
        client.connect(str(path))
        with client.makefile("rwb") as stream:

            def reply() -> bytes:
                while (line := stream.readline())[3:4] == b"-":
                    pass
                return line

            def ask(command: str) -> bytes:
                stream.write(command.encode() + b"\r\n")
                stream.flush()
                return reply()

            assert reply().startswith(b"220 ")
            assert ask("LHLO client.example.net").startswith(b"250 ")
            assert ask(f"MAIL FROM:<{SENDER}>").startswith(b"250 ")
            said = [ask(f"RCPT TO:<{one}>") for one in recipients]
            taken = sum(one.startswith(b"250 ") for one in said)
            assert ask("DATA").startswith(b"354 ")
            stream.write(mail.replace(b"\n", b"\r\n") + b".\r\n")
            stream.flush()
            return [*said, *(reply() for _ in range(taken))]


def without_ids(reply: bytes) -> bytes:
    """Dovecot's reply without the session's id: `250 2.0.0 <ann> kq3vJ… Saved`."""
    words = reply.split()
    return b" ".join(words[:3] if words[0] == b"250" else words)


def test_each_recipient_has_dovecots_own_reply(way: Way) -> None:
    recipients = [f"{one}@example.org" for one in (USER, "nobody", FULL, USER.upper())]
    through, direct = talk(way.socket, recipients, HAM), talk(way.dovecot.lmtp, recipients, HAM)
    assert [one[:9] for one in through] == [
        *(b"250 2.1.5", b"550 5.1.1", b"250 2.1.5", b"250 2.1.5"),
        *(b"250 2.0.0", b"552 5.2.2", b"250 2.0.0"),
    ]
    assert [without_ids(one) for one in through] == [without_ids(one) for one in direct]
    tagged = [headers(mail.replace(b"\r\n", b"\n")).count(b"x-spam-status") for mail in inbox(way)]
    assert sorted(tagged) == [0, 0, 1, 1], "two came through filterd, two did not"


def inbox(way: Way) -> list[bytes]:
    return way.dovecot.mails("INBOX")


def test_through_postfix_one_is_delivered_and_two_are_returned(way: Way) -> None:
    recipients = ",".join(f"{one}@example.org" for one in (USER, FULL, "nobody"))
    sent = way.postfix.swaks("--from", SENDER, "--to", recipients, mail=FORGED)
    assert sent.returncode == 0, sent.stdout
    way.dovecot.wait_for(lambda: inbox(way))
    way.postfix.wait_until_empty()
    (mail,) = (one.replace(b"\r\n", b"\n") for one in inbox(way))
    assert headers(mail).count(b"x-spam-status") == 1
    assert b"score=-99" not in mail
    assert b"x-spam-flag" not in headers(mail), "or it would have been filed as spam"
    assert mail.rstrip(b"\n").endswith(HAM.partition(b"\n\n")[2].rstrip(b"\n"))
    bounces = b"\n".join(way.postfix.wait_for_mail(SENDER))
    assert b"Final-Recipient: rfc822; ben@example.org" in bounces
    assert b"Final-Recipient: rfc822; nobody@example.org" in bounces
    assert b"Final-Recipient: rfc822; ann@example.org" not in bounces
    assert "replies=250,552" in way.daemon.log.read_text(), "one mail for both"


def test_spam_is_filed(way: Way) -> None:
    assert way.postfix.swaks("--to", "ann@example.org", mail=GTUBE_MAIL).returncode == 0
    way.dovecot.wait_for(lambda: way.dovecot.mails("Junk"))
    (mail,) = way.dovecot.mails("Junk")
    assert headers(mail.replace(b"\r\n", b"\n")).count(b"x-spam-flag") == 1
    assert inbox(way) == []


@pytest.mark.parametrize("gone", ["filterd", "Dovecot"])
def test_mail_waits_in_postfix_while_something_is_down(gone: str, way: Way) -> None:
    stop, start = (
        (way.daemon.end, way.daemon.start) if gone == "filterd" else (way.dovecot.stop, way.dovecot.start)
    )
    stop()
    assert way.postfix.swaks("--to", "ann@example.org", mail=HAM).returncode == 0
    way.postfix.wait_for(lambda: [one["queue_name"] for one in way.postfix.queued()] == ["deferred"])
    start()
    way.postfix.wait_until_empty()
    (mail,) = inbox(way)
    assert headers(mail.replace(b"\r\n", b"\n")).count(b"x-spam-status") == 1
