"""`trainer retrain` as it is typed."""

import json
from pathlib import Path

import pytest

from filterd.config import Config, Model, Retrain
from filterd.errors import ConfigError
from filterd_trainer.retraining import options as retraining
from filterd_trainer.retraining.options import RetrainOptions, request_of
from tests.trainer.retraining import corrections

GIVEN = RetrainOptions(
    feedback="", bundle="current", rehearsal=None, strategy="auto", promotion=None, runs=None, seed=123
)


def test_the_configuration_says_what_the_options_leave_out() -> None:
    config = Config(state="/s", retrain=Retrain(promotion="shadow", rehearsal=("data",), keep_runs=3))
    asked = request_of(GIVEN, config)
    assert (asked.feedback, asked.bundles, asked.runs) == (
        "sqlite:////s/feedback.sqlite",
        Path("/s/bundles"),
        Path("/s/retrain"),
    )
    assert (asked.promotion, asked.rehearsal, asked.keep_runs, asked.state) == (
        "shadow",
        ("data",),
        3,
        Path("/s"),
    )
    assert asked.champion is None
    told = request_of(
        RetrainOptions(
            feedback="f",
            bundle="b",
            rehearsal=[],
            strategy="head",
            promotion="manual",
            runs=Path("/r"),
            seed=1,
        ),
        config,
    )
    assert (told.feedback, told.champion, told.rehearsal) == ("f", Path("b"), [])
    assert (told.strategy, told.promotion, told.runs, told.seed) == ("head", "manual", Path("/r"), 1)


def test_what_cannot_take_effect_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"model.bundle: /b is fixed"):
        request_of(GIVEN, Config(model=Model(bundle="/b")))
    with pytest.raises(ConfigError, match="--promotion at-once: choose one of immediate, shadow, manual"):
        request_of(
            RetrainOptions(
                feedback="",
                bundle="current",
                rehearsal=None,
                strategy="auto",
                promotion="at-once",
                runs=None,
                seed=1,
            ),
            Config(),
        )


def test_the_outcome_in_words_and_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = corrections.champion(tmp_path / "champion")
    store = corrections.request(tmp_path, made, 6).feedback
    (tmp_path / "filterd.yaml").write_text(json.dumps({"state": str(tmp_path)}))
    options = RetrainOptions(
        feedback=store,
        bundle=str(made),
        rehearsal=[],
        strategy="auto",
        promotion="manual",
        runs=None,
        seed=123,
    )
    assert retraining.run(options, tmp_path / "filterd.yaml", as_json=False) == 0
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert lines[0].startswith("FAIL minimum: 6 new corrections")
    assert lines[-2].startswith("not promoted: minimum: 6 new corrections") and lines[-1].startswith(
        "report: /"
    )
    assert Path(lines[-1].removeprefix("report: ")).is_file() and "reading corrections" in err
    assert retraining.run(options, tmp_path / "filterd.yaml", as_json=True) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["promoted"], said["bundle"], said["gate"]["minimum"]) == (False, None, False)
