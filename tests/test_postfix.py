"""The Postfix that other tests are proved against: mail comes through it as sent, bounces come back."""

from collections.abc import Iterator

import pytest

from tests.peers.postfix import Postfix, running

MAIL = b"From: ann@example.net\nTo: ben@example.org\nSubject:  two blanks\n\nA line.\n..\nThe end.\n"


@pytest.fixture(scope="module")
def postfix() -> Iterator[Postfix]:
    with running() as made:
        yield made


def test_a_mail_arrives_as_it_was_sent(postfix: Postfix) -> None:
    sent = postfix.swaks("--from", "ann@example.net", "--to", "ben@example.org", mail=MAIL)
    assert sent.returncode == 0, sent.stdout
    (mail,) = postfix.wait_for_mail("ben@example.org")
    assert mail.startswith(b"Received: from client.example.net ")
    assert {(one.sender, one.recipient) for one in postfix.delivered()} == {
        ("ann@example.net", "ben@example.org")
    }
    assert b"\nSubject:  two blanks\n" in mail
    assert mail.partition(b"\n\n")[2].rstrip(b"\n") == b"A line.\n..\nThe end."
    postfix.wait_until_empty()


def test_a_refused_recipient_is_seen_by_the_sender(postfix: Postfix) -> None:
    postfix.reload(smtpd_recipient_restrictions="check_recipient_access static:REJECT")
    postfix.wait_for(lambda: postfix.swaks("--to", "carla@example.org").returncode != 0)
    assert not postfix.mailbox("carla@example.org")
