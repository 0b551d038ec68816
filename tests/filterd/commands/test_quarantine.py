"""`filterd quarantine`: what is held is listed, shown, released, deleted, and told of."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from filterd.commands.cli import app
from filterd.config import Config, load
from filterd.corrections.learner import Learner
from filterd.errors import StoreError
from filterd.quarantine.nexthop import ReleaseFailed, ReleaseHop
from filterd.quarantine.store import QuarantineStore
from tests.filterd.quarantine.made import ANN, BEN, RAW, SPAM, mail

TEXT = "state: {}\nquarantine: {{next_hop: 'tcp:127.0.0.1:9', sender: f@example.org}}\n"


@pytest.fixture(autouse=True)
def sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    (tmp_path / "filterd.yaml").write_text(TEXT.format(tmp_path / "state"))
    monkeypatch.setenv("FILTERD_CONFIG", str(tmp_path / "filterd.yaml"))
    taken: list[str] = []

    def send(hop: ReleaseHop, sender: str, recipient: str, raw: bytes) -> None:
        if recipient == "full@example.org":
            raise ReleaseFailed("the next hop says 452 full")
        taken.append(recipient)

    monkeypatch.setattr(ReleaseHop, "send", send)
    return taken


def held(tmp_path: Path, *recipients: str) -> str:
    (tmp_path / "state").mkdir(exist_ok=True)
    with QuarantineStore.open(load(tmp_path / "filterd.yaml")) as quarantine:
        return quarantine.find(_id(quarantine.keep(mail(*recipients), SPAM))).id


def _id(number: int) -> str:
    from filterd.history.record import encode

    return encode(number)


def run(*arguments: str) -> tuple[int, str]:
    found = CliRunner().invoke(app, ["quarantine", *arguments])
    return found.exit_code, found.output + (str(found.exception) if found.exception else "")


def test_where_nothing_was_held_nothing_comes_to_be(tmp_path: Path) -> None:
    assert "nothing was ever held here" in run("list")[1]
    assert not (tmp_path / "state").exists()


def test_list_show_release_and_delete(
    tmp_path: Path, sent: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[int] = []
    name = held(tmp_path, ANN, BEN)
    assert f"{name} " in run("list")[1] and "prize" in run("list", "--to", ANN)[1]
    assert run("list", "--to", "nobody@example.org")[1] == run("list", "--text", "else")[1] == ""
    said = json.loads(run("list", "--json")[1])
    assert (said["id"], said["recipients"][0]["address"], said["size"]) == (name, ANN, len(RAW))
    assert f"- {ANN}: held" in run("show", name)[1]
    assert CliRunner().invoke(app, ["quarantine", "show", "--raw", name]).stdout_bytes == RAW
    other = held(tmp_path, ANN)
    open_learner = Learner.open

    def open_counted(config: Config) -> Learner:
        opened.append(1)
        return open_learner(config)

    monkeypatch.setattr(Learner, "open", open_counted)
    assert run("release", "--to", ANN, "--not-spam", name, other) == (
        0,
        f"{name}: sent to {ANN}\n{other}: sent to {ANN}\nlearned as ham: 1, known already: 1\n",
    )
    assert opened == [1]  # for all of them
    assert run("delete", name) == (0, f"{name}: deleted\n")
    assert "nobody waits" in run("release", name)[1] and sent == [ANN, ANN]
    assert run("list")[1] == "" and "by command" in run("show", name)[1]
    assert run("list", "--all")[1]
    assert "not in quarantine" in run("show", "nonsense")[1]


@pytest.mark.parametrize("stage", ["open", "learn"])
def test_people_have_their_mail_before_anything_is_learned(
    tmp_path: Path, sent: list[str], monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    def closed(*_: object) -> None:
        raise StoreError("the store is closed")

    names = [held(tmp_path, ANN), held(tmp_path, BEN)]
    monkeypatch.setattr(Learner, stage, closed)
    status, said = run("release", "--not-spam", *names)
    assert status == StoreError.exit_status and sent == [ANN, BEN]
    assert "the store is closed" in said and f"sent, but not learned as ham: {', '.join(names)}" in said


def test_what_was_sent_before_one_fails_is_learned(tmp_path: Path, sent: list[str]) -> None:
    name = held(tmp_path, ANN)
    status, said = run("release", "--not-spam", name, "nonsense")
    assert status and sent == [ANN]
    assert "learned as ham: 1" in said and "not in quarantine" in said


def test_the_digest(tmp_path: Path, sent: list[str]) -> None:
    held(tmp_path, ANN, "full@example.org")
    assert f"To: {ANN}" in run("digest", "--dry-run")[1] and sent == []
    status, said = run("digest")
    assert status == 1 and "full@example.org: the next hop says 452 full" in said and "sent: 1" in said
    assert sent == [ANN]
    assert "sent: 0" in run("digest")[1] and sent == [ANN]
