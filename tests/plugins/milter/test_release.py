"""Held mail through a real Postfix: kept by the milter, released, past the same milter, into the mailbox."""

import http.client
import re
import socket
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from filterd.config import load
from filterd.quarantine.index import QuarantineQuery
from filterd.quarantine.store import QuarantineStore
from tests.peers.postfix import Postfix, free_port, running
from tests.plugins.milter import filter as filters
from tests.plugins.milter.filter import Filter

SPAM = b"From: win@example.net\nSubject: %s\n\nYou are the winner of a prize, the winner!\n.\n..\nThe end.\n"
LINK = "https://mail.example.org"


class Held(NamedTuple):
    """A Postfix whose mail filterd judges and holds, and takes back by the way that all mail comes in."""

    postfix: Postfix
    filter: Filter

    def hold(self, recipient: str, subject: str) -> tuple[bytes, str]:
        """A mail that is held now, and its id."""
        mail = SPAM % subject.encode()
        assert self.postfix.swaks("--from", "win@example.net", "--to", recipient, mail=mail).returncode == 0
        (name,) = self.names(recipient)
        self.postfix.wait_until_empty()
        assert not self.postfix.mailbox(recipient)
        return mail, name

    def names(self, recipient: str) -> list[str]:
        """Of what is held for him."""
        with QuarantineStore.open(load(self.filter.folder / "filterd.yaml")) as store:
            return [entry.id for entry in store.search(QuarantineQuery(to=recipient), 9)]

    def came(self, recipient: str, mail: bytes) -> None:
        """He has it once, as it was sent, past the filter, which says why it let it through."""
        (got,) = self.postfix.wait_for_mail(recipient)
        assert let_through(got)
        assert got.partition(b"\n\n")[2].rstrip(b"\n") == mail.partition(b"\n\n")[2].rstrip(b"\n")
        self.postfix.wait_until_empty()
        assert "win@example.net" not in [one.recipient for one in self.postfix.delivered()]  # no bounce
        assert not self.names(recipient)


@pytest.fixture(scope="module")
def held() -> Iterator[Held]:
    hop = free_port()
    with filters.made() as filter_:
        filter_.configure(
            actions=[{"do": "quarantine", "label": ["spam"]}],
            quarantine={"next_hop": f"tcp:127.0.0.1:{hop}", "link": LINK, "sender": "filterd@example.org"},
        )
        filter_.start()
        with running(
            [f"127.0.0.1:{hop} inet n - n - - smtpd"], smtpd_milters=f"unix:{filter_.socket}"
        ) as postfix:
            yield Held(postfix, filter_)


def test_a_command_releases_it(held: Held) -> None:
    mail, name = held.hold("ann@example.org", "urgent")
    done = held.filter.run("quarantine", "release", name)
    assert done.stdout.decode() == f"{name}: sent to ann@example.org\n", done.stderr
    held.came("ann@example.org", mail)
    again = held.filter.run("quarantine", "release", name)
    assert again.returncode and len(again.stderr.splitlines()) == 1
    held.came("ann@example.org", mail)


def test_the_link_of_a_digest_that_came_by_mail_releases_it(held: Held) -> None:
    held.hold("ben@example.org", "important")
    assert held.filter.run("quarantine", "digest").stdout == b"sent: 1\n"
    (digest,) = held.postfix.wait_for_mail("ben@example.org")
    text = digest.replace(b"=\n", b"").replace(b"=3D", b"=").decode()
    (path,) = re.findall(rf"{LINK}(/console/release/\S+)", text)
    assert press(held.filter, "GET", path) == 200
    assert held.postfix.mailbox("ben@example.org") == [digest]
    assert press(held.filter, "POST", path) == 200
    held.postfix.wait_for(lambda: len(held.postfix.mailbox("ben@example.org")) == 2)
    assert press(held.filter, "POST", path) == 404  # it works once
    (got,) = [one for one in held.postfix.mailbox("ben@example.org") if one != digest]
    assert let_through(got) and b"\nSubject: important\n" in got
    held.postfix.wait_until_empty()
    assert len(held.postfix.mailbox("ben@example.org")) == 2


def test_what_the_mailbox_does_not_take_stays_held(held: Held) -> None:
    _, name = held.hold("carla@example.org", "winner")
    held.postfix.reload(smtpd_recipient_restrictions="check_recipient_access static:REJECT")
    try:
        held.postfix.wait_for(lambda: held.postfix.swaks("--to", "x@example.org").returncode != 0)
        done = held.filter.run("quarantine", "release", name)
        assert done.returncode == 75 and b"the next hop refuses carla@example.org: 554" in done.stderr
    finally:
        held.postfix.reload(smtpd_recipient_restrictions="")
    assert held.names("carla@example.org") == [name]


def let_through(mail: bytes) -> bool:
    """Whether the filter took the mark that we had put on it, and took it off."""
    head = mail.partition(b"\n\n")[0].replace(b"\n\t", b" ")
    return (
        head.startswith(b"X-Spam-Status: No, ") and b",RELEASED " in head and b"X-Spam-Released" not in head
    )


def press(filter_: Filter, method: str, path: str) -> int:
    """Open the page, or press its button; the status."""
    connection = http.client.HTTPConnection("filterd", timeout=60)
    form = {"content-type": "application/x-www-form-urlencoded"} if method == "POST" else {}
    with socket.socket(socket.AF_UNIX) as connection.sock:
        connection.sock.connect(str(filter_.http))
        connection.request(method, path, b"do=release" if method == "POST" else None, form)
        return connection.getresponse().status
