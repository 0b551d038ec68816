"""Corrections into the store and the memory, and out of them again."""

import threading
from pathlib import Path

import msgspec
import pytest

from filterd.api import Kind, Label, Message
from filterd.config import Config, Feedback, Headers
from filterd.corrections.learner import Learner
from filterd.corrections.recall import MEMORY_FILE
from filterd.corrections.store import Correction
from filterd.errors import StoreError
from filterd.kit.settings import Section
from filterd.reading.text import read
from filterd.scoring.memory import Memory
from tests.filterd.fakes import engine

MAIL = b"From: ann@example.org\nSubject: lunch\n\nshall we meet at noon, the usual place by the river?\n"
SMS = b"your parcel is at the shop, come before six to pick it up"


def mail(raw: bytes = MAIL, **fields: str) -> Message:
    return Message(raw, kind=Kind.MAIL, **fields)  # type: ignore[arg-type]


def config_of(state: Path, **sections: Section) -> Config:
    return msgspec.structs.replace(Config(state=str(state)), **sections)


@pytest.fixture
def learner(tmp_path: Path) -> Learner:
    return Learner.open(config_of(tmp_path))


def only(learner: Learner) -> Correction:
    (one,) = learner.store.iterate()
    return one


def word(learner: Learner, raw: bytes = MAIL, user: str = "") -> int:
    """What the memory knows to be said of this very message."""
    message = mail(raw, user=user)
    return learner.recollect(message, read(message)[0]).word


def test_a_correction_is_in_the_store_and_in_the_memory(learner: Learner) -> None:
    assert learner.learn(mail(source="cli", id="4711"), Label.SPAM, engine()[0].judge([mail()])[0], -3.5)
    one = only(learner)
    assert (one.label, one.kind, one.source, one.message_id) == (Label.SPAM, Kind.MAIL, "cli", "4711")
    assert (one.verdict, one.bundle) == (Label.HAM, "fake-1")
    assert one.text and "usual place" in one.text
    assert word(learner) == 1
    assert one.content_hash == learner.content_hash(mail())


def test_nobody_to_ask_for_the_verdict_before(learner: Learner) -> None:
    assert learner.learn(mail(), Label.HAM)
    assert (only(learner).verdict, only(learner).bundle) == (None, "")


def test_who_has_no_table_is_woken_by_his_own_correction(
    learner: Learner, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert learner.learn(mail(user="ann"), Label.SPAM)
    monkeypatch.setattr("filterd.scoring.memory.MAX_TABLES", 0)
    assert learner.learn(mail(user="bob"), Label.SPAM)
    assert learner.memory.dormant("ann") == ["ann"]
    monkeypatch.undo()
    assert learner.learn(mail(MAIL + b"Ann", user="ann"), Label.SPAM)
    assert not learner.memory.dormant("ann") and not learner.memory.guessed


def test_known_changed_forgotten(learner: Learner) -> None:
    assert learner.learn(mail(), Label.SPAM)
    assert not learner.learn(mail(), Label.SPAM)
    assert learner.learn(mail(), Label.HAM)
    assert word(learner) == -1
    assert learner.forget(mail())
    assert not learner.forget(mail())
    assert word(learner) == 0
    assert len(learner.memory) == 0
    assert not learner.memory.panel.tables.any()


def test_the_delivered_copy_is_the_same_message(learner: Learner) -> None:
    learner.learn(mail(), Label.SPAM)
    delivered = b"Return-Path: <ann@example.org>\nX-Spam-Status: No, score=-3.2\nStatus: RO\n" + MAIL
    assert not learner.learn(mail(delivered), Label.SPAM)
    assert learner.forget(mail(delivered))


def test_our_headers_are_not_in_the_text(learner: Learner) -> None:
    learner.learn(mail(b"X-Spam-Status: Yes, score=7.1\n" + MAIL), Label.SPAM)
    assert "score" not in (only(learner).text or "score")


def test_our_headers_are_those_of_the_configuration(tmp_path: Path) -> None:
    learner = Learner.open(config_of(tmp_path, headers=Headers(prefix="X-Junk-")))
    learner.learn(mail(), Label.SPAM)
    delivered = b"X-Junk-Status: No, score=-3.2\n" + MAIL
    assert not learner.learn(mail(delivered), Label.SPAM)
    assert learner.forget(mail(delivered))


def test_the_kind_is_looked_at_where_nobody_says(learner: Learner) -> None:
    learner.learn(Message(SMS), Label.SPAM)
    assert only(learner).kind is Kind.SMS
    assert learner.forget(Message(SMS, kind=Kind.SMS))


def test_an_sms_that_looks_like_a_header_keeps_its_text(learner: Learner) -> None:
    learner.learn(Message(b"X-Spam-free: call us today", kind=Kind.SMS), Label.SPAM)
    assert "call us" in (only(learner).text or "")


def test_text_is_kept_only_where_the_configuration_says_so(tmp_path: Path) -> None:
    learner = Learner.open(config_of(tmp_path, feedback=Feedback(keep_text=False)))
    learner.learn(mail(), Label.SPAM)
    assert only(learner).text is None
    assert word(learner) == 1


def test_a_reload_changes_what_is_kept(learner: Learner, tmp_path: Path) -> None:
    learner.config = config_of(tmp_path, feedback=Feedback(keep_text=False))
    learner.learn(mail(), Label.SPAM)
    assert only(learner).text is None


def test_retention(tmp_path: Path) -> None:
    learner = Learner.open(config_of(tmp_path, feedback=Feedback(max_corrections=2)))
    for i in range(5):
        learner.learn(Message(SMS + b" %d" % i, kind=Kind.SMS), Label.SPAM)
    assert learner.prune() == 3
    assert learner.prune() == 0
    assert len(learner.memory) == 2


@pytest.mark.parametrize(
    "left",
    [
        pytest.param("saved", id="closed in order"),
        pytest.param("missing", id="killed"),
        pytest.param("damaged", id="damaged on disk"),
        pytest.param("older", id="saved, learned more, killed"),
    ],
)
def test_the_next_start_has_the_same_memory(tmp_path: Path, left: str) -> None:
    learner = Learner.open(config_of(tmp_path))
    for i in range(3):
        learner.learn(Message(SMS + b" %d" % i, kind=Kind.SMS), Label(("spam", "ham")[i % 2]))
    if left != "missing":
        learner.close()
    if left == "damaged":
        (tmp_path / MEMORY_FILE).write_bytes(b"nothing of ours")
    if left == "older":
        learner = Learner.open(config_of(tmp_path))
        learner.learn(mail(), Label.SPAM)
    again = Learner.open(config_of(tmp_path))
    assert again.memory.revision == learner.memory.revision
    assert (again.memory.panel.tables == learner.memory.panel.tables).all()
    assert again.memory.words == learner.memory.words


def test_another_process_on_the_same_store(learner: Learner, tmp_path: Path) -> None:
    other = Learner.open(config_of(tmp_path))
    other.learn(mail(), Label.SPAM)
    assert word(learner) == 0
    learner.learn(Message(SMS, kind=Kind.SMS), Label.HAM)
    assert word(learner) == 1


def test_files_are_the_owners_alone(learner: Learner, tmp_path: Path) -> None:
    learner.learn(mail(), Label.SPAM)
    learner.close()
    modes = {file.name: file.stat().st_mode & 0o777 for file in tmp_path.iterdir()}
    assert modes["feedback.sqlite"] == modes[MEMORY_FILE] == 0o600


def test_many_threads_at_once(learner: Learner) -> None:
    def learn(first: int) -> None:
        for i in range(first, first + 10):
            learner.learn(Message(SMS + b" %d" % i, kind=Kind.SMS), Label.SPAM)

    threads = [threading.Thread(target=learn, args=(10 * n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(learner.memory) == learner.store.stats().total == 40


def test_readers_do_not_wait_while_the_memory_is_rebuilt(
    learner: Learner, monkeypatch: pytest.MonkeyPatch
) -> None:
    learner.learn(mail(), Label.SPAM)
    learner.learn(Message(SMS, kind=Kind.SMS), Label.SPAM)
    free: list[bool] = []
    learn = Memory.learn

    def watched(memory: Memory, *arguments: object) -> None:
        free.append(memory is not learner.memory)
        learn(memory, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Memory, "learn", watched)
    learner.rebuild()
    assert free == [True, True]
    assert len(learner.memory) == 2


def test_a_store_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "feedback.sqlite").write_bytes(b"not a database at all, but a text\n" * 100)
    with pytest.raises(StoreError):
        Learner.open(config_of(tmp_path))
