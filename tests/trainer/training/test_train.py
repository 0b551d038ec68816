"""The loop: it learns, its seed repeats it, an interruption does not show, and only what may train does."""

import json
import os
import signal
from pathlib import Path

import pytest
import torch
from torch import Tensor

from filterd.errors import BadInput
from filterd.scoring.bundle import Architecture
from filterd_trainer.gpt2 import checkpoint, strategies
from filterd_trainer.gpt2.model import GPT2, SpamClassifier
from filterd_trainer.training import features
from filterd_trainer.training.batches import Rows
from filterd_trainer.training.recipe import Recipe
from filterd_trainer.training.train import (
    LOG,
    Fit,
    TrainingInterrupted,
    TrainingPart,
    TrainingPlan,
    fit,
    rate,
)

TINY = Architecture(vocabulary=50, context=16, width=16, layers=3, heads=2)
SPAM_TOKEN = 7  # the whole difference between the classes


def part(count: int, seed: int) -> TrainingPart:
    generator = torch.Generator().manual_seed(seed)
    rows, targets = [], []
    for i in range(count):
        length = int(torch.randint(1, 12, (), generator=generator))
        row = torch.randint(10, 50, (length,), generator=generator).tolist()
        targets.append(i % 2)
        rows.append([SPAM_TOKEN, *row] if i % 2 else row)
    return TrainingPart(Rows.of(rows), torch.tensor(targets), [str(t) for t in targets])


def recipe(**changes: object) -> Recipe:
    base = {"epochs": 3, "batch_size": 4, "learning_rate": 5e-3, "eval_freq": 5, "dropout": 0.1}
    return Recipe(**{**base, **changes})  # type: ignore[arg-type]


def plan(folder: Path, recipe: Recipe) -> TrainingPlan:
    folder.mkdir(exist_ok=True)
    torch.manual_seed(1)
    model = SpamClassifier(GPT2(TINY, recipe.dropout), 2)
    strategies.begin(model, recipe.strategy, recipe.size)
    train, validation = part(46, seed=2), part(20, seed=3)
    first = strategies.cached_from(model, recipe.strategy)
    if first is not None:
        train, validation = (
            TrainingPart(features.compute(model, p.rows, first, folder), p.targets, p.groups)
            for p in (train, validation)
        )
    return TrainingPlan(model, train, validation, recipe, first, folder)


def trained(folder: Path, recipe: Recipe, stop_after: int | None = None) -> dict[str, Tensor]:
    """Run to the end, or send ourselves a signal after some steps."""
    run = Fit(plan(folder, recipe))

    def tick(loss: float) -> None:
        if run.state.step == stop_after:
            os.kill(os.getpid(), signal.SIGTERM)

    fit(run, lambda row: None, tick)
    return run.plan.model.state_dict()


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


def log(folder: Path) -> list[dict[str, object]]:
    rows = [json.loads(line) for line in (folder / LOG).read_text().splitlines()]
    return [{k: v for k, v in row.items() if k != "seconds"} for row in rows]


def test_learns(tmp_path: Path) -> None:
    trained(tmp_path, recipe(epochs=12, eval_freq=0, dropout=0.0))
    assert log(tmp_path)[-1]["validation_accuracy"] in (0.9, 0.95, 1.0)


@pytest.mark.parametrize("way", ["filterd", "lecture"])
def test_same_seed_gives_identical_weights(tmp_path: Path, way: str) -> None:
    assert same(trained(tmp_path / "a", recipe(way=way)), trained(tmp_path / "b", recipe(way=way)))


@pytest.mark.parametrize("stop_after", [1, 7, 11, 12, 13, 32])
@pytest.mark.parametrize("way", ["filterd", "lecture"])
def test_interrupted_and_resumed_equals_uninterrupted(tmp_path: Path, stop_after: int, way: str) -> None:
    whole = trained(tmp_path / "whole", recipe(way=way, eval_iter=2))
    with pytest.raises(TrainingInterrupted, match="--resume"):
        trained(tmp_path / "cut", recipe(way=way, eval_iter=2), stop_after)
    assert same(whole, trained(tmp_path / "cut", recipe(way=way, eval_iter=2)))
    assert log(tmp_path / "whole") == log(tmp_path / "cut")


@pytest.mark.parametrize(
    "changes",
    [
        {"strategy": "adapters"},
        {"strategy": "prefix", "size": 3},
        {"strategy": "prompt", "size": 3},
        {"strategy": "lora"},
        {"strategy": "blocks:0,2", "layer_decay": 0.5},
        {"strategy": "all", "unfreeze": 1},
    ],
)
def test_every_strategy_is_resumed(tmp_path: Path, changes: dict[str, object]) -> None:
    whole = trained(tmp_path / "whole", recipe(**changes))
    with pytest.raises(TrainingInterrupted):
        trained(tmp_path / "cut", recipe(**changes), 16)
    assert same(whole, trained(tmp_path / "cut", recipe(**changes)))


def test_layers_have_rates_of_their_own(tmp_path: Path) -> None:
    run = Fit(plan(tmp_path, recipe(strategy="all", layer_decay=0.5, schedule="constant", warmup=0.0)))
    run.step(run.draw()[0])
    assert sorted({group["lr"] for group in run.optimizer.param_groups}) == [
        5e-3 * 0.5**n for n in (4, 3, 2, 1, 0)
    ]


def test_what_has_not_thawed_does_not_move(tmp_path: Path) -> None:
    run = Fit(plan(tmp_path, recipe(strategy="all", unfreeze=1, keep="last")))
    before = {name: p.detach().clone() for name, p in run.trained.items()}
    for batch in run.draw():
        run.step(batch)
    moved = {name for name, p in run.trained.items() if not torch.equal(p, before[name])}
    assert moved == {"gpt.ln_f.weight", "gpt.ln_f.bias", "head.weight", "head.bias"}


def test_killed_between_checkpoints_repeats_the_lost_steps(tmp_path: Path) -> None:
    whole = trained(tmp_path / "whole", recipe())
    run = Fit(plan(tmp_path / "cut", recipe()))

    class Killed(Exception):
        pass

    def tick(loss: float) -> None:
        if run.state.step == 14:
            raise Killed

    with pytest.raises(Killed):
        fit(run, lambda row: None, tick)
    assert same(whole, trained(tmp_path / "cut", recipe()))
    assert log(tmp_path / "whole") == log(tmp_path / "cut")


def test_a_row_logged_after_the_checkpoint_is_not_logged_twice(tmp_path: Path) -> None:
    with pytest.raises(TrainingInterrupted):
        trained(tmp_path, recipe(), stop_after=8)
    with (tmp_path / LOG).open("a") as stream:
        stream.write('{"step": 11}\n')
    trained(tmp_path, recipe())
    assert [row["step"] for row in log(tmp_path)] == [1, 6, 11, 12, 16, 21, 24, 26, 31, 36, 36]


def test_a_foreign_checkpoint_is_refused(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, {"model.x": torch.zeros(1)}, {"step": 1})
    with pytest.raises(BadInput, match="another model"):
        Fit(plan(tmp_path, recipe()))


@pytest.mark.parametrize("strategy", ["head", "last_block", "last_two_blocks", "blocks:1", "all"])
def test_cached_prefix_gives_the_gradients_of_the_full_pass(
    tmp_path: Path, strategy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "filterd_trainer.gpt2.device.precision", lambda *_: "fp32"
    )  # bf16 rounds the two ways apart
    cached = plan(tmp_path, recipe(strategy=strategy, dropout=0.0))
    run = Fit(cached)
    whole, ids = SpamClassifier(GPT2(TINY), 2), part(46, seed=2)
    whole.load_state_dict(cached.model.state_dict())
    batch = run.draw()[0]
    loss = torch.nn.functional.cross_entropy(whole(*ids.rows.batch(batch)), ids.targets[batch])
    loss.backward()  # type: ignore[no-untyped-call]
    run.plan = TrainingPlan(
        cached.model, cached.train, cached.validation, recipe(clip_norm=0.0), cached.first, tmp_path
    )
    run.step(batch)
    gradients = dict(whole.named_parameters())
    for name, parameter in run.trained.items():
        assert parameter.grad is not None
        torch.testing.assert_close(parameter.grad, gradients[name].grad, atol=1e-6, rtol=1e-4)


def test_only_the_strategys_parameters_move(tmp_path: Path) -> None:
    before = {
        k: v.clone() for k, v in plan(tmp_path, recipe(strategy="last_block")).model.state_dict().items()
    }
    after = trained(tmp_path, recipe(strategy="last_block"))
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved and all(name.startswith(("head.", "gpt.ln_f.", "gpt.h.2.")) for name in moved)


def test_patience_ends_the_run_and_the_best_state_stays(tmp_path: Path) -> None:
    trained(tmp_path, recipe(epochs=60, eval_freq=0, learning_rate=0.05, schedule="constant", patience=2))
    rows = log(tmp_path)
    assert len(rows) < 60
    best = min(range(len(rows)), key=lambda i: float(str(rows[i]["validation_loss"])))
    assert best == len(rows) - 3 and rows[best]["best"]


def test_half_way_between_the_base_and_the_last_step(tmp_path: Path) -> None:
    base = {k: v.clone() for k, v in plan(tmp_path / "base", recipe()).model.state_dict().items()}
    last = trained(tmp_path / "last", recipe(keep="last"))
    with pytest.raises(TrainingInterrupted):
        trained(tmp_path / "halfway", recipe(keep="halfway"), stop_after=7)
    halfway = trained(tmp_path / "halfway", recipe(keep="halfway"))
    for name, kept in halfway.items():
        torch.testing.assert_close(kept, (base[name] + last[name]) / 2)


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        pytest.param(0, 0.1, id="first step of ten warm-up steps"),
        pytest.param(9, 1.0, id="top"),
        pytest.param(55, 0.5, id="half way down"),
        pytest.param(99, 0.0, id="end"),
    ],
)
def test_rate(step: int, expected: float) -> None:
    assert rate(Recipe(learning_rate=1.0, warmup=0.1), step, 100) == pytest.approx(expected, abs=1e-3)


def test_rate_of_the_lecture_is_constant() -> None:
    lecture = Recipe(learning_rate=5e-5, warmup=0.0, schedule="constant")
    assert {rate(lecture, step, 650) for step in range(650)} == {5e-5}
