"""Several daemons behind HAProxy are one filter: nobody notices when one, or the database, restarts."""

from collections.abc import Iterator

from tests.peers import cluster

SOON_S = 30.0  # until a correction is in force everywhere; two on a quiet machine, and this one is shared

PAUSE_S = 0.5  # of a client between two messages: what is asked here is whether, not how fast


def mails() -> Iterator[bytes]:
    number = 0
    while True:
        number += 1
        yield b"From: ann@example.org\nSubject: lunch %d\n\nShall we meet at %d o'clock?\n" % (number, number)


def test_nobody_notices_that_a_daemon_or_the_database_restarts() -> None:
    with cluster.running("tests.filterd.serving", PAUSE_S) as made:
        found = made.prove(mails(), rounds=1, least=200)
    assert found.outcomes == {"ok": found.messages} and not found.lost
    assert set(found.restarts) == {"one", "two", "three", "database"}
    assert len(set(found.restarts.values())) == 1  # all in turn, as often as 200 mails take
    assert max(found.seconds) < SOON_S
