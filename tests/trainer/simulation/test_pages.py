"""A record as tables, curves and a page that needs nothing else."""

import json
import re
from pathlib import Path

import pytest

from filterd_trainer.simulation import metrics, pages
from filterd_trainer.simulation.metrics import SimulationRecord
from filterd_trainer.simulation.stream import StreamSettings
from tests.trainer.simulation.test_metrics import judged, segments, stream


@pytest.fixture(scope="module")
def record() -> SimulationRecord:
    one = stream()
    runs = {"frozen": segments(set(range(0, 80, 3))), "both": segments({1}, {7}), "bogofilter": segments({2})}
    frozen = judged(range(80, 120), {81})
    return SimulationRecord(
        bundle="filterd-mini-1",
        settings=StreamSettings(),
        data=metrics.described(one, ["site=mails"]),
        arms=[metrics.arm(name, run, one) for name, run in runs.items()],
        differences=metrics.differences(runs, one),
        hostile=[metrics.hostile("strangers", segments({83}), frozen, one)],
        skipped={"bogofilter-same": "bogofilter is not installed"},
    )


def test_files(record: SimulationRecord, tmp_path: Path) -> None:
    files = {path.name for path in pages.write(tmp_path, record)}
    names = ("errors", "false_positives", "sum_of_errors", "hostile")
    assert files == {"simulate.json", "simulate.html", *(f"{n}.{f}" for n in names for f in ("png", "svg"))}
    assert json.loads((tmp_path / "simulate.json").read_text())["bundle"] == "filterd-mini-1"
    assert (tmp_path / "errors.png").read_bytes().startswith(b"\x89PNG")
    assert "<svg" in (tmp_path / "hostile.svg").read_text()
    page = (tmp_path / "simulate.html").read_text()
    assert page.count("data:image/png;base64") == len(names)
    assert not re.search(r'(src|href)="(?!data:|#)', page)
    assert "minimum" in page, "why a night promoted nothing"


def test_tables_say_what_was_found(record: SimulationRecord) -> None:
    tables = pages.tables(record)
    header, rows = tables["stream, 80 mails, 40 spam"]
    frozen = dict(zip(header, rows[0], strict=True))
    assert frozen[""] == "frozen"
    assert frozen["errors"].startswith("27, 33.75% (")
    assert frozen["ham lost"] == "13"
    assert frozen["spam missed"] == "14 (0 unsure)"
    narrow = pages.tables(record, wide=False)["stream, 80 mails, 40 spam"]
    assert narrow[1][1] == ["both", "1, 1.25%", "1", "0", "1", "2.50%", "2.50%"]


def test_the_terminal_shows_it(record: SimulationRecord, capsys: pytest.CaptureFixture[str]) -> None:
    pages.show(record)
    out = " ".join(capsys.readouterr().out.split())
    assert "bogofilter-same: skipped, bogofilter is not installed" in out
    assert "worse than the frozen one beyond chance at 0 of 2 looks" in out
    pages.show(record, as_json=True)
    assert json.loads(capsys.readouterr().out)["settings"]["day"] == 250
