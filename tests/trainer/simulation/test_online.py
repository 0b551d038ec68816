"""`trainer simulate --online` from folders of mails to a page, stopped and gone on with."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from filterd.api import Label
from filterd.errors import BadInput, ConfigError
from filterd.scoring import bundle
from filterd_trainer import cli
from filterd_trainer.simulation import chronicle, online
from filterd_trainer.simulation.arms import ArmVerdict
from filterd_trainer.simulation.online import OnlineRequest, OnlineSettings, Speaker, replay
from filterd_trainer.simulation.simulate import SimulationStopped
from filterd_trainer.simulation.stream import Stream, located
from filterd_trainer.simulation.users import StreamCorrection
from tests.conftest import need_program
from tests.trainer.simulation import mails

QUIET = Console(quiet=True)
COUNT = 30
OURS = online.FILTERS[:-1]


@pytest.fixture
def inputs(tmp_path: Path) -> list[str]:
    return [f"site={mails.folders(tmp_path / 'mails', COUNT, dated=True)}"]


@pytest.fixture
def stream(inputs: list[str]) -> Stream:
    return chronicle.load(located(inputs), 0, 123)


class Wrong:
    """A filter that is always wrong, and notes what it hears and when."""

    def __init__(self, stream: Stream) -> None:
        self._mails = stream.mails
        self.judged = 0
        self.heard: list[tuple[int, StreamCorrection]] = []

    def judge(self, places: Sequence[int]) -> list[ArmVerdict]:
        self.judged = places[0]
        is_spam = self._mails[places[0]].is_spam
        return [ArmVerdict(0.1 if is_spam else 0.9, Label.HAM if is_spam else Label.SPAM)]

    def learn(self, said: StreamCorrection) -> None:
        self.heard.append((self.judged + 1, said))


def heard(stream: Stream, mode: str, **settings: float) -> list[tuple[int, StreamCorrection]]:
    wrong = Wrong(stream)
    how = OnlineSettings(**settings)  # type: ignore[arg-type]
    replay(wrong, Speaker(stream, how, mode), stream.n, lambda what, done: None)
    return wrong.heard


def test_all_are_corrected_before_the_next_one(stream: Stream) -> None:
    found = heard(stream, "all")
    assert [before for before, _ in found] == [said.mail + 1 for _, said in found]
    assert [said.label for _, said in found] == [mail.label for mail in stream.mails[:-1]]


def test_late_is_a_share_and_later(stream: Stream) -> None:
    found = heard(stream, "late", day=10, corrects=0.5)
    assert [before for before, _ in found] == [said.mail + 10 for _, said in found]
    assert 0.25 * stream.n < len(found) < 0.75 * stream.n


def test_some_are_wrong(stream: Stream) -> None:
    found = heard(stream, "wrong", wrong=0.2)
    flipped = sum(said.label is not stream.mails[said.mail].label for _, said in found)
    assert 0 < flipped < 0.5 * len(found)
    assert len(found) == stream.n - 1


def test_who_is_right_is_not_corrected(stream: Stream) -> None:
    speaker = Speaker(stream, OnlineSettings(), "errors")
    assert speaker.sees(0, stream.mails[0].label) is None
    assert speaker.sees(0, Label.UNSURE) is not None


def test_every_run(inputs: list[str], tmp_path: Path) -> None:
    request = OnlineRequest(
        inputs=inputs, bundle=bundle.DEFAULT, out=tmp_path / "out", settings=OnlineSettings(day=5), only=OURS
    )
    record = online.simulate(request, QUIET)
    assert [(run.mode, run.filter) for run in record.runs] == [
        (mode, one) for mode in online.MODES for one in OURS
    ]
    assert (record.messages, record.spam, record.at) == (2 * COUNT, COUNT, [50, 60])
    assert (record.first, record.last) == ("2024-01-01", "2024-01-03")
    found = {(run.mode, run.filter): run for run in record.runs}
    assert found["all", "fused"].corrections == 2 * COUNT - 1
    assert found["late", "fused"].corrections < max(found["errors", "fused"].corrections, 1)
    assert found["all", "fused"].late_share is None, "there are not so many"
    assert found["all", "model"].lost_by[-1] == found["all", "model"].lost
    assert {path.name for path in (tmp_path / "out" / "work").iterdir() if path.is_dir()} == {"margins"}
    assert online.simulate(request, QUIET) == record, "nothing is done again"


def bogofilter_alone(inputs: list[str], out: Path) -> OnlineRequest:
    settings = OnlineSettings(messages=20)
    return OnlineRequest(
        inputs=inputs,
        bundle=bundle.DEFAULT,
        out=out,
        settings=settings,
        modes=("errors",),
        only=("bogofilter",),
    )


def test_beside_bogofilter(inputs: list[str], tmp_path: Path) -> None:
    request = bogofilter_alone(inputs, tmp_path)
    need_program("bogofilter")
    record = online.simulate(request, QUIET)
    assert [run.corrections > 0 for run in record.runs] == [True]


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        (["--online", "--data", "x"], "--data means nothing with --online"),
        (["--online", "--hostile", "0.1"], "--hostile means nothing with --online"),
        (["--mode", "all"], "--mode means nothing without --online"),
    ],
)
def test_options_of_the_other_way_are_refused(tmp_path: Path, given: list[str], complaint: str) -> None:
    asked = ["simulate", "--input", "x", "--out", str(tmp_path), *given]
    assert str(CliRunner().invoke(cli.app, asked).exception) == complaint


def test_without_bogofilter(inputs: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(online, "bogofilter_missing", lambda: "not there")
    request = bogofilter_alone(inputs, tmp_path)
    record = online.simulate(request, QUIET)
    assert (record.skipped, record.runs) == ({"bogofilter": "not there"}, [])


def test_stopped_it_goes_on(inputs: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    request = OnlineRequest(
        inputs=inputs,
        bundle=bundle.DEFAULT,
        out=tmp_path / "out",
        settings=OnlineSettings(),
        modes=("all", "errors"),
        only=("fused",),
    )
    whole = online.OnlineFilter.judge
    judged: list[int] = []

    def judge(self: online.OnlineFilter, places: Sequence[int]) -> list[ArmVerdict]:
        judged.extend(places)
        if len(judged) == 90:
            raise KeyboardInterrupt
        return whole(self, places)

    monkeypatch.setattr(online.OnlineFilter, "judge", judge)
    with pytest.raises(SimulationStopped, match="the same command goes on"):
        online.simulate(request, QUIET)
    record = online.simulate(request, QUIET)
    assert len(judged) == 90 + 60, "the first mode was not judged again"
    straight = OnlineRequest(
        inputs=inputs,
        bundle=bundle.DEFAULT,
        out=tmp_path / "straight",
        settings=request.settings,
        modes=request.modes,
        only=request.only,
    )
    assert online.simulate(straight, QUIET).runs == record.runs


def test_the_command(inputs: list[str], tmp_path: Path) -> None:
    out = tmp_path / "out"
    given = [
        "simulate",
        "--online",
        "--input",
        inputs[0],
        "--out",
        str(out),
        "--mode",
        "all",
        "--only",
        "fused",
    ]
    done = CliRunner().invoke(cli.app, [*given, "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout) == json.loads((out / "online.json").read_text())
    assert {"online.html", "online.png", "online.svg"} <= {path.name for path in out.iterdir()}
    shown = CliRunner().invoke(cli.app, given)
    assert "corrected: every mail, at once" in shown.stdout
    assert "2024-01-01 to 2024-01-03" in " ".join(shown.stdout.split())


def test_what_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--mode some: choose of all, errors"):
        online.simulate(
            OnlineRequest(
                inputs=[], bundle=bundle.DEFAULT, out=tmp_path, settings=OnlineSettings(), modes=("some",)
            ),
            QUIET,
        )
    with pytest.raises(ConfigError, match="--only both: choose of model, learner"):
        online.simulate(
            OnlineRequest(
                inputs=[], bundle=bundle.DEFAULT, out=tmp_path, settings=OnlineSettings(), only=("both",)
            ),
            QUIET,
        )
    with pytest.raises(BadInput, match="--corrects"):
        OnlineSettings(corrects=0.0)
