"""Fine-tune a GPT-2 classifier: the loop, from labelled messages to a run folder.

Strategy: everything random comes from torch's generator after one `manual_seed`; an epoch's order is drawn at
its beginning; what a checkpoint holds is exactly what the next step depends on. So a run is repeated by its
seed, and one that was interrupted, however rudely, ends where the uninterrupted one does.

A run folder holds config.json (all that is needed to repeat it), log.jsonl (one row an evaluation),
checkpoint.safetensors (where it stands) and, in the end, model.safetensors (what it was for).
"""

import json
import math
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from filterd.errors import BadInput, FilterdError
from filterd_trainer.gpt2 import checkpoint
from filterd_trainer.gpt2.adamw import AdamW, clip
from filterd_trainer.gpt2.device import autocast
from filterd_trainer.gpt2.model import SpamClassifier
from filterd_trainer.tasks.choice import HAM_AND_SPAM
from filterd_trainer.tasks.task import Task
from filterd_trainer.training import batches, layers
from filterd_trainer.training.batches import Batch, Order, Rows
from filterd_trainer.training.processes import ALONE, Processes
from filterd_trainer.training.recipe import Recipe

CONFIG = "config.json"
LOG = "log.jsonl"
MODEL = "model.safetensors"

# Batches of training that the figures before training are taken from, where the recipe names no number.
BASELINE_BATCHES = 5

EXIT_WEIGHT = 0.3  # of the exit's loss beside the whole model's, which is the one that is logged

Tensors = dict[str, Tensor]
Figures = tuple[float, float]  # loss in nats, accuracy


class TrainingInterrupted(FilterdError):
    """The run was stopped by a signal after it had written its checkpoint."""

    exit_status = 130  # as a shell reports Ctrl-C


@dataclass(frozen=True)
class TrainingPart:
    """A split as the loop wants it. rows: token ids, or cached features; targets: [n, …], of its task.

    owners: of each row, the position of its message in the split; a longer message has several rows.
    """

    rows: Rows
    targets: Tensor
    groups: list[str]
    owners: Sequence[int] = ()

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(kw_only=True)
class TrainProgress:
    """Where a run stands. step: optimiser steps done; position: those of this epoch; seen: messages so far.

    worse: evaluations since the best one; rows: of log.jsonl.
    running: loss, hits and messages since the last evaluation.
    """

    step: int = 0
    epoch: int = 0
    position: int = 0
    seen: int = 0
    seconds: float = 0.0
    best_loss: float = math.inf
    best_step: int = 0
    worse: int = 0
    running_loss: float = 0.0
    running_hits: int = 0
    running_seen: int = 0
    rows: int = 0

    def count(self, loss: float, hits: int, messages: int) -> None:
        """Take note of a step: its batch's mean loss, right answers and size."""
        self.step += 1
        self.position += 1
        self.seen += messages
        self.running_loss += loss * messages
        self.running_hits += hits
        self.running_seen += messages

    def running(self) -> Figures:
        """Mean loss and accuracy of the training messages since the last evaluation."""
        seen = max(self.running_seen, 1)
        return self.running_loss / seen, self.running_hits / seen


@dataclass(frozen=True, kw_only=True)
class LogRow:
    """One row of log.jsonl. Losses and accuracies are the task's own; seconds count training alone."""

    step: int
    epoch: int
    seen: int
    train_loss: float
    train_accuracy: float
    validation_loss: float
    validation_accuracy: float
    learning_rate: float
    seconds: float
    epoch_end: bool
    best: bool


@dataclass(frozen=True)
class PartMetrics:
    """Figures of a part before training, or after it."""

    part: str
    loss: float
    accuracy: float


class Objective(Protocol):
    """What a step makes smaller."""

    def __call__(self, out: Tensor, targets: Tensor, rows: Batch, /) -> Tensor:
        """Mean loss of a batch, []: outputs [B, classes], classes [B], positions in the training part [B]."""


@dataclass(frozen=True)
class TrainingPlan:
    """What a run consists of: the model, the data, the recipe, and where its state is kept.

    first: the block whose input the parts' rows are; None where they are token ids.
    test: looked at once, before training, and only where the lecture does.
    task: what is learned; objective: what is made smaller in place of its loss, which evaluations measure.
    processes: those that share each batch.
    """

    model: SpamClassifier
    train: TrainingPart
    validation: TrainingPart
    recipe: Recipe
    first: int | None
    folder: Path
    test: TrainingPart | None = None
    objective: Objective | None = None
    processes: Processes = ALONE
    task: Task = HAM_AND_SPAM

    def orders(self) -> tuple[Order, Order]:
        """Draws of the training and of the validation batches."""
        size, lengths = self.recipe.batch_size, self.train.rows.lengths()
        if self.recipe.way == "lecture":
            return batches.shuffled(len(self.train), size), batches.in_sequence(len(self.validation), size)
        uneven = len(set(Counter(self.train.groups).values())) > 1
        groups = self.train.groups if uneven else None
        root = self.recipe.balance == "root"
        order = batches.by_length(lengths, size, groups, self.recipe.messages, root=root)
        # Evaluation keeps no activations for a backward pass, so its batches can be larger.
        found = batches.sorted_batches(self.validation.rows.lengths(), max(size, 64))
        # The same ones each time, mixed, so that the first eval_iter of them are not the shortest messages.
        mixed = torch.randperm(len(found), generator=torch.Generator().manual_seed(0)).tolist()
        fixed = [found[i] for i in mixed]
        return order, lambda: fixed


def logits(plan: TrainingPlan, part: TrainingPart, batch: Batch) -> Tensor:
    """The model's outputs [B, classes], float32, from token ids or from cached features."""
    rows, lengths = part.rows.batch(batch)
    device = next(plan.model.parameters()).device
    rows, lengths = rows.to(device), lengths.to(device)
    with autocast(device, plan.recipe.precision):
        if plan.first is None:
            out: Tensor = plan.model(rows, lengths)
        else:
            out = plan.model.suffix(rows, lengths, plan.first)
    return out.float()


def outputs(plan: TrainingPlan, part: TrainingPart, batch: Batch) -> list[Tensor]:
    """The same of a model under training, and before it the exit's, where it has one."""
    if plan.model.exit is None or plan.first is not None:
        return [logits(plan, part, batch)]
    rows, lengths = part.rows.batch(batch)
    device = next(plan.model.parameters()).device
    with autocast(device, plan.recipe.precision):
        both = plan.model.both(rows.to(device), lengths.to(device))
    return [out.float() for out in both]


def measure(plan: TrainingPlan, part: TrainingPart, chosen: list[Batch]) -> Figures:
    """Mean loss and accuracy of some batches, as the task has them, each judged by one process."""
    plan.model.eval()
    loss, hits, seen = 0.0, 0, 0
    with torch.inference_mode():
        for batch in chosen[plan.processes.rank :: plan.processes.count]:
            out = logits(plan, part, batch)
            targets = part.targets[batch].to(out.device)
            found = plan.task.judged(out, targets)
            loss += float(found.loss) * found.items
            hits += found.hits
            seen += found.items
    plan.model.train()
    all_loss, all_hits, all_seen = plan.processes.sums(loss, hits, seen)
    return all_loss / max(all_seen, 1), all_hits / max(all_seen, 1)


class Fit:
    """A plan under way: parameters, optimiser, counters, random state: what a checkpoint holds."""

    def __init__(self, plan: TrainingPlan) -> None:
        self.plan = plan
        self.trained: Tensors = {name: p for name, p in plan.model.named_parameters() if p.requires_grad}
        self.best = {name: p.detach().clone() for name, p in self.trained.items()}
        halfway = plan.recipe.keep == "halfway"
        self.base = {name: p.clone() for name, p in self.best.items()} if halfway else {}
        self.layers = len(plan.model.gpt.h)
        self.optimizer = _adamw(self.trained, plan.recipe, self.layers)
        self.train_order, self.validation_order = plan.orders()
        with torch.random.fork_rng():
            self.steps = plan.recipe.epochs * len(self.train_order())
        self.state = TrainProgress()
        self.epoch_rng = torch.get_rng_state()
        if (plan.folder / checkpoint.FILE).exists():
            self._resume()
        if plan.processes.first:
            cut_log(plan.folder / LOG, self.state.rows)

    @property
    def finished(self) -> bool:
        """Whether the epochs or the patience are used up."""
        recipe = self.plan.recipe
        return self.state.epoch >= recipe.epochs or 0 < recipe.patience <= self.state.worse

    def draw(self) -> list[Batch]:
        """This epoch's batches; after an interruption in its middle, those that were drawn then."""
        self.plan.processes.same_chance()
        layers.thaw(
            self.trained,
            layers=self.layers,
            a_epoch=self.plan.recipe.unfreeze,
            epoch=self.state.epoch,
        )
        if self.state.position == 0:
            self.epoch_rng = torch.get_rng_state()
            return self.train_order()
        now = torch.get_rng_state()
        torch.set_rng_state(self.epoch_rng)
        drawn = self.train_order()
        torch.set_rng_state(now)
        return drawn

    def step(self, batch: Batch) -> float:
        """One step of the optimiser; returns the batch's loss."""
        started = time.perf_counter()
        for group in self.optimizer.param_groups:
            group["lr"] = group["factor"] * rate(self.plan.recipe, self.state.step, self.steps)
        self.optimizer.zero_grad(set_to_none=True)
        mine, share = self.plan.processes.share(batch)
        loss, hits = 0.0, 0.0
        for piece in self._pieces(mine):
            of_batch = share * len(piece) / len(mine)
            *early, out = outputs(self.plan, self.plan.train, piece)  # (B, classes)
            targets = self.plan.train.targets[piece].to(out.device)
            found = self.plan.task.judged(out, targets)
            lost = self.plan.objective(out, targets, piece) if self.plan.objective else found.loss
            whole = lost + sum(EXIT_WEIGHT * cross_entropy(one, targets) for one in early)
            (of_batch * whole).backward()  # type: ignore[no-untyped-call]
            loss += of_batch * lost.item()
            hits += of_batch * found.hits / max(found.items, 1)
        loss, hits = self.plan.processes.sums(loss, hits)
        self.plan.processes.sum_gradients(self.trained.values())
        if self.plan.recipe.clip_norm:
            clip(self.trained.values(), self.plan.recipe.clip_norm)
        self.optimizer.step()
        self.state.count(loss, round(hits * len(batch)), len(batch))
        self.state.seconds += time.perf_counter() - started
        return loss

    def _pieces(self, batch: Batch) -> list[Batch]:
        """Of a batch, so many messages that their activations fit into memory at once."""
        most = self.plan.recipe.at_once or len(batch)
        return [batch[i : i + most] for i in range(0, len(batch), most)]

    def baseline(self) -> list[PartMetrics]:
        """Measure and log where training begins: accuracy on 10 batches and loss on 5, as the lecture does.

        Another way looks at eval_iter batches; without it at all of validation, and as much of training as
        accuracy takes.
        """
        plan = self.plan
        few = BASELINE_BATCHES if plan.recipe.way == "lecture" else plan.recipe.eval_iter
        looks = [("training", plan.train, self.train_order, few or BASELINE_BATCHES)]
        looks.append(("validation", plan.validation, self.validation_order, few or len(plan.validation)))
        if plan.test is not None:
            order = batches.in_sequence(len(plan.test), plan.recipe.batch_size)
            looks.append(("test", plan.test, order, few or len(plan.test)))
        accuracies = [measure(plan, part, order()[: 2 * count])[1] for _, part, order, count in looks]
        losses = [measure(plan, part, order()[:count])[0] for _, part, order, count in looks]
        train, validation = list(zip(losses, accuracies, strict=True))[:2]
        self._log(self._row(train, validation))
        return [PartMetrics(*of) for of in zip((look[0] for look in looks), losses, accuracies, strict=True)]

    def final(self) -> list[PartMetrics]:
        """Loss and accuracy of each part with the weights that are kept: all of it in the lecture's way or
        without eval_iter, else of so many batches.
        """
        parts = {"training": self.plan.train, "validation": self.plan.validation, "test": self.plan.test}
        recipe = self.plan.recipe
        few = None if recipe.way == "lecture" else recipe.eval_iter or None
        return [
            PartMetrics(
                name, *measure(self.plan, part, batches.in_sequence(len(part), recipe.batch_size)()[:few])
            )
            for name, part in parts.items()
            if part is not None
        ]

    @property
    def stopped_early(self) -> bool:
        """Whether the patience was used up before the epochs."""
        return (
            0 < self.plan.recipe.patience <= self.state.worse and self.state.epoch < self.plan.recipe.epochs
        )

    def evaluate(self, epoch_end: bool = False) -> LogRow:
        """Measure, log, keep the best, and write a checkpoint."""
        state, plan = self.state, self.plan
        plan.processes.same_chance()
        few = plan.recipe.eval_iter
        train = measure(plan, plan.train, self.train_order()[:few]) if few else state.running()
        validation = measure(plan, plan.validation, self.validation_order()[: few or None])
        row = self._row(train, validation, epoch_end=epoch_end, best=validation[0] < state.best_loss)
        self._keep(row)
        self._log(row)
        self.save()
        return row

    def _row(
        self, train: Figures, validation: Figures, *, epoch_end: bool = False, best: bool = False
    ) -> LogRow:
        state = self.state
        return LogRow(
            step=state.step,
            epoch=state.epoch,
            seen=state.seen,
            train_loss=train[0],
            train_accuracy=train[1],
            validation_loss=validation[0],
            validation_accuracy=validation[1],
            learning_rate=rate(self.plan.recipe, max(0, state.step - 1), self.steps),
            seconds=state.seconds,
            epoch_end=epoch_end,
            best=best,
        )

    def _log(self, row: LogRow) -> None:
        self.state.rows += 1
        if not self.plan.processes.first:
            return
        with (self.plan.folder / LOG).open("a", encoding="utf-8") as log:
            log.write(json.dumps(asdict(row)) + "\n")

    def _keep(self, row: LogRow) -> None:
        self.state.running_loss, self.state.running_hits, self.state.running_seen = 0.0, 0, 0
        self.state.worse = 0 if row.best else self.state.worse + 1
        if row.best:
            self.state.best_loss, self.state.best_step = row.validation_loss, row.step
            _assign(self.best, self.trained)

    def save(self) -> None:
        """Write the checkpoint. Raises Unwritable."""
        if not self.plan.processes.first:
            return
        tensors = {f"model.{name}": p for name, p in self.trained.items()}
        tensors |= {f"best.{name}": p for name, p in self.best.items()}
        tensors |= checkpoint.optimizer_tensors(self.optimizer) | checkpoint.random_tensors()
        checkpoint.save(self.plan.folder, tensors | {"epoch_rng": self.epoch_rng}, asdict(self.state))

    def _resume(self) -> None:
        tensors, state = checkpoint.load(self.plan.folder)
        try:
            self.state = TrainProgress(**state)
            _assign(self.trained, {name: tensors[f"model.{name}"] for name in self.trained})
            _assign(self.best, {name: tensors[f"best.{name}"] for name in self.best})
            checkpoint.restore_optimizer(self.optimizer, tensors)
            checkpoint.restore_random(tensors)
            self.epoch_rng = tensors["epoch_rng"]
        except (KeyError, TypeError, RuntimeError, ValueError) as error:
            raise BadInput(
                f"{self.plan.folder}: the checkpoint is of another model ({error}); choose another --out"
            ) from error


def fit(run: Fit, report: Callable[[LogRow], None], tick: Callable[[float], None]) -> None:
    """Train until the epochs or the patience are used up; the model ends as the recipe says (`keep`).

    report: called after each evaluation; tick: after each step, with its loss.
    Raises Interrupted after SIGINT or SIGTERM, its checkpoint written, and Unwritable.
    """
    plan, state = run.plan, run.state
    plan.model.train()
    with stop_signals() as stopped:
        while not run.finished:
            for batch in run.draw()[state.position :]:
                tick(run.step(batch))
                # The lecture evaluates after its steps 0, 50, 100, …, the first being 0.
                if plan.recipe.eval_freq and (state.step - 1) % plan.recipe.eval_freq == 0:
                    report(run.evaluate())
                if plan.processes.sums(len(stopped))[0]:
                    run.save()
                    raise TrainingInterrupted(
                        f"stopped after step {state.step} of {run.steps}; go on with --resume"
                    )
            state.epoch, state.position = state.epoch + 1, 0
            report(run.evaluate(epoch_end=True))
    if plan.recipe.keep == "best":
        _assign(run.trained, run.best)
    elif plan.recipe.keep == "halfway":
        _assign(run.trained, {name: (p + run.base[name]) / 2 for name, p in run.trained.items()})


def rate(recipe: Recipe, step: int, steps: int) -> float:
    """The learning rate of a step: linear warm-up, then constant or half a cosine down to zero."""
    warm = max(1, round(recipe.warmup * steps))
    if step < warm and recipe.warmup:
        return recipe.learning_rate * (step + 1) / warm
    if recipe.schedule == "constant":
        return recipe.learning_rate
    return recipe.learning_rate * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


def _adamw(trained: Tensors, recipe: Recipe, of: int) -> AdamW:
    """The optimiser: a group for each layer's rate and for what decays, by default two. of: blocks."""
    groups: dict[tuple[float, bool], list[Tensor]] = {}
    for name, p in trained.items():
        decays = recipe.decay_vectors or p.ndim > 1
        groups.setdefault((layers.factor(name, of, recipe.layer_decay), decays), []).append(p)
    return AdamW(
        [
            {"params": some, "factor": factor, "weight_decay": recipe.weight_decay if decays else 0.0}
            for (factor, decays), some in sorted(groups.items(), key=lambda entry: entry[0], reverse=True)
        ],
        lr=recipe.learning_rate,
        fused=True,
    )


@torch.no_grad()
def _assign(to: Tensors, source: Tensors) -> None:
    for name, parameter in to.items():
        parameter.copy_(source[name])


def cut_log(file: Path, rows: int) -> None:
    """Drop rows that were written after the checkpoint: their steps are done again."""
    lines = file.read_text(encoding="utf-8").splitlines(keepends=True) if file.exists() else []
    checkpoint.write_text(file, "".join(lines[:rows]))


@contextmanager
def stop_signals() -> Iterator[list[int]]:
    """A list that is filled by the first SIGINT or SIGTERM; the second one acts as usual."""
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield received
        return
    usual = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def note(number: int, _frame: FrameType | None) -> None:
        received.append(number)
        for each, handler in usual.items():
            signal.signal(each, handler)

    for number in usual:
        signal.signal(number, note)
    try:
        yield received
    finally:
        for number, handler in usual.items():
            signal.signal(number, handler)
