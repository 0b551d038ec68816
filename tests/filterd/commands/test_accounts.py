"""`filterd console`: accounts by command."""

import io
from pathlib import Path

import pytest
from typer.testing import CliRunner

from filterd.commands.cli import app
from filterd.console.accounts import Accounts, Role

PASSWORD = "correct horse battery"


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "filterd.yaml").write_text(f"state: {tmp_path / 'state'}\n")
    monkeypatch.setenv("FILTERD_CONFIG", str(tmp_path / "filterd.yaml"))
    return tmp_path / "state"


def run(*arguments: str, stdin: str = PASSWORD + "\n") -> tuple[int, str]:
    found = CliRunner().invoke(app, ["console", *arguments], input=io.StringIO(stdin).read())
    return found.exit_code, found.output + (str(found.exception) if found.exception else "")


def test_an_account_is_made_listed_and_removed(state: Path) -> None:
    assert run("password", "anna")[0] == 0
    assert run("password", "ben", "--role", "user", "--address", "ben@example.org")[0] == 0
    found = Accounts(state).verify("anna", PASSWORD)
    assert found and found.role is Role.ADMINISTRATOR
    listed = run("list")[1]
    assert "anna" in listed and "ben@example.org" in listed and PASSWORD not in listed
    assert run("remove", "anna")[0] == 0
    assert "no such account" in run("remove", "anna")[1]


@pytest.mark.parametrize(
    ("arguments", "stdin", "said"),
    [
        (["password", "a b"], PASSWORD, "a name has letters"),
        (["password", "anna"], "short", "10 to"),
        (["password", "anna", "--role", "king"], PASSWORD, "--role is"),
        (["password", "anna", "--role", "user"], PASSWORD, "--address"),
    ],
)
def test_what_is_wrong_is_one_line(state: Path, arguments: list[str], stdin: str, said: str) -> None:
    code, output = run(*arguments, stdin=stdin)
    assert code != 0
    assert said in output
    assert len(Accounts(state)) == 0
