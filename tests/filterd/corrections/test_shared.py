"""One store, several daemons: each sees what the others wrote, and judging waits for no database."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sql

from filterd.api import Kind, Label, Message
from filterd.config import Config, Feedback
from filterd.corrections import learner as learners
from filterd.corrections.learner import Learner
from filterd.errors import StoreError
from filterd.reading.text import read
from tests.peers.postgres import Postgres, running

WITHIN_S = 2.0  # what the documentation promises …
BUSY = 5  # … to a machine that has nothing else to do; those that run tests have
SOON_S = 60.0  # in which a server or a thread has to have done its part, on a machine that is busy
AT_ONCE_S = 1.0  # of judging, which takes less than a millisecond; who waits for a database waits longer


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    pytest.importorskip("psycopg")
    with running() as started:
        yield started


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return str(tmp_path / "feedback.db")
    return str(request.getfixturevalue("emptied").url)


@pytest.fixture
def emptied(server: Postgres) -> Iterator[Postgres]:
    yield server
    with _engine(server).begin() as connection:
        connection.execute(sql.text("DROP TABLE IF EXISTS filterd_corrections, filterd_state"))


def _engine(server: Postgres) -> sql.Engine:
    url = server.url.replace("postgresql:", "postgresql+psycopg:")
    return sql.create_engine(url, poolclass=sql.NullPool)


@contextmanager
def daemons(url: str, folder: Path, count: int = 2) -> Iterator[list[Learner]]:
    """Learners that follow one store, each with a state folder of its own."""
    with ExitStack() as opened:
        found = []
        for n in range(count):
            config = Config(state=str(folder / f"daemon{n}"), feedback=Feedback(url=url))
            learner = Learner.open(config)
            learner.follow()
            opened.callback(_closed, learner)
            found.append(learner)
        yield found


def _closed(learner: Learner) -> None:
    learner.close()
    assert learner._follower is not None
    learner._follower.join(30)
    assert not learner._follower.is_alive()


def mail(n: int) -> Message:
    return Message(b"Subject: offer %d\n\nBuy %d now, it is a bargain.\n" % (n, n), kind=Kind.MAIL)


def word(learner: Learner, n: int) -> int:
    """What a daemon knows to be said of a message; it has to answer at once."""
    message = mail(n)
    text = read(message)[0]
    began = time.monotonic()
    found = learner.recollect(message, text).word
    assert time.monotonic() - began < AT_ONCE_S
    return found


def test_each_sees_what_the_other_was_told(url: str, tmp_path: Path) -> None:
    with daemons(url, tmp_path) as (one, other):
        for n, (told, asked) in enumerate(((one, other), (other, one))):
            told.learn(mail(n), Label.SPAM)
            began = time.monotonic()
            until(lambda asked=asked, n=n: word(asked, n) == 1)  # type: ignore[misc]
            assert time.monotonic() - began < BUSY * WITHIN_S
        one.forget(mail(0))
        until(lambda: word(other, 0) == 0)


def test_the_server_says_so_before_anybody_looks(
    emptied: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learners, "POLL_S", 3_600.0)
    with daemons(emptied.url, tmp_path) as (one, other):
        until(lambda: _listening(emptied) == 2)
        one.learn(mail(1), Label.SPAM)
        until(lambda: word(other, 1) == 1)
        other.learn(mail(2), Label.SPAM)
        monkeypatch.setattr(learners, "POLL_S", 0.1)
        one.learn(mail(3), Label.SPAM)  # wakes the other one, so that both may end


def test_a_server_that_was_restarted(emptied: Postgres, tmp_path: Path) -> None:
    with daemons(emptied.url, tmp_path) as (one, other):
        one.learn(mail(1), Label.SPAM)
        until(lambda: word(other, 1) == 1)
        emptied.stop()
        assert word(one, 1) == word(other, 1) == 1
        with pytest.raises(StoreError):
            one.learn(mail(2), Label.SPAM)
        emptied.start()
        until(lambda: _learned(one, 2))
        until(lambda: word(other, 2) == 1)


def _listening(server: Postgres) -> int:
    asked = sql.text("SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'LISTEN %'")
    with _engine(server).begin() as connection:
        return int(connection.execute(asked).scalar_one())


@contextmanager
def locked(server: Postgres) -> Iterator[None]:
    """Somebody holds the table that every correction writes."""
    with _engine(server).begin() as somebody:
        somebody.execute(sql.text("LOCK TABLE filterd_state IN ACCESS EXCLUSIVE MODE"))
        yield


@pytest.mark.parametrize("held", [Postgres.frozen, locked], ids=["frozen", "slow"])
def test_a_server_that_does_not_answer(
    emptied: Postgres, tmp_path: Path, held: Callable[[Postgres], AbstractContextManager[None]]
) -> None:
    with daemons(emptied.url, tmp_path) as (one, other):
        one.learn(mail(1), Label.SPAM)
        until(lambda: word(other, 1) == 1)
        learning = threading.Thread(target=one.learn, args=(mail(2), Label.SPAM))
        with held(emptied):
            learning.start()
            for _ in range(20):
                assert word(one, 1) == word(other, 1) == 1
                time.sleep(0.1)
            assert learning.is_alive()
        learning.join(30)
        until(lambda: word(other, 2) == 1)


def until(happened: Callable[[], bool]) -> None:
    end = time.monotonic() + SOON_S
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.05)


def _learned(learner: Learner, n: int) -> bool:
    try:
        return learner.learn(mail(n), Label.SPAM)
    except StoreError:
        return False
