"""A small GPT-2 learns what a large language model makes of texts (`filterd_trainer.pretraining.teacher`).

After every token that ends where one of the teacher's does, a linear layer on the student's hidden state has
to give the teacher's last and mean hidden state, projected to their principal components; the loss is the
mean squared error, so 1.0 is what guessing the mean gets and 0.0 a perfect copy. The end of a text, which is
what a classifier reads, counts END_WEIGHT times. A share of the texts is read a second time, disguised as
spam is (`trainer.disguises.attacks`), and has to give at its end what the teacher makes of the undisguised
text: the student learns to see through disguises, which the teacher itself does not. The token table begins
as the teacher's own, projected to the student's width: rare tokens have a meaning before the first step.

The run folder is a pretraining's (`trainer.pretraining.pretrain`), and a base for `trainer train`. The linear
layer stays in the checkpoint.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random

import numpy as np
import torch
from torch import Tensor, nn

from filterd.api import Kind
from filterd.errors import BadInput
from filterd.reading import text
from filterd.scoring import bundle
from filterd.scoring.tokenizer import Tokenizer
from filterd_trainer.disguises.augment import disguised
from filterd_trainer.gpt2 import device, weights
from filterd_trainer.gpt2.model import GPT2, INITIAL_STD
from filterd_trainer.pretraining.pretrain import Course, PretrainSettings, begin, begun, fit
from filterd_trainer.pretraining.teacher import COMPONENTS, Teacher, TeacherFeatures
from filterd_trainer.training.batches import Rows
from filterd_trainer.training.processes import ALONE, Processes

HELD_OUT = 50  # one text of so many is validation
VALIDATED = 2000  # texts of it at the most
END_WEIGHT = 4.0  # of a text's last position; the others are its beginnings
POOL = 4096  # texts that batches of like length are drawn from
DISGUISED = 0.25  # of a batch's texts are read once more, disguised
LONGEST_DISGUISED = 192  # tokens; a text of 100 whose words are torn apart has some twice as many

Tell = Callable[[str], None]


class Student(nn.Module):
    """A GPT-2, and what reads the teacher's states off its hidden ones."""

    def __init__(self, gpt: GPT2) -> None:
        super().__init__()
        self.gpt = gpt
        self.out = nn.Linear(gpt.architecture.width, COMPONENTS)

    def forward(self, ids: Tensor, *, rows: Tensor, positions: Tensor) -> Tensor:
        """ids [B, T]; n places as row and position: the states there, [n, K]."""
        found: Tensor = self.out(self.gpt(ids)[rows, positions])
        return found


class Distillation(Course):
    """A student under way."""

    def __init__(
        self,
        student: Student,
        features: TeacherFeatures,
        settings: PretrainSettings,
        folder: Path,
        together: Processes = ALONE,
    ) -> None:
        self.student, self.features = student, features
        self.rows = Rows(features.ids, features.starts.tolist())
        held = np.arange(len(features)) % HELD_OUT == HELD_OUT - 1
        self.training, self.held = np.flatnonzero(~held), np.flatnonzero(held)[:VALIDATED]
        self.lengths = np.diff(features.starts)
        self.tokenizer = Tokenizer.load(bundle.DEFAULT / bundle.TOKENIZER)
        self._queue: list[list[int]] = []
        super().__init__(student, settings, folder, together)

    def loss(self) -> tuple[Tensor, int]:
        """Weighted mean squared error of a batch of texts of like length, and of some of them disguised."""
        if not self._queue:
            self._queue = self._draw()
        batch = self._queue.pop()
        plain, tokens = self._error(batch)
        chosen = [i for i in batch if torch.rand(()) < DISGUISED]
        if not chosen:
            return plain, tokens
        seen_through, more = self._disguised_error(chosen)
        share = len(chosen) / (len(batch) + len(chosen))
        return (1 - share) * plain + share * seen_through, tokens + more

    def _disguised_error(self, batch: list[int]) -> tuple[Tensor, int]:
        """Mean squared error at the ends of texts that are disguised; the targets are the plain ones'."""
        f, rng = self.features, Random(int(torch.randint(2**31, ())))  # noqa: S311 (no secret)
        rows = Rows.of([self._disguise(f.ids[f.starts[i] : f.starts[i + 1]].tolist(), rng) for i in batch])
        ids, lengths = rows.batch(list(range(len(batch))))
        ends = torch.tensor([int(f.firsts[i + 1]) - 1 for i in batch])
        on = self.device
        found = self.student(
            ids.long().to(on),
            rows=torch.arange(len(batch)).to(on),
            positions=(lengths.long() - 1).to(on),
        ).float()
        return (found - f.states[ends].float().to(on)).square().mean(), int(lengths.sum())

    def _disguise(self, ids: list[int], rng: Random) -> list[int]:
        plain = self.tokenizer.decode(ids)
        kind = Kind.MAIL if "\n\n" in plain else Kind.SMS
        changed = self.tokenizer.encode(text.again(disguised(plain, rng), kind))
        return changed[: min(LONGEST_DISGUISED, self.student.gpt.architecture.context)] or ids

    def _draw(self) -> list[list[int]]:
        pool = self.training[torch.randint(len(self.training), (POOL,)).numpy()]
        found: list[list[int]] = []
        for batch in self._batches(pool):
            found.append(batch)
        order = torch.randperm(len(found)).tolist()
        return [found[i] for i in order]

    def _batches(self, texts: "np.ndarray[tuple[int], np.dtype[np.int64]]") -> list[list[int]]:
        ordered = texts[np.argsort(self.lengths[texts], kind="stable")]
        found: list[list[int]] = [[]]
        for i in ordered.tolist():
            if found[-1] and (len(found[-1]) + 1) * int(self.lengths[i]) > self.batch_tokens:
                found.append([])
            found[-1].append(i)
        return found

    def _error(self, batch: list[int]) -> tuple[Tensor, int]:
        f = self.features
        ids, lengths = self.rows.batch(batch)
        counts = [int(f.firsts[i + 1] - f.firsts[i]) for i in batch]
        rows = torch.repeat_interleave(torch.arange(len(batch)), torch.tensor(counts))
        places = torch.cat([torch.arange(f.firsts[i], f.firsts[i + 1]) for i in batch])
        positions, targets = f.positions[places].long(), f.states[places].float()
        weight = torch.ones(len(positions))
        weight[torch.tensor(counts).cumsum(0) - 1] = END_WEIGHT
        on = self.device
        found = self.student(ids.long().to(on), rows=rows.to(on), positions=positions.to(on)).float()
        errors = (found - targets.to(on)).square().mean(1)
        return (errors * weight.to(on)).sum() / weight.sum().to(on), int(lengths.sum())

    @torch.no_grad()
    def measure(self) -> float:
        """The same of the held-out texts, every text counting alike."""
        self.model.eval()
        found = [(self._error(batch), len(batch)) for batch in self._batches(self.held)]
        self.model.train()
        return sum(float(loss) * n for (loss, _), n in found) / sum(n for _, n in found)


def table(teacher: Teacher, tokenizer: Tokenizer, width: int) -> Tensor:
    """The teacher's token embedding for our tokens, [V, width]: the mean of the pieces it cuts each into,
    projected to the principal components, with the spread of a fresh table."""
    source = teacher.model.get_input_embeddings().weight.detach().float()
    size = bundle.read(bundle.DEFAULT).manifest.architecture.vocabulary
    rows = torch.zeros(size, source.shape[1])
    for token in range(size):
        text = tokenizer.decode([token])
        pieces = teacher.encode(text)[0]
        if pieces and "\ufffd" not in text:
            rows[token] = source[pieces].mean(0)
    known = rows.abs().sum(1) > 0
    rows[known] -= rows[known].mean(0)
    _, vectors = torch.linalg.eigh(rows[known].T @ rows[known])
    found: Tensor = rows @ vectors[:, -width:].flip(1)
    found[~known] = torch.randn(int((~known).sum()), width) * found[known].std()
    return found * (INITIAL_STD / found[known].std())


def distil(
    folders: Sequence[Path],
    folder: Path,
    settings: PretrainSettings,
    *,
    teacher: Path | None = None,
    on: str = "auto",
    resume: bool = False,
    tell: Tell = print,
) -> None:
    """Distil and leave a weights folder. teacher: whose token table a fresh student begins with.

    Raises Interrupted, and the errors of what it reads and writes.
    """
    target, together, say = begun(folder, settings, resume=resume, on=on, tell=tell)
    features = TeacherFeatures.load(folders)
    torch.manual_seed(settings.seed)
    gpt = begin(settings.base)
    if teacher and not resume:
        tokenizer = Tokenizer.load(bundle.DEFAULT / bundle.TOKENIZER)
        gpt.wte.weight.data.copy_(table(Teacher.load(teacher), tokenizer, gpt.architecture.width))
    longest = int(np.diff(features.starts).max())
    if longest > gpt.architecture.context:
        raise BadInput(f"{settings.base}: {longest} tokens in a text, its context is shorter")
    gpt.stream, gpt.wte.sparse = device.stream(target), True
    run = Distillation(Student(gpt).to(target).train(), features, settings, folder, together)
    say(
        f"{len(features):,} texts, {len(features.ids):,} tokens, {len(features.states):,} targets;"
        f" {target.type} in {device.precision(target)}, {torch.get_num_threads()} threads"
    )
    fit(run, say)
    if together.first:
        weights.save(gpt.cpu(), folder, f"trainer distill, {run.state.tokens:,} tokens")
