"""Strategies of fine-tuning side by side, on the same data: accuracy over seeds, parameters, time, memory.

Strategy: a process of its own for every run, so that its peak of memory is its own, and a file for every run
that has ended, so that the same command goes on where it was stopped. Each strategy trains at the rate, of a
few, whose validation loss is the lowest with the first seed: what moves little needs more. The test part is
judged with the weights at the end and chooses nothing.
"""

import hashlib
import multiprocessing
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, NamedTuple

import msgspec

from filterd.errors import FilterdError
from filterd_trainer.evaluation import judge, measure, unfinished
from filterd_trainer.evaluation.results import Table
from filterd_trainer.training import recipe as recipes
from filterd_trainer.training.recipe import Recipe

METHODS: Mapping[str, Mapping[str, Any]] = {
    "head": {"strategy": "head"},
    "last_block": {"strategy": "last_block"},
    "last_two_blocks": {"strategy": "last_two_blocks"},
    "all": {"strategy": "all"},
    "all, layer-decay 0.8": {"strategy": "all", "layer_decay": 0.8},
    "all, unfreeze 2": {"strategy": "all", "unfreeze": 2},
    "lora": {"strategy": "lora"},
    "adapters": {"strategy": "adapters"},
    "prefix": {"strategy": "prefix"},
    "prompt": {"strategy": "prompt"},
}
RECIPE = "strategies"
RATES = (3e-4, 1e-3, 3e-3)
FIRST_SEED = 123
SPLIT = "test"


class StrategyRun(msgspec.Struct, frozen=True, kw_only=True):
    """One run. trained: parameters; seconds: of CPU time, with the data read, to the weights; memory_bytes:
    the most that its process held, torch included.
    """

    method: str
    seed: int
    rate: float
    validation_loss: float
    accuracy: float
    trained: int
    seconds: float
    memory_bytes: int


class StrategyTask(NamedTuple):
    """What one process does: a run of a method, by a recipe with its rate. out: folder of all results."""

    data: Path
    out: Path
    method: str
    recipe: Recipe
    seed: int

    @property
    def name(self) -> str:
        """Of its files."""
        plain = "".join(c if c.isalnum() else "-" for c in self.method)
        which = hashlib.sha256(msgspec.json.encode([self.method, self.recipe])).hexdigest()[:8]
        return f"{plain}-{self.recipe.learning_rate:g}-{self.seed}-{which}"


class StrategyRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What to compare. methods: of METHODS, or any strategy by its name; by default all of METHODS."""

    data: Path
    out: Path
    base: str
    seeds: int = 5
    methods: Sequence[str] = ()
    rates: Sequence[float] = RATES
    epochs: int | None = None
    recipe: str = RECIPE

    def plan(self, **changes: Any) -> Recipe:
        """The recipe of its runs. Raises the errors of `recipe.load`."""
        return recipes.load(self.recipe, base=self.base, epochs=self.epochs, **changes)


def run(
    request: StrategyRequest, report: Callable[[str], None], advance: Callable[[int], None] = lambda _: None
) -> list[StrategyRun]:
    """All runs that the table is made of, those that are there already read.

    Raises the errors of training, ConfigError where the folder holds runs of another request.
    """
    from filterd_trainer.data.corpus import Dataset

    data = Dataset.load(request.data)
    data.task.only_exclusive("trainer strategies")
    tasks = [_tasks(request, method) for method in _methods(request)]
    said = msgspec.json.encode([data.fingerprint, request.plan()]).decode()
    unfinished.claim(request.out, name="request.json", said=said, what="data, base or recipe")
    found = []
    for first in tasks:
        tried = []
        for task in first:
            tried.append(_done(task) or _train(task, report))
            advance(1)
        best = min(tried, key=lambda one: one.validation_loss)
        report(f"{best.method}: rate {best.rate:g}, accuracy {best.accuracy:.2%} with the first seed")
        chosen = next(task for task in first if task.recipe.learning_rate == best.rate)
        found.append(best)
        for seed in range(FIRST_SEED + 1, FIRST_SEED + request.seeds):
            task = chosen._replace(seed=seed)
            found.append(_done(task) or _train(task, report))
            advance(1)
    return found


def count(request: StrategyRequest) -> int:
    """How many runs that are."""
    return len(_methods(request)) * (len(request.rates) + request.seeds - 1)


def _methods(request: StrategyRequest) -> Sequence[str]:
    """Each once."""
    return list(dict.fromkeys(request.methods or METHODS))


def table(runs: Sequence[StrategyRun]) -> Table:
    """A row a strategy: mean and standard deviation over its seeds, and the means of what it took."""
    rows = []
    for method in dict.fromkeys(one.method for one in runs):
        own = [one for one in runs if one.method == method]
        accuracies = [one.accuracy for one in own]
        spread = f" ± {stdev(accuracies):.2%}".rstrip("%") if len(own) > 1 else ""
        rows.append(
            [
                method,
                f"{fmean(accuracies):.2%}".rstrip("%") + spread,
                str(len(own)),
                f"{own[0].trained:,}",
                f"{own[0].rate:g}",
                f"{fmean(one.seconds for one in own):.1f}",
                f"{max(one.memory_bytes for one in own) / measure.MEGA:,.0f}",
            ]
        )
    return ["strategy", "accuracy, %", "seeds", "trained", "rate", "CPU seconds", "memory, MB"], rows


def _tasks(request: StrategyRequest, method: str) -> list[StrategyTask]:
    changes = METHODS.get(method, {"strategy": method})
    return [
        StrategyTask(
            request.data,
            request.out,
            method,
            request.plan(learning_rate=rate, **changes),
            FIRST_SEED,
        )
        for rate in request.rates
    ]


def _result(task: StrategyTask) -> Path:
    return task.out / f"{task.name}.json"


def _done(task: StrategyTask) -> StrategyRun | None:
    return unfinished.read(_result(task), StrategyRun)


def _train(task: StrategyTask, report: Callable[[str], None]) -> StrategyRun:
    """Do it in a process of its own. Raises FilterdError where that ends without a result."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["filterd_trainer.training.runs", "filterd_trainer.evaluation.judge"])
    child = context.Process(target=_alone, args=(task,), name=task.name)
    child.start()
    child.join()
    found = _done(task)
    if found is None:
        raise FilterdError(
            f"{task.name}: the run ended with status {child.exitcode}; the same command goes on"
        )
    report(f"  rate {found.rate:g}, seed {found.seed}: validation loss {found.validation_loss:.4f}")
    return found


def _alone(task: StrategyTask) -> None:
    """Train, judge the test part, write the result, and remove the run."""
    import sys

    from filterd_trainer.gpt2.checkpoint import write_text

    try:
        result = of_run(task)
    except FilterdError as error:
        print(f"trainer: {error}", file=sys.stderr)
        sys.exit(error.exit_status)
    write_text(_result(task), msgspec.json.encode(result).decode())
    shutil.rmtree(task.out / task.name)


def of_run(task: StrategyTask) -> StrategyRun:
    """Train in this process, from the start, and judge. Raises the errors of training."""
    import io
    import json

    from rich.console import Console

    from filterd_trainer.data.corpus import Dataset
    from filterd_trainer.training import runs

    folder = task.out / task.name
    if folder.exists():  # a run that was interrupted; its time and memory would be those of a part
        shutil.rmtree(folder)
    data, started = Dataset.load(task.data), time.process_time()
    quiet = Console(file=io.StringIO())
    config = runs.train(data, task.data, folder, task.recipe, seed=task.seed, console=quiet)
    seconds, memory = time.process_time() - started, measure.peak_memory()
    rows = [json.loads(line) for line in (folder / judge.LOG).read_text("utf-8").splitlines()]
    subject = judge.EvaluationSplit.load(task.data, SPLIT)
    scored = judge.judge(folder, task.method, subject)
    return StrategyRun(
        method=task.method,
        seed=task.seed,
        rate=task.recipe.learning_rate,
        validation_loss=rows[-1]["validation_loss"],
        accuracy=float((scored.called == scored.truth).mean()),
        trained=_trained(config),
        seconds=seconds,
        memory_bytes=memory,
    )


def _trained(config: Any) -> int:
    """Parameters that the recipe's strategy trains in a model of that architecture."""
    import torch

    from filterd_trainer.gpt2 import strategies
    from filterd_trainer.gpt2.model import GPT2, SpamClassifier

    with torch.device("meta"):
        model = SpamClassifier(GPT2(config.architecture), len(config.labels))
        some = strategies.begin(model, config.recipe.strategy, config.recipe.size)
    return sum(p.numel() for p in some)
