"""`trainer simulate` from folders of mails to a page, stopped and gone on with."""

import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

from filterd.errors import ConfigError
from filterd.scoring import bundle
from filterd_trainer.retraining import retrain
from filterd_trainer.simulation import arms, simulate
from filterd_trainer.simulation.arms import ArmVerdict, Ours
from filterd_trainer.simulation.simulate import SimulateRequest, SimulationStopped
from filterd_trainer.simulation.stream import StreamSettings
from tests.trainer.simulation import mails

QUIET = Console(quiet=True)
SETTINGS = StreamSettings(clean=0.15, day=8, every=16, hostile=0.2, corrects=1.0)


@pytest.fixture
def inputs(tmp_path: Path) -> list[str]:
    return [f"site={mails.folders(tmp_path / 'mails', 24)}"]


@pytest.fixture(autouse=True)
def nights(monkeypatch: pytest.MonkeyPatch) -> list[retrain.RetrainRequest]:
    """No model is trained; tests/trainer/retraining/test_retrain.py does that."""
    asked: list[retrain.RetrainRequest] = []

    def night(request: retrain.RetrainRequest) -> SimpleNamespace:
        asked.append(request)
        return SimpleNamespace(reason="minimum: too little")

    monkeypatch.setattr(retrain, "retrain", night)
    return asked


def test_all_runs(inputs: list[str], tmp_path: Path, nights: list[retrain.RetrainRequest]) -> None:
    request = SimulateRequest(inputs, bundle.DEFAULT, tmp_path / "out", SETTINGS)
    record = simulate.simulate(request, QUIET)
    wanted = ["frozen", "memory", "retrain", "both"]
    if not arms.bogofilter_missing():
        wanted += ["bogofilter", "bogofilter-same"]
    assert [arm.name for arm in record.arms] == wanted
    assert set(record.skipped) == set(simulate.ARMS) - set(wanted)
    assert [run.name for run in record.hostile] == ["strangers", "insider"]
    by_name = {arm.name: arm for arm in record.arms}
    assert by_name["frozen"].parts == by_name["retrain"].parts, "nothing was promoted"
    assert by_name["memory"].parts == by_name["both"].parts
    assert by_name["both"].corrections > 0
    looks = len(SETTINGS.starts(record.data.messages)) - 1
    assert by_name["both"].nights == looks == len(record.hostile[0].alone)
    assert len(nights) == 4 * looks
    left = {path.name for path in (tmp_path / "out" / "work").iterdir()}
    assert left == {"margins", "plan.json", "segments"}, "no mail is left"
    assert simulate.simulate(request, QUIET) == record
    assert len(nights) == 4 * looks, "nothing was done again"


def test_stopped_it_goes_on(inputs: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    request = SimulateRequest(inputs, bundle.DEFAULT, tmp_path / "out", SETTINGS, only=("frozen", "memory"))
    whole = Ours.judge
    places: list[int] = []

    def judge(self: Ours, some: Sequence[int]) -> list[ArmVerdict]:
        places.extend(some)
        if len(places) > 60:
            raise KeyboardInterrupt
        return whole(self, some)

    monkeypatch.setattr(Ours, "judge", judge)
    with pytest.raises(SimulationStopped, match="the same command goes on") as stopped:
        simulate.simulate(request, QUIET)
    assert stopped.value.exit_status == 130
    monkeypatch.setattr(Ours, "judge", whole)
    record = simulate.simulate(request, QUIET)
    straight = simulate.simulate(
        SimulateRequest(inputs, bundle.DEFAULT, tmp_path / "straight", SETTINGS, only=("frozen", "memory")),
        QUIET,
    )
    assert record == straight


def test_another_seed_begins_anew(inputs: list[str], tmp_path: Path) -> None:
    out = tmp_path / "out"
    one = simulate.simulate(SimulateRequest(inputs, bundle.DEFAULT, out, SETTINGS, only=("frozen",)), QUIET)
    other = StreamSettings(clean=0.15, day=8, every=16, seed=9)
    two = simulate.simulate(SimulateRequest(inputs, bundle.DEFAULT, out, other, only=("frozen",)), QUIET)
    assert one.data.fingerprint != two.data.fingerprint
    assert not two.differences


def test_an_unknown_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--only all: choose of frozen, memory"):
        simulate.simulate(SimulateRequest([], bundle.DEFAULT, tmp_path, SETTINGS, only=("all",)), QUIET)


def test_the_command(inputs: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    request = SimulateRequest(inputs, bundle.DEFAULT, tmp_path / "out", SETTINGS, only=("frozen",))
    simulate.run(request, as_json=True)
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads((tmp_path / "out" / "simulate.json").read_text())
    assert (tmp_path / "out" / "simulate.html").is_file()
    assert (tmp_path / "out" / "errors.svg").is_file()
