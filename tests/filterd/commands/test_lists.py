"""`filterd list` and `filterd threshold`: set, seen, taken back."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from filterd.commands.cli import app


@pytest.fixture(autouse=True)
def configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "filterd.yaml").write_text(
        f"state: {tmp_path / 'state'}\nthresholds: [{{unsure: 0.4, spam: 0.8, recipients: [example.com]}}]\n"
    )
    monkeypatch.setenv("FILTERD_CONFIG", str(tmp_path / "filterd.yaml"))


def run(*arguments: str) -> tuple[int, str]:
    found = CliRunner().invoke(app, list(arguments))
    return found.exit_code, found.output + (str(found.exception) if found.exception else "")


def test_entries() -> None:
    assert "will not count" in run("list", "allow", "ann@example.org", "--for", "ben@example.net")[1]
    assert run("list", "deny", "bad.example", "--days", "2", "--note", "phish")[0] == 0
    listed = run("list", "show")[1].splitlines()
    assert [line.split()[1:4] for line in listed] == [
        ["deny", "domain", "bad.example"],
        ["allow", "address", "ann@example.org"],
    ]
    assert "phish" in listed[0] and "ben@example.net" in listed[1]
    assert run("list", "remove", listed[0].split()[0])[0] == 0
    assert "no such entry" in run("list", "remove", "99")[1]
    assert "has no dot" in run("list", "deny", "org")[1]


def test_thresholds() -> None:
    assert run("threshold", "set", "--unsure", "0.2", "--spam", "0.5", "@Example.org")[0] == 0
    shown = run("threshold", "show")[1]
    assert "example.com" in shown and "(configuration)" in shown
    assert "example.org" in shown and "spam 0.5000" in shown
    assert run("threshold", "reset", "example.org")[0] == 0
    assert "nothing is set" in run("threshold", "reset", "example.org")[1]
    assert "unsure <= spam" in run("threshold", "set", "--unsure", "0.9", "--spam", "0.5")[1]
