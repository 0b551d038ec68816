"""Whom people have written to: by hash, for the proven only, up to a bound, and forgotten in time."""

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sql
from typer.testing import CliRunner

from filterd.api import Kind, Label, Message, Verdict
from filterd.commands import correspondents as command
from filterd.commands.cli import app
from filterd.config import Config, Correspondents, Feedback, Model, Trust
from filterd.corrections.database import Database
from filterd.errors import ConfigError
from filterd.history.record import KeyedHashes
from filterd.policy import correspondents
from filterd.policy.correspondents import TEST, CorrespondentStore, asked, let_through
from filterd.scoring.verdict import Thresholds
from filterd.service.service import Service
from tests.filterd.fakes import engine

ANN, BEN, EVE = "ann@example.org", "ben@example.net", "eve@bad.example"
AUTH = b"Authentication-Results: mx.example.org; dkim=pass header.d=example.net\n"
SPAM = b"From: Ben <ben@example.net>\nSubject: x\n\nyou are our prize winner\n"
BUNDLE = Thresholds(0.3, 0.9)


@pytest.fixture
def known(database: str) -> Iterator[CorrespondentStore]:
    made = CorrespondentStore(Database(database), KeyedHashes(b"k" * 32))
    yield made
    made.close()


def test_who_has_written_to_whom(known: CorrespondentStore) -> None:
    assert known.wrote("Ann@Example.org", [f"<{BEN}>", "carl@example.net"]) == 2
    assert known.wrote(ANN, [BEN]) == 1 and known.size() == 2
    assert known.knows([ANN], "BEN@example.net")
    assert not known.knows([BEN], ANN)  # he has not written to her
    assert not known.knows([ANN, BEN], "carl@example.net") and not known.knows([], BEN)
    assert known.knows([ANN, ANN], "carl@example.net")


@pytest.mark.parametrize("bad", ["", "ann", "a" * 255 + "@example.org", "a\0b@example.org"])
def test_what_is_no_address_is_nobody(known: CorrespondentStore, bad: str) -> None:
    assert known.wrote(bad, [BEN]) == known.wrote(ANN, [bad]) == 0
    known.wrote(ANN, [BEN])
    assert not known.knows([ANN, bad], BEN)


def test_a_letter_to_hundreds_teaches_nobody(known: CorrespondentStore) -> None:
    many = [f"p{i}@example.net" for i in range(correspondents.MAX_WRITTEN + 1)]
    assert known.wrote(ANN, many) == 0 and known.wrote(ANN, many[1:]) == 100
    assert not known.knows([f"q{i}@x.example" for i in range(1000)], BEN)


def test_nobody_can_be_read_from_it(tmp_path: Path) -> None:
    one = CorrespondentStore(Database(tmp_path / "a"), KeyedHashes(b"k" * 32))
    one.wrote(ANN, [BEN])
    with one._database.reading() as connection:
        row = connection.execute(sql.text("SELECT * FROM filterd_correspondents")).one()
    one.close()
    assert b"example" not in (tmp_path / "a").read_bytes() and b"ann" not in repr(tuple(row)).encode()
    other = CorrespondentStore(Database(tmp_path / "a"), KeyedHashes(b"x" * 32))
    assert not other.knows([ANN], BEN)
    other.close()


def test_they_are_forgotten_by_age_and_number(
    known: CorrespondentStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for i in range(5):
        monkeypatch.setattr(time, "time", lambda i=i: 1_790_000_000.0 + i * 86_400)
        known.wrote(ANN, [f"p{i}@example.net"])
    assert known.prune(days=100, most=9) == 0
    assert known.prune(days=2.5, most=9) == 2
    assert known.prune(days=100, most=1) == 2 and known.knows([ANN], "p4@example.net")


def verdict(p: float, *tests: str) -> Verdict:
    label = Label.SPAM if p >= 0.9 else Label.UNSURE if p >= 0.3 else Label.HAM
    return Verdict(label=label, probability=p, points=0.0, kind=Kind.MAIL, tests=("GPT2", *tests))


def test_up_to_a_bound() -> None:
    section = Correspondents(bound=0.99)
    for p, label in ((0.5, Label.HAM), (0.95, Label.HAM), (0.99, Label.UNSURE), (0.99999, Label.UNSURE)):
        found = let_through(verdict(p), BUNDLE, section)
        assert found.label is label and TEST in found.tests and found.probability <= p


@pytest.mark.parametrize(
    ("raw", "found", "proven"),
    [
        (AUTH + SPAM, verdict(0.95), True),
        (SPAM, verdict(0.95), False),
        (AUTH.replace(b"mx.", b"mx2.") + SPAM, verdict(0.95), False),
        (AUTH.replace(b"example.net", b"bad.example") + SPAM, verdict(0.95), False),
        (AUTH + SPAM, verdict(0.1), False),  # it is ham already
        (AUTH + SPAM, verdict(0.95, "DENIED"), False),
        (AUTH + SPAM, replace(verdict(0.95), available=False), False),
    ],
)
def test_only_who_is_proven_is_asked_about(raw: bytes, found: Verdict, proven: bool) -> None:
    message = Message(raw, kind=Kind.MAIL, recipients=(ANN,))
    assert bool(asked(message, found, ["mx.example.org"])) is proven


def test_who_has_logged_in_is_proven_as_the_envelopes_sender() -> None:
    for sender, login, proven in ((BEN, "ben", True), (BEN, "", False), (EVE, "eve", False)):
        message = Message(SPAM, kind=Kind.MAIL, sender=sender, recipients=(ANN,), login=login)
        assert bool(asked(message, verdict(0.95), ())) is proven


async def test_the_service_learns_and_asks(tmp_path: Path) -> None:
    config = Config(
        state=str(tmp_path),
        model=Model(workers=1),
        trust=Trust(authserv_ids=("mx.example.org",)),
        feedback=Feedback(url=f"sqlite:///{tmp_path / 'f'}"),
        correspondents=Correspondents(enabled=True, bound=1.0),
    )
    service = Service(config, engine()[0], None)
    noted = [service.notes_submissions]
    service.correspondents = known = CorrespondentStore.open(config, KeyedHashes(b"k" * 32))
    assert [*noted, service.notes_submissions] == [False, True]
    message = Message(AUTH + SPAM, kind=Kind.MAIL, recipients=(ANN,))
    try:
        assert (await service.check(message)).label is Label.SPAM
        service.wrote(ANN, [BEN])
        while not known.size():
            pass
        assert (await service.check(message)).label is Label.HAM
        assert (await service.check(replace(message, raw=SPAM))).label is Label.SPAM
        known._database.engine.dispose()
        (tmp_path / "f").write_bytes(b"no database at all, whatever it was before")
        assert (await service.check(replace(message, id="2"))).label is Label.SPAM  # and it is judged
    finally:
        await service.close(5)
        known.close()
    for _ in range(3):
        service.wrote(ANN, [BEN])  # a letter that comes while it ends is forgotten
    assert service._noting == 0


def test_a_folder_of_sent_mail(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mbox = (
        b"From ann Thu Jan  1 00:00:00 2026\nFrom: Ann <ann@example.org>\n"
        b'To: "x@y.example" <ben@example.net>,\n'
        b" carl@example.net (dan@example.net)\nCc: undisclosed-recipients:;\nSubject: x\n\nhello\n\n"
    )
    (tmp_path / "Sent").write_bytes(mbox)
    config = Config(state=str(tmp_path / "state"), correspondents=Correspondents(enabled=True))
    (tmp_path / "state").mkdir()
    assert command.learn(tmp_path / "Sent", config) == 0  # before the daemon has ever run
    assert "sent mails: 1, correspondents: 2" in capsys.readouterr().out
    keys = KeyedHashes((tmp_path / "state" / "history.key").read_bytes())
    known = CorrespondentStore.open(config, keys)
    assert known.knows([ANN], BEN) and known.knows([ANN], "carl@example.net")
    assert not known.knows([ANN], "x@y.example") and not known.knows([ANN], "dan@example.net")
    known.close()


@pytest.mark.parametrize(
    "option", ["--dry-run", "--move-to=Junk", "--tag", "--again", "--folder=INBOX", "--unsure", "--state=x"]
)
def test_what_a_sweep_of_sent_mail_cannot_do_is_refused(option: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"--sent and {option.partition('=')[0]} exclude each other"):
        CliRunner().invoke(app, ["sweep", str(tmp_path), "--sent", option], catch_exceptions=False)
