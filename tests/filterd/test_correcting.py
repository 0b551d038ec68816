"""`filterd learn` and `filterd forget` where no daemon runs."""

from collections.abc import Callable
from pathlib import Path

import pytest

from filterd.api import Kind, Label
from filterd.config import Config
from filterd.correcting import correct
from filterd.feedback import Store

MAIL = b"From: ann@example.org\nSubject: lunch\n\nshall we meet at noon?\n"


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Config]:
    monkeypatch.setenv("FILTERD_SOCKET", str(tmp_path / "nobody.sock"))
    return lambda: Config(state=str(tmp_path))


@pytest.fixture
def file(tmp_path: Path) -> str:
    (tmp_path / "one.eml").write_bytes(MAIL)
    return str(tmp_path / "one.eml")


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
