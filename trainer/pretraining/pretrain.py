"""Language modelling from scratch, for a small GPT-2 on a small machine.

Strategy: of GPT-2's 50,257 next-token scores nearly all go to tokens that hardly ever come, and in a small
model computing them is most of the work. So the softmax is exact over the frequent tokens and over whatever
is a target in this batch, and the rest is estimated from a random sample (stratified sampled softmax, after
Jean et al. 2015). Validation takes the whole softmax. Windows of several lengths are mixed, each batch
holding about the same number of tokens, since messages are short and most text is long.

The run folder: pretrain.json (what it is made from), log.jsonl, checkpoint.safetensors, the tokens, and in
the end a weights folder's files, so that `trainer train --base RUN` and `transformers` read it.
"""

import json
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import msgspec
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, linear

from filterd.errors import BadInput, ConfigError, NotFound, Unwritable
from filterd.scoring import bundle
from filterd.scoring.tokenizer import Tokenizer
from filterd_trainer.gpt2 import checkpoint, device, weights
from filterd_trainer.gpt2.adamw import AdamW, clip
from filterd_trainer.gpt2.device import autocast
from filterd_trainer.gpt2.model import GPT2, PRESETS
from filterd_trainer.pretraining import tokens
from filterd_trainer.pretraining.tokens import Tokens
from filterd_trainer.training import processes
from filterd_trainer.training.processes import ALONE, Processes
from filterd_trainer.training.train import LOG, TrainingInterrupted, cut_log, stop_signals

SETTINGS = "pretrain.json"
VALIDATION_WINDOWS = 64  # of 128 tokens: 8,192 targets, a standard error near 0.03 nats
VALIDATION_LENGTH = 128
SEEDS = 1_000_003  # between the seeds of two processes: more than a run has steps
MAX_COUNTED = 20_000_000  # tokens that tell which are frequent; more change the order of rare ones only


class PretrainSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How to pretrain, or to distil.

    base: an architecture by name, or a folder with weights to go on from.
    minutes or steps: the budget that the cosine runs over; one of the two is 0.
    batch_tokens: targets a step; lengths: of windows, each as likely as the others.
    frequent, sampled: tokens whose scores are exact in every step, and how many of the rest stand for it.
    eval_seconds: between validations, each with a checkpoint.
    """

    base: str = "filterd-mini"
    minutes: float = 0.0
    steps: int = 0
    batch_tokens: int = 2048
    lengths: tuple[int, ...] = (32, 64, 128, 256)
    frequent: int = 1024
    sampled: int = 512
    learning_rate: float = 2e-3
    final_rate: float = 0.1  # of the learning rate, where the cosine ends
    warmup: float = 0.02  # of the budget
    weight_decay: float = 0.1
    betas: tuple[float, float] = (0.9, 0.95)
    clip_norm: float = 1.0
    eval_seconds: float = 120.0
    seed: int = 123

    def __post_init__(self) -> None:
        if (self.minutes > 0) == (self.steps > 0):
            raise ValueError("name a budget: either --minutes or --steps")
        if not self.lengths or not 1 <= min(self.lengths) <= max(self.lengths) < tokens.BLOCK:
            raise ValueError(f"lengths have to be between 1 and {tokens.BLOCK - 1}")


@dataclass(kw_only=True)
class PretrainProgress:
    """Where a run stands; running: sum of losses and number of steps since the last row of the log."""

    step: int = 0
    tokens: int = 0
    seconds: float = 0.0
    rows: int = 0
    running_loss: float = 0.0
    running_steps: int = 0


@dataclass(frozen=True, kw_only=True)
class PretrainLogRow:
    """One row of log.jsonl. loss: of training, estimated; validation_loss: exact; nats a token."""

    step: int
    tokens: int
    seconds: float
    loss: float
    validation_loss: float
    learning_rate: float
    tokens_per_second: float


class LanguageHead:
    """The tied head with a softmax that is exact where it matters; see the module."""

    def __init__(self, counts: Tensor, frequent: int, sampled: int) -> None:
        order = counts.argsort(descending=True, stable=True)
        self._exact = torch.zeros(len(counts), dtype=torch.bool)
        self._exact[order[:frequent]] = True
        self._sampled = sampled

    def loss(self, hidden: Tensor, *, embedding: Tensor, targets: Tensor) -> Tensor:
        """Cross entropy in nats a token. hidden [N, C], embedding [V, C], targets [N]."""
        exact = self._exact.clone()
        exact[targets.cpu()] = True
        columns, rest = exact.nonzero().squeeze(1), (~exact).nonzero().squeeze(1)
        drawn = rest[torch.randperm(len(rest))[: self._sampled]]
        place = torch.zeros(len(exact), dtype=torch.int64)
        place[columns] = torch.arange(len(columns))
        chosen = torch.cat([columns, drawn]).to(hidden.device)
        # Each drawn token stands for so many of its kind.
        weight = torch.zeros(len(chosen), device=hidden.device)
        weight[len(columns) :] = math.log(max(1, len(rest)) / max(1, len(drawn)))
        scores = linear(hidden, embedding[chosen], weight).float()  # (N, columns + sampled)
        return cross_entropy(scores, place[targets.cpu()].to(hidden.device))


class Course(ABC):
    """A run under way: model, optimiser, counters and random state, that is, what a checkpoint holds.

    What is learned is the subclass's: `loss` of the next batch, and `measure` on what is held out. Several
    processes draw a batch each, of their part of `batch_tokens`, and sum its gradients.
    """

    def __init__(
        self, model: nn.Module, settings: PretrainSettings, folder: Path, together: Processes = ALONE
    ) -> None:
        self.model, self.settings, self.folder = model, settings, folder
        self.together, self.batch_tokens = together, max(1, settings.batch_tokens // together.count)
        self.state = PretrainProgress()
        self.device = next(model.parameters()).device
        self.optimizer = self._adamw()
        if (folder / checkpoint.FILE).exists():
            self._resume()
        if together.first:
            cut_log(folder / LOG, self.state.rows)
        elif together.count > 1:  # another batch than the first process draws
            torch.manual_seed(settings.seed + SEEDS * together.rank + self.state.step)

    @abstractmethod
    def loss(self) -> tuple[Tensor, int]:
        """The loss of the next batch, drawn from torch's generator, and its tokens."""

    @abstractmethod
    def measure(self) -> float:
        """The loss on what is held out."""

    @property
    def progress(self) -> float:
        """Share of the budget that is used up."""
        if self.settings.steps:
            return self.state.step / self.settings.steps
        return self.state.seconds / (60 * self.settings.minutes)

    @property
    def rate(self) -> float:
        """The learning rate now: linear warm-up, then half a cosine."""
        s = self.settings
        if self.progress < s.warmup:
            return s.learning_rate * max(self.progress / s.warmup, 0.01)
        done = min(1.0, (self.progress - s.warmup) / (1 - s.warmup))
        return s.learning_rate * (s.final_rate + (1 - s.final_rate) * 0.5 * (1 + math.cos(math.pi * done)))

    def step(self) -> None:
        """One step of the optimiser."""
        started = time.perf_counter()
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate
        with autocast(self.device):
            loss, tokens = self.loss()
        self.optimizer.zero_grad(set_to_none=True)
        (loss / self.together.count).backward()  # type: ignore[no-untyped-call]
        self.together.sum_gradients(self.model.parameters())
        clip(self.model.parameters(), self.settings.clip_norm)
        self.optimizer.step()
        losses, all_tokens = self.together.sums(loss.item(), tokens)
        self.state.step += 1
        self.state.tokens += round(all_tokens)
        self.state.running_loss += losses / self.together.count
        self.state.running_steps += 1
        self.state.seconds = self.together.agreed(self.state.seconds + time.perf_counter() - started)

    def evaluate(self) -> PretrainLogRow:
        """Measure on held-out text, log, and write a checkpoint."""
        state = self.state
        row = PretrainLogRow(
            step=state.step,
            tokens=state.tokens,
            seconds=state.seconds,
            loss=state.running_loss / max(1, state.running_steps),
            validation_loss=self.measure(),
            learning_rate=self.rate,
            tokens_per_second=state.tokens / max(state.seconds, 1e-9),
        )
        state.rows, state.running_loss, state.running_steps = state.rows + 1, 0.0, 0
        if not self.together.first:
            return row
        with (self.folder / LOG).open("a", encoding="utf-8") as log:
            log.write(json.dumps(asdict(row)) + "\n")
        self.save()
        return row

    def save(self) -> None:
        """Write the checkpoint. Raises Unwritable."""
        if not self.together.first:
            return
        held: dict[str, Tensor] = {f"model.{name}": p for name, p in self.model.named_parameters()}
        held |= checkpoint.optimizer_tensors(self.optimizer) | checkpoint.random_tensors()
        checkpoint.save(self.folder, held, asdict(self.state))

    @torch.no_grad()
    def _resume(self) -> None:
        held, state = checkpoint.load(self.folder)
        try:
            self.state = PretrainProgress(**state)
            for name, parameter in self.model.named_parameters():
                parameter.copy_(held[f"model.{name}"])
            checkpoint.restore_optimizer(self.optimizer, held)
            checkpoint.restore_random(held)
        except (KeyError, TypeError, RuntimeError, ValueError) as error:
            raise BadInput(f"{self.folder}: the checkpoint is of another model ({error})") from error

    def _adamw(self) -> AdamW:
        s = self.settings
        matrices = [p for p in self.model.parameters() if p.ndim > 1]
        vectors = [p for p in self.model.parameters() if p.ndim == 1]
        groups = [
            {"params": matrices, "weight_decay": s.weight_decay},
            {"params": vectors, "weight_decay": 0.0},
        ]
        return AdamW(groups, lr=s.learning_rate, betas=s.betas, fused=True)


class Pretraining(Course):
    """Language modelling on windows of a row of tokens."""

    def __init__(
        self,
        gpt: GPT2,
        text: Tokens,
        settings: PretrainSettings,
        folder: Path,
        together: Processes = ALONE,
    ) -> None:
        self.gpt, self.text = gpt, text
        self.lengths = [length for length in settings.lengths if length <= gpt.architecture.context]
        self.training, held_out = text.blocks(held_out=False), text.blocks(held_out=True)
        with torch.random.fork_rng():
            torch.manual_seed(settings.seed)
            length = min(VALIDATION_LENGTH, gpt.architecture.context)
            self.validation = text.windows(held_out, VALIDATION_WINDOWS, length)
        counted = torch.from_numpy(text.row[:MAX_COUNTED].astype("int64"))
        counts = torch.bincount(counted, minlength=gpt.architecture.vocabulary)
        self.head = LanguageHead(counts, settings.frequent, settings.sampled)
        super().__init__(gpt, settings, folder, together)

    def loss(self) -> tuple[Tensor, int]:
        """Cross entropy of the next tokens, nats a token, estimated (`LanguageHead`)."""
        length = self.lengths[int(torch.randint(len(self.lengths), ()))]
        number = max(1, self.batch_tokens // length)
        ids = self.text.windows(self.training, number, length).to(self.device)  # (B, T + 1)
        hidden = self.gpt(ids[:, :-1]).flatten(0, 1)  # (B * T, C)
        return self.head.loss(
            hidden, embedding=self.gpt.wte.weight, targets=ids[:, 1:].flatten()
        ), number * length

    def measure(self) -> float:
        """Cross entropy on the held-out windows, exact."""
        return self.exact_loss(self.validation)

    @torch.inference_mode()
    def exact_loss(self, windows: Tensor) -> float:
        """Cross entropy with the whole softmax, nats a token, of windows [n, T + 1]."""
        losses = []
        for ids in torch.split(windows.to(self.device), 4):  # 4 x 128 x 50,257 scores are 100 MB
            scores = self.gpt.logits(self.gpt(ids[:, :-1])).float()
            losses.append(float(cross_entropy(scores.flatten(0, 1), ids[:, 1:].flatten())) * len(ids))
        return sum(losses) / len(windows)


def pretrain(
    files: list[Path],
    folder: Path,
    settings: PretrainSettings,
    *,
    on: str = "auto",
    resume: bool = False,
    tell: Callable[[str], None] = print,
) -> None:
    """Pretrain and leave a weights folder. Raises Interrupted, and the errors of what it reads and writes."""
    target, together, say = begun(folder, settings, resume=resume, on=on, tell=tell)
    with together.first_alone():
        text = tokens.prepare(files, folder, Tokenizer.load(bundle.DEFAULT / bundle.TOKENIZER), say)
    torch.manual_seed(settings.seed)
    gpt = begin(settings.base).to(target).train()
    gpt.stream = device.stream(target)
    run = Pretraining(gpt, text, settings, folder, together)
    size = sum(p.numel() for p in gpt.parameters()) / 1e6
    say(
        f"{text.about.tokens:,} tokens of {text.about.documents:,} documents; {size:.1f} million"
        f" parameters; {target.type} in {device.precision(target)}, {torch.get_num_threads()} threads"
    )
    fit(run, say)
    if together.first:
        weights.save(gpt.cpu(), folder, f"trainer pretrain, {run.state.tokens:,} tokens")


def begun(
    folder: Path, settings: PretrainSettings, *, resume: bool, on: str, tell: Callable[[str], None]
) -> tuple[torch.device, Processes, Callable[[str], None]]:
    """The device, this run's processes, whose first has claimed the folder, and how this one speaks."""
    target = device.choose(on)
    together = processes.join(target)
    with together.first_alone():
        if together.first:
            claim(folder, settings, resume)
    return target, together, tell if together.first else lambda _line: None


def fit(run: Course, tell: Callable[[str], None]) -> None:
    """Train until the budget is used up. Raises Interrupted after a signal, its checkpoint written."""
    due = run.state.seconds + run.settings.eval_seconds
    with stop_signals() as stopped:
        while run.progress < 1:
            run.step()
            if run.state.seconds >= due and run.progress < 1:
                tell(_line(run, run.evaluate()))
                due = run.state.seconds + run.settings.eval_seconds
            if run.together.sums(len(stopped))[0]:
                run.save()
                raise TrainingInterrupted(f"stopped after step {run.state.step:,}; go on with --resume")
    if run.state.running_steps:
        tell(_line(run, run.evaluate()))


def begin(base: str) -> GPT2:
    """An architecture's fresh weights, from torch's generator, or a folder's. Raises NotFound, BadInput."""
    if base in PRESETS and not Path(base).is_dir():
        return GPT2(PRESETS[base])
    return weights.load(weights.find(base))


def settings(**given: object) -> PretrainSettings:
    """The settings with those values that are not None. Raises ConfigError."""
    try:
        return msgspec.convert({name: v for name, v in given.items() if v is not None}, PretrainSettings)
    except msgspec.ValidationError as error:
        raise ConfigError(f"pretrain: {error}") from error


def read(folder: Path) -> PretrainSettings:
    """What a run was begun with. Raises NotFound and BadInput."""
    try:
        return msgspec.json.decode((folder / SETTINGS).read_bytes(), type=PretrainSettings)
    except OSError as error:
        raise NotFound(f"{folder}: no run to resume; start it without --resume") from error
    except msgspec.MsgspecError as error:
        raise BadInput(f"{folder}: not a run of this version ({error})") from error


def read_settings(folder: Path) -> tuple[PretrainSettings, list[Path]]:
    """The same, and the text files of a pretraining. Raises NotFound and BadInput."""
    begun = read(folder)
    try:
        about = msgspec.json.decode((folder / tokens.ABOUT).read_bytes(), type=tokens.TokensOrigin)
    except OSError as error:
        raise NotFound(f"{folder}: no pretraining to resume; start it without --resume") from error
    except msgspec.MsgspecError as error:
        raise BadInput(f"{folder}: not a pretraining of this version ({error})") from error
    return begun, [Path(file) for file in about.files]


def claim(folder: Path, settings: PretrainSettings, resume: bool) -> None:
    """Make a run's folder and record what it is begun with. Raises ConfigError, Unwritable."""
    if resume:
        return
    if (folder / checkpoint.FILE).exists() or (folder / bundle.WEIGHTS).exists():
        raise ConfigError(f"{folder}: holds a run already; add --resume, or choose another --out")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Unwritable(f"{folder}: {error.strerror}; choose another --out") from error
    checkpoint.write_text(
        folder / SETTINGS, msgspec.json.format(msgspec.json.encode(settings), indent=1).decode() + "\n"
    )


def _line(run: Course, row: PretrainLogRow) -> str:
    left = row.seconds * (1 / run.progress - 1) / 60
    return (
        f"step {row.step:,}, {row.tokens / 1e6:.1f} million tokens: loss {row.loss:.3f},"
        f" validation {row.validation_loss:.3f}; {row.tokens_per_second:,.0f} tokens/s; {left:.0f} min left"
    )
