"""A run folder, from what the command line says: data, weights and recipe in, a trained classifier out.

config.json is written before the first step and holds all that a repetition needs; `resume` reads nothing
else but the data and the base it names, and refuses where either has changed since.
"""

import hashlib
import json
import platform
from collections.abc import Callable, Iterable
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from random import Random
from typing import Any, NamedTuple, Protocol

import msgspec
import torch
from rich.console import Console
from torch import Tensor

from filterd.api import Kind
from filterd.errors import BadInput, ConfigError, NotFound, Unwritable
from filterd.reading import text
from filterd.scoring import bundle
from filterd.scoring.answers import Target
from filterd.scoring.tokenizer import END_OF_TEXT_ID, Tokenizer
from filterd_trainer.disguises.augment import augment
from filterd_trainer.gpt2 import checkpoint, device, strategies, weights
from filterd_trainer.gpt2.model import (
    GPT2,
    PRESETS,
    SpamClassifier,
    from_safetensors,
    read_header,
    to_safetensors,
)
from filterd_trainer.tasks import tasks
from filterd_trainer.tasks.choice import Choice
from filterd_trainer.tasks.task import Task, Tell
from filterd_trainer.training import features, processes
from filterd_trainer.training.batches import Rows
from filterd_trainer.training.progress import Display
from filterd_trainer.training.recipe import Recipe
from filterd_trainer.training.train import CONFIG, MODEL, Fit, Objective, TrainingPart, TrainingPlan, fit

AUGMENT_SEED = 123  # of its own: what is changed in a text should not depend on the model's seed
FRESH = "filterd-mini"  # the one base whose name needs no weights: it is drawn by the seed
VERSIONED = ("filterd", "torch", "tiktoken", "numpy", "pandas")


class LabelledSplits(Protocol):
    """What training needs of a data set (`filterd_trainer.data.corpus.Dataset`).

    A split is a table whose columns Label, Text and Kind are as long as each other.
    """

    @property
    def task(self) -> Task:
        """What its labels are."""

    def split(self, name: str) -> Any:
        """`train`, `validation` or `test`."""


class RunConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`config.json`: what a run was made from.

    data_sha256: of the texts and labels of training and validation, in order; base_sha256: of the weights
    that training began with. max_tokens: where messages are cut. ham: the labels that count as ham.
    task: its name; "" is `spam`, or `classes` without ham. target: of a number.
    averaged: the seeds of the runs whose mean it is (trainer/training/average.py); none for a run of its own.
    """

    recipe: Recipe
    seed: int
    data: str
    data_sha256: str
    base_sha256: str
    labels: tuple[str, ...]
    ham: tuple[str, ...]
    architecture: bundle.Architecture
    max_tokens: int
    text_format: int
    device: str
    precision: str
    threads: int
    versions: dict[str, str]
    averaged: tuple[int, ...] = ()
    task: str = ""
    target: Target | None = None

    @property
    def learns(self) -> Task:
        """The task, with its labels."""
        return tasks.of(self.task, self.labels, self.ham, self.target)


def read_config(folder: Path) -> RunConfig:
    """A run's config.json. Raises NotFound and BadInput."""
    file = folder / CONFIG
    try:
        return msgspec.json.decode(file.read_bytes(), type=RunConfig)
    except OSError as error:
        raise NotFound(f"{file}: {error.strerror}; name the folder of a run") from error
    except msgspec.MsgspecError as error:
        raise BadInput(f"{file}: not a run's configuration of this version ({error})") from error


def weights_of(folder: Path) -> Path:
    """A finished run's weights. Raises NotFound for one that has not ended."""
    file = folder / MODEL
    if (folder / CONFIG).is_file() and not file.is_file():
        raise NotFound(f"{folder}: this run has not ended; resume it: trainer train --out {folder} --resume")
    return file


def train(
    data: LabelledSplits,
    source: Path,
    folder: Path,
    recipe: Recipe,
    *,
    seed: int = 123,
    on: str = "auto",
    resume: bool = False,
    objective: Callable[[TrainingPlan], Objective] | None = None,
    console: Console | None = None,
    tell: Tell = lambda _: None,
) -> RunConfig:
    """Train and leave a run folder. source: where the data are from, for the record.

    resume: go on from the folder's checkpoint, which has to be of the same data, base and recipe.
    objective: makes the loss from the plan before its first step; cross entropy without it.
    tell: takes the line for a person once the model is written, in the process that wrote it.
    Raises the errors of what it reads and writes, and Interrupted.
    """
    task = data.task
    _possible(recipe, task)
    target = device.choose(on)
    together = processes.join(target)
    claim(folder, resume)
    together.wait()  # or a slower one would find a run where the first has begun this one
    model = begin(recipe.base, task, seed)
    tokenizer = Tokenizer.load(bundle.DEFAULT / bundle.TOKENIZER)
    parts, length = encode(data, recipe, tokenizer, model.gpt.architecture.context)
    config = RunConfig(
        recipe=recipe,
        seed=seed,
        data=str(source.resolve()),
        data_sha256=_fingerprint(data),
        base_sha256=_sha256(model.state_dict()),
        labels=task.labels,
        ham=task.ham,
        task=task.name,
        target=task.target,
        architecture=model.gpt.architecture,
        max_tokens=length,
        text_format=text.TEXT_FORMAT,
        device=target.type,
        precision=device.precision(target, recipe.precision),
        threads=torch.get_num_threads(),
        versions={"python": platform.python_version()} | {name: _version(name) for name in VERSIONED},
    )
    if resume:
        _unchanged(folder, config)
    plan = replace(_plan(model.to(target), parts, recipe, folder, task), processes=together)
    if objective:
        plan = replace(plan, objective=objective(plan))
    if together.first and not resume:  # what the plan refused has left no run behind
        write_config(folder, config)
    run = _fit(plan, seed, config, console if together.first else Console(quiet=True))
    strategies.settle(run.plan.model)
    if together.first:
        to_safetensors(run.plan.model.cpu().eval(), folder / MODEL, task.labels, head=task.head)
        tell(f"{folder}: trained")
    together.wait()  # until the model is there
    return config


def _possible(recipe: Recipe, task: Task) -> None:
    """Raises ConfigError for what a recipe asks and the task cannot."""
    if recipe.keep == "halfway" and not _trained(recipe.base, task):
        raise ConfigError(
            f"{recipe.base}: no classifier of {', '.join(task.labels)}, so there is nothing to keep half of;"
            " name a run or bundle that is one as --base, or write keep: last"
        )
    if recipe.exit_after and task.name != "spam":
        raise ConfigError(f"exit_after is for --task spam, this data is of {task.name}; leave it out")


def _fit(plan: TrainingPlan, seed: int, config: RunConfig, console: Console | None) -> Fit:
    torch.manual_seed(seed)
    run = Fit(plan)
    with Display(run, plan.recipe.way == "lecture", console) as display:
        display.say(f"{_described(run, plan)} on {config.device} in {config.precision}")
        if _drawn(config.recipe.base) and config.recipe.strategy != "all":
            display.say(
                f"warning: {config.recipe.base} begins with random weights, and --strategy"
                f" {config.recipe.strategy} freezes most of them; name weights as --base, or --strategy all"
            )
        if config.recipe.way == "lecture":
            display.say(
                "note: this recipe reads the padded position, as the lecture does; a bundle of it pads every"
                " message as far. For a model to use, --recipe gpt2"
            )
        if run.state.rows == 0:
            display.before(run.baseline())
            torch.manual_seed(seed)
        fit(run, display.evaluation, display.step)
        display.after(run.final())
    return run


def _described(run: Fit, plan: TrainingPlan) -> str:
    trained, total = (
        sum(p.numel() for p in some) / 1e6 for some in (run.trained.values(), plan.model.parameters())
    )
    return (
        f"{len(plan.train):,} messages, {len(plan.validation):,} for validation; "
        f"{trained:.1f} of {total:.1f} million parameters train, {run.steps:,} steps"
    )


def write_config(folder: Path, config: RunConfig) -> None:
    """Write a run's config.json. Raises Unwritable."""
    checkpoint.write_text(
        folder / CONFIG, msgspec.json.format(msgspec.json.encode(config), indent=1).decode() + "\n"
    )


def claim(folder: Path, resume: bool = False) -> None:
    """Make a run's folder, or find the one to be resumed. Raises ConfigError, NotFound, Unwritable."""
    if resume and not (folder / CONFIG).exists():
        raise NotFound(f"{folder}: no run to resume; start it without --resume")
    if not resume and (folder / CONFIG).exists():
        raise ConfigError(f"{folder}: holds a run already; add --resume, or choose another --out")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Unwritable(f"{folder}: {error.strerror}; choose another --out") from error


def _unchanged(folder: Path, config: RunConfig) -> None:
    """Raises ConfigError where a run to be resumed began with something else."""
    before = read_config(folder)
    kept = ("recipe", "seed", "data_sha256", "base_sha256", "labels", "target", "max_tokens", "text_format")
    for name in kept:
        if getattr(before, name) != getattr(config, name):
            raise ConfigError(f"{folder}: {name} is no longer what the run began with; start a new one")


# ---- Messages to rows ------------------------------------------------------------------------------------


def encode(
    data: LabelledSplits, recipe: Recipe, tokenizer: Tokenizer, context: int
) -> tuple[dict[str, TrainingPart], int]:
    """The splits as token ids, and the length in tokens at which messages are cut.

    The lecture's way pads every message up to that length here, so that its last position is the one the
    lecture's classifier reads. Raises BadInput for an empty split or an unknown label.
    """
    names = ["train", "validation"] + (["test"] if recipe.way == "lecture" else [])
    samples = {name: _samples(data, name, recipe) for name in names}
    if recipe.augment:
        samples["train"] += _augmented(samples["train"], data.task, recipe.augment)
    ids = {name: [tokenizer.encode(one.text) for one in some] for name, some in samples.items()}
    longest = max((len(row) for row in ids["train"]), default=0)
    length = min(recipe.max_tokens or longest, context)
    return {name: _part(samples[name], ids[name], recipe, length, data.task) for name in names}, length


class SplitMessage(NamedTuple):
    """A message of a split. cell: its label, as the dataset holds it; source: which input it came from, ""
    where the data do not say.
    """

    text: str
    cell: Any
    kind: str
    source: str


def _samples(data: LabelledSplits, name: str, recipe: Recipe) -> list[SplitMessage]:
    frame = data.split(name)
    if not len(frame):
        raise BadInput(f"split {name}: holds no message; prepare the data again")
    sources = frame["Source"] if "Source" in frame else [""] * len(frame)
    columns = (_texts(frame, recipe), cells(frame["Label"], data.task), frame["Kind"], sources)
    return [
        SplitMessage(text=t, cell=cell, kind=str(kind), source=str(source))
        for t, cell, kind, source in zip(*columns, strict=True)
    ]


def _augmented(samples: list[SplitMessage], task: Task, copies: int) -> list[SplitMessage]:
    """Changed copies of all, the same ones for the same data."""
    draw = Random(AUGMENT_SEED)  # noqa: S311 — no secret
    innocent = [one for one in samples if task.ham and task.names(one.cell)[0] in task.ham]
    ham = {kind: [one.text for one in innocent if one.kind == kind] for kind in Kind}
    return [
        one._replace(text=augment(one.text, Kind(one.kind), draw, ham[Kind(one.kind)]))
        for _ in range(copies)
        for one in samples
    ]


def _part(
    samples: list[SplitMessage], ids: list[list[int]], recipe: Recipe, length: int, task: Task
) -> TrainingPart:
    rows: list[list[int]] = []
    labels: list[Any] = []
    groups: list[str] = []
    owners: list[int] = []
    for i, (one, row) in enumerate(zip(samples, ids, strict=True)):
        for cut in _cut(row, recipe, length):
            rows.append(cut)
            labels.append(one.cell)
            groups.append(_group(recipe, one, task))
            owners.append(i)
    return TrainingPart(Rows.of(rows), task.targets(labels), groups, owners)


def _cut(ids: list[int], recipe: Recipe, length: int) -> list[list[int]]:
    if recipe.way == "lecture":
        return [ids[:length] + [END_OF_TEXT_ID] * (length - len(ids))]
    return text.windows(ids or [END_OF_TEXT_ID], length, recipe.windows)


def _group(recipe: Recipe, one: SplitMessage, task: Task) -> str:
    label = task.group(one.cell)
    by_kind = f"{one.kind} {label}"
    names = {"none": "", "label": label, "kind": by_kind}
    return names.get(recipe.balance, f"{by_kind} {one.source}")


def _texts(frame: Any, recipe: Recipe) -> Iterable[str]:
    """A mail's text is canonical since it came into the corpus; an SMS is kept as it was sent."""
    if recipe.way == "lecture":
        return [str(t) for t in frame["Text"]]
    return [
        text.of_sms(str(t)).canonical if kind == Kind.SMS else str(t)
        for t, kind in zip(frame["Text"], frame["Kind"], strict=True)
    ]


def cells(column: Iterable[Any], task: Task) -> list[Any]:
    """A column of labels as a dataset holds them, or of names that exclude one another. Raises BadInput."""
    places = {name: i for i, name in enumerate(task.labels)} if task.exclusive else {}
    try:
        return [task.cell(places.get(value, value)) for value in column]
    except (ValueError, TypeError) as error:
        raise BadInput(f"label {error} is none of {', '.join(task.labels)}; prepare the data") from error


# ---- Weights ---------------------------------------------------------------------------------------------


def begin(base: str, task: Task, seed: int) -> SpamClassifier:
    """The classifier that training begins with: the base's blocks, and its head where its labels are ours.

    A new head is drawn right after the seed, as in the lecture. Raises NotFound and BadInput.
    """
    torch.manual_seed(seed)
    if _trained(base, task):
        return from_safetensors(weights.find(base) / MODEL)[0]
    gpt = GPT2(PRESETS[base]) if _drawn(base) else weights.load(weights.find(base))
    torch.manual_seed(seed)
    return SpamClassifier(gpt, task.outputs)


def _drawn(base: str) -> bool:
    return base == FRESH and not Path(base).is_dir()


def _trained(base: str, task: Task) -> bool:
    """Whether the base is a classifier of these labels already."""
    file = None if _drawn(base) else weights.find(base) / MODEL
    if not file or not file.is_file():
        return False
    header = read_header(file)
    labels = json.loads(header.get("labels", "[]")) == list(task.labels)
    return labels and header.get("head", Choice.head) == task.head


def _plan(
    model: SpamClassifier, parts: dict[str, TrainingPart], recipe: Recipe, folder: Path, task: Task
) -> TrainingPlan:
    strategies.begin(model, recipe.strategy, recipe.size)
    if recipe.exit_after and (model.exit is None or model.exit.after != recipe.exit_after):
        model.add_exit(recipe.exit_after)
    if recipe.strategy == "all" and recipe.way == "filterd":
        model.gpt.stream = device.stream(next(model.parameters()).device, recipe.precision)
        model.gpt.wte.sparse = True  # the optimiser moves the rows of a batch's tokens only
    for module in model.modules():
        if hasattr(module, "dropout"):
            setattr(module, "dropout", recipe.dropout)  # noqa: B010 — which type of module has one is its own affair
    first = strategies.cached_from(model, recipe.strategy)
    if first is not None:
        parts = {
            name: replace(part, rows=features.compute(model, part.rows, first, folder, recipe.precision))
            for name, part in parts.items()
        }
    train, validation = parts["train"], parts["validation"]
    return TrainingPlan(model, train, validation, recipe, first, folder, parts.get("test"), task=task)


# ---- For the record --------------------------------------------------------------------------------------


def _fingerprint(data: LabelledSplits) -> str:
    digest = hashlib.sha256()
    for name in ("train", "validation"):
        frame = data.split(name)
        for label, message in zip(cells(frame["Label"], data.task), frame["Text"], strict=True):
            digest.update(f"{name}\0{label}\0{message}\0".encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def _sha256(tensors: dict[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"
