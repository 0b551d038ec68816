"""Which run goes on, which is given up, and which are thrown away."""

from pathlib import Path

import msgspec
import pytest

from filterd.errors import BadInput
from filterd_trainer.retraining import run_folder
from filterd_trainer.retraining.gate import GateRules
from filterd_trainer.retraining.run_folder import RetrainPlan, claim

PLAN = RetrainPlan(
    champion="champion",
    since=0,
    until=60,
    rewritten=0,
    strategy="auto",
    rehearsal=(),
    rules=GateRules(),
    seed=123,
)


def changed(**changes: object) -> RetrainPlan:
    return msgspec.structs.replace(PLAN, **changes)


@pytest.mark.parametrize(
    ("later", "goes_on"),
    [
        pytest.param(PLAN, True, id="same"),
        pytest.param(changed(until=80), True, id="more-corrections"),
        pytest.param(changed(until=80, rewritten=80), False, id="one-was-changed"),
        pytest.param(changed(champion="other"), False, id="another-champion"),
        pytest.param(changed(strategy="head"), False, id="other-options"),
        pytest.param(changed(rehearsal=("data",)), False, id="other-data"),
    ],
)
def test_a_killed_run_goes_on_with_what_it_was_begun_with(
    tmp_path: Path, later: RetrainPlan, goes_on: bool
) -> None:
    first = claim(tmp_path, PLAN)
    (first.folder / "data").mkdir()
    second = claim(tmp_path, later)
    assert (second.folder == first.folder) is goes_on
    assert second.plan == (PLAN if goes_on else later)
    assert (first.folder / "data").exists() is goes_on


def test_an_ended_run_does_not_go_on(tmp_path: Path) -> None:
    first = claim(tmp_path, PLAN)
    first.end("for a reason")
    second = claim(tmp_path, PLAN)
    assert (first.folder.name, second.folder.name) == ("000001", "000002")


def test_a_folder_without_a_state_was_killed_at_birth(tmp_path: Path) -> None:
    (tmp_path / "000007").mkdir()
    assert claim(tmp_path, PLAN).folder.name == "000001"
    (tmp_path / "000001" / run_folder.STATE).write_text("{")
    with pytest.raises(BadInput, match="delete the folder"):
        claim(tmp_path, PLAN)


def test_old_runs_go_and_empty_ones_first(tmp_path: Path) -> None:
    for i in range(6):
        run = claim(tmp_path, PLAN)
        if i % 2:
            (run.folder / "challenger").mkdir()
        run.end("no")
    run_folder.prune(tmp_path, keep=3)
    assert [folder.name for folder in run_folder.folders(tmp_path)] == ["000004", "000005", "000006"]
