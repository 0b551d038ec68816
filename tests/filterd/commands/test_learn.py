"""`filterd learn` and `filterd forget` where no daemon runs, or none that answers."""

import contextlib
import itertools
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from filterd.api import Kind, Label, Message
from filterd.commands import learn as correcting
from filterd.commands import table
from filterd.config import Config
from filterd.corrections.learner import Learner
from filterd.corrections.store import Store
from filterd.errors import BadInput, ConfigError, NotFound, StoreError
from tests.filterd.mailboxes.made import mail, put

MAIL = b"From: ann@example.org\nSubject: lunch\n\nshall we meet at noon?\n"


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Config]:
    monkeypatch.setenv("FILTERD_SOCKET", str(tmp_path / "nobody.sock"))
    return lambda: Config(state=str(tmp_path))


@pytest.fixture
def file(tmp_path: Path) -> str:
    (tmp_path / "one.eml").write_bytes(MAIL)
    return str(tmp_path / "one.eml")


def correct(
    paths: list[str],
    kind: Kind | None,
    label: Label | None,
    config: Callable[[], Config],
    mailboxes: list[Path] | None = None,
) -> int:
    if label is None:
        return correcting.forget(paths, correcting.LearnOptions(), config)
    options = correcting.LearnOptions(spam=label is Label.SPAM, ham=label is Label.HAM)
    return correcting.learn(paths, options, config, mailboxes or ())


def kept(config: Callable[[], Config]) -> list[tuple[Label, Kind, str]]:
    with Store.open(config().feedback_url) as store:
        return [(one.label, one.kind, one.source) for one in store.iterate()]


def test_learn_again_and_forget(
    config: Callable[[], Config], file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert correct([file], None, Label.SPAM, config) == 0
    assert kept(config) == [(Label.SPAM, Kind.MAIL, "cli")]
    assert correct([file], None, Label.SPAM, config) == 0
    assert correct([file], None, Label.HAM, config) == 0
    assert kept(config) == [(Label.HAM, Kind.MAIL, "cli")]
    assert correct([file], None, None, config) == 0
    assert correct([file], None, None, config) == 0
    assert kept(config) == []
    assert capsys.readouterr().out.splitlines() == [
        "learned as spam: 1, known already: 0",
        "learned as spam: 0, known already: 1",
        "learned as ham: 1, known already: 0",
        "forgotten: 1, not known: 0",
        "forgotten: 0, not known: 1",
    ]


def test_whole_mailboxes(
    config: Callable[[], Config], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    junk = tmp_path / "Maildir" / ".Junk"
    for number in range(5):
        put(junk, number, spam=True, sub="new" if number == 3 else "cur")
    put(junk / ".Below", 9)
    put(junk, 6).rename(junk / "cur" / "1700000006.M6P7.host:2,ST")
    (junk / "cur" / "1700000007.M7P7.host:2,").write_bytes(b"")
    box = tmp_path / "mbox"
    box.write_bytes(b"From x\n" + mail(7) + b"\nFrom y\n" + mail(8))
    for _ in range(2):
        assert correct([], None, Label.SPAM, config, [junk, box]) == 65
    assert len(kept(config)) == 7
    said = capsys.readouterr()
    assert said.out.splitlines() == [
        "learned as spam: 7, known already: 0",
        "learned as spam: 0, known already: 7",
    ]
    assert said.err.count("empty") == said.err.count("\n") == 2


def test_an_mbox_and_a_maildir_are_the_same_mails(
    config: Callable[[], Config], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put(tmp_path / "Maildir", 1)
    (tmp_path / "mbox").write_bytes(b"From x\n" + mail(1) + b"\n")
    assert correct([], None, Label.HAM, config, [tmp_path / "Maildir"]) == 0
    assert correct([], None, Label.HAM, config, [tmp_path / "mbox"]) == 0
    assert capsys.readouterr().out.endswith("learned as ham: 0, known already: 1\n")


def test_an_interrupted_run_says_what_it_has_learned(
    config: Callable[[], Config],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for number in range(5):
        put(tmp_path / "Maildir", number)
    real, calls = Learner.learn, itertools.count()

    def learn(self: Learner, message: Message, label: Label) -> bool:
        if next(calls) == 3:
            raise KeyboardInterrupt
        return real(self, message, label)

    monkeypatch.setattr(Learner, "learn", learn)
    with pytest.raises(KeyboardInterrupt):
        correct([], None, Label.HAM, config, [tmp_path / "Maildir"])
    assert correct([], None, Label.HAM, config, [tmp_path / "Maildir"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "learned as ham: 3, known already: 0",
        "learned as ham: 2, known already: 3",
    ]


def test_an_error_that_the_next_mail_would_meet_too_ends_it(
    config: Callable[[], Config],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def learn(*_: object) -> bool:
        raise StoreError("the disk is full")

    monkeypatch.setattr(Learner, "learn", learn)
    for number in range(5):
        put(tmp_path / "Maildir", number)
    assert correct([], None, Label.HAM, config, [tmp_path / "Maildir"]) == 74
    assert capsys.readouterr().err == "filterd: the disk is full\n"


def test_what_is_no_mailbox(config: Callable[[], Config], tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none"):
        with pytest.raises(NotFound, match="neither a Maildir"):
            correct([], None, Label.HAM, config, [path])


def test_what_cannot_be_read_does_not_stop_the_rest(
    config: Callable[[], Config], file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").write_bytes(b"\n")
    missing, empty = str(tmp_path / "missing.eml"), str(tmp_path / "empty")
    assert correct([missing, empty, file], None, Label.HAM, config) == 66
    assert kept(config) == [(Label.HAM, Kind.MAIL, "cli")]
    said = capsys.readouterr()
    assert said.out == "learned as ham: 1, known already: 0\n"
    assert [line.split(":")[1].strip() for line in said.err.splitlines()] == [missing, empty]


class Deaf:
    """A daemon that takes connections and never says anything, or says that it is too busy."""

    def __init__(self, path: str, says: bytes = b"") -> None:
        self.asked = 0
        self._says = says
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(path)
        self._server.listen()
        self._kept: list[socket.socket] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._server.accept()
                connection.settimeout(5)
                if connection.recv(1 << 16):  # nothing: somebody looked whether there is a daemon
                    self.asked += 1
                    connection.sendall(self._says)
                if self._says:
                    connection.close()
                self._kept.append(connection)

    def close(self) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        for one in (self._server, *self._kept):
            one.close()


@pytest.fixture
def nearby(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A socket's path short enough for AF_UNIX, named to `filterd learn`."""
    monkeypatch.setattr(correcting, "ANSWER_TIMEOUT_S", 0.2)
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="filterd-") as folder:
        monkeypatch.setenv("FILTERD_SOCKET", f"{folder}/http.sock")
        yield f"{folder}/http.sock"


@pytest.mark.parametrize(
    ("says", "asked"),
    [
        pytest.param(b"", 1, id="hangs"),
        pytest.param(b'HTTP/1.1 429 X\r\n\r\n{"error": "queue is full"}', 1, id="is busy"),
        pytest.param(b"HTTP/1.1 ", 1, id="dies in the middle"),
    ],
)
def test_where_the_daemon_does_not_answer_the_store_is_written(
    config: Callable[[], Config], file: str, nearby: str, tmp_path: Path, says: bytes, asked: int
) -> None:
    other = tmp_path / "other.eml"
    other.write_bytes(MAIL.replace(b"lunch", b"dinner"))
    deaf = Deaf(nearby, says)
    try:
        assert correct([file, str(other)], None, Label.SPAM, config) == 0
    finally:
        deaf.close()
    assert len(kept(config)) == 2
    assert deaf.asked == asked, "the second message does not wait for the daemon again"


def test_where_neither_takes_it_both_reasons_are_said(
    file: str, nearby: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "blocked").write_bytes(b"")
    deaf = Deaf(nearby)
    try:
        status = correct([file], None, Label.SPAM, lambda: Config(state=str(tmp_path / "blocked")))
    finally:
        deaf.close()
    said = capsys.readouterr().err
    assert status == 74
    assert said.startswith(f"filterd: {nearby}: timed out")
    assert "blocked" in said
    assert said.count("\n") == 1


def test_a_daemon_that_refuses_is_not_passed_over(
    config: Callable[[], Config], file: str, nearby: str, capsys: pytest.CaptureFixture[str]
) -> None:
    deaf = Deaf(nearby, b'HTTP/1.1 403 X\r\n\r\n{"error": "learning is closed here"}')
    try:
        assert correct([file], None, Label.SPAM, config) == 69
    finally:
        deaf.close()
    assert kept(config) == []
    assert "learning is closed" in capsys.readouterr().err


def test_sms_in_a_file_and_a_line_each(
    config: Callable[[], Config], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, many = tmp_path / "one.txt", tmp_path / "many.txt"
    one.write_text("From: nobody you know\nwin a prize\n")
    many.write_text("win a car\n\nwin a house\n")
    assert correcting.learn([str(one)], correcting.LearnOptions(spam=True, sms=True), config) == 0
    assert correcting.learn([str(many)], correcting.LearnOptions(spam=True, lines=True), config) == 0
    assert kept(config) == [(Label.SPAM, Kind.SMS, "cli")] * 3
    assert capsys.readouterr().out.splitlines() == [
        "learned as spam: 1, known already: 0",
        "learned as spam: 2, known already: 0",
    ]
    for wrong in (correcting.LearnOptions(ham=True, sms=True), correcting.LearnOptions(ham=True, lines=True)):
        with pytest.raises(ConfigError, match="exclude each other"):
            correcting.learn([], wrong, config, [tmp_path])


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_table_of_corrections(
    config: Callable[[], Config], tmp_path: Path, capsys: pytest.CaptureFixture[str], delimiter: str
) -> None:
    made = [
        ["Text", "LABEL", "kind", "user"],
        ["win a car", "Spam", "sms", ""],
        ['"see you, at\n""noon""; ok?\tyes"', "HAM", "sms", "ann@example.org"],
        ["what is it", "maybe", "sms", ""],
        ["", "ham", "", ""],
        ["by pigeon", "ham", "pigeon", ""],
        ["win a house", "spam", "", ""],
    ]
    path = tmp_path / "corrections.csv"
    path.write_text("\ufeff" + "".join(delimiter.join(row) + "\r\n" for row in made))
    assert correcting.correct(table.rows(str(path)), config, correcting.LEARNED) == 65
    with Store.open(config().feedback_url) as store:
        found = [(one.label.value, one.owner) for one in store.iterate()]
    assert found == [("spam", ""), ("ham", "ann@example.org"), ("spam", "")]
    out, err = capsys.readouterr()
    assert out.splitlines() == ["learned as spam: 2, known already: 0", "learned as ham: 1, known already: 0"]
    assert [line.split(":")[2] for line in err.splitlines()] == ["5", "6", "7"]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        pytest.param("ham,hello\n", "names the columns", id="no-header"),
        pytest.param("", "names the columns", id="empty"),
        pytest.param('label,text\nspam,"win\nham,x\n', "not closed", id="open-quote"),
    ],
)
def test_a_table_that_is_none_is_one_line(
    config: Callable[[], Config], tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str, says: str
) -> None:
    path = tmp_path / "a.csv"
    path.write_text(content)
    try:
        assert correcting.correct(table.rows(str(path)), config, correcting.LEARNED) == 65
        said = capsys.readouterr().err
    except BadInput as error:
        said = str(error)
    assert says in said and f"{path}:" in said
