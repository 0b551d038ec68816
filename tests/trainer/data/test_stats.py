"""`trainer data stats`: the lecture's figures of the UCI file, its batches, and any other table."""

from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from filterd_trainer.cli import app
from filterd_trainer.data import stats
from tests.conftest import SHARED

UCI = SHARED / "sms_uci" / "SMSSpamCollection"


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, ["data", *map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.shared
def test_the_lectures_figures(tmp_path: Path) -> None:
    said = run("stats", UCI, "--out", tmp_path)
    assert "5,572 rows, 4,825 ham, 747 spam, 6.5 : 1" in said
    assert "747 + 747 = 1,494" in said
    for name in ("classes.png", "lengths.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")


@pytest.mark.shared
@pytest.mark.parametrize("recipe", ["lecture", "lecture-slide"])
def test_the_lectures_batches(recipe: str, tmp_path: Path) -> None:
    run("prepare", "--recipe", recipe, "--input", UCI, "--out", tmp_path / "data")
    said = run("stats", tmp_path / "data")
    for line in ("1,045 rows, 130 batches", "149 rows, 19 batches", "300 rows, 38 batches"):
        assert line in said
    if recipe == "lecture":
        assert "Longest training message: 120 tokens" in said and "input [8, 120], target [8]" in said


def test_any_table(tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    table.write_text("label,text\nham,see you at noon\nham,it is done\nham,thanks\nspam,win a prize\n")
    found = stats.of_inputs([str(table)])
    assert (dict(found.counts), found.rows, found.ratio) == ({"ham": 3, "spam": 1}, 4, 3.0)
    assert sorted(map(len, found.tokens.values())) == [1, 3]
    console = Console(record=True, width=100)
    stats.show(found, console)
    assert "4 rows, 3 ham, 1 spam, 3.0 : 1" in console.export_text()
