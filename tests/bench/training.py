"""An epoch of fine-tuning GPT-2 124M: the lecture's own way against the cached prefix; and a step of
`filterd-mini` by the recipe `more`, as it was and as it is.

Both take the same batches of 8 in the same order, the same optimiser and the last real token, so that they
compute the same gradients. The lecture's way pads each message to the longest (120 tokens) and runs all
twelve blocks every step; its frozen blocks keep no graph, and attention is PyTorch's fused kernel, which is
faster than the lecture's own. Weights are random: speed does not depend on them. Evaluations are left out.
On a machine that does other work as well, seconds of the CPU are the fairer figure; both are shown.

By default the lecture's epoch is extrapolated from SAMPLED_STEPS steps;
`python -m tests.bench.training --full` runs a whole epoch of both and compares the parameters that come out.
"""

import csv
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from rich.console import Console
from rich.table import Table
from torch.nn.functional import cross_entropy

from filterd.scoring import bundle
from filterd.scoring.tokenizer import END_OF_TEXT_ID, Tokenizer
from filterd_trainer.gpt2 import blocks, device, strategies
from filterd_trainer.gpt2.model import GPT2, PRESETS, SpamClassifier
from filterd_trainer.training import batches, features
from filterd_trainer.training.batches import Batch, Rows
from filterd_trainer.training.recipe import load
from filterd_trainer.training.train import Fit, TrainingPart, TrainingPlan

UCI = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "sms_uci" / "SMSSpamCollection"
MESSAGES = 1045  # the lecture's training part: 70% of 747 + 747
LONGEST = 120  # tokens of its longest message
BATCH = 8
EPOCHS = 5  # over which the prefix is shared out
SAMPLED_STEPS = 20
SEED = 123


def rows() -> tuple[Rows, str]:
    """As many messages as the lecture trains on, half of them spam, and where they are from."""
    if not UCI.is_file():
        return _made_up(), "made-up messages of UCI's lengths"
    tokenizer = Tokenizer.load(bundle.DEFAULT / bundle.TOKENIZER)
    with UCI.open(encoding="utf-8", newline="") as stream:
        lines = [line for line in csv.reader(stream, delimiter="\t") if len(line) == 2]
    spam, ham = ([text for label, text in lines if label == which] for which in ("spam", "ham"))
    step = len(ham) // len(spam)
    texts = (spam + ham[::step])[: 2 * len(spam)]
    order = torch.randperm(len(texts), generator=torch.Generator().manual_seed(SEED)).tolist()[:MESSAGES]
    return Rows.of([tokenizer.encode(texts[i])[:LONGEST] for i in order]), "UCI messages, half of them spam"


def _made_up() -> Rows:
    generator = torch.Generator().manual_seed(SEED)
    # Quartiles of the lecture's training part: 15, 31 and 42 tokens; most of the spam is near 40.
    lengths = torch.normal(33.0, 16.0, (MESSAGES,), generator=generator).clamp(3, LONGEST).int().tolist()
    return Rows.of([torch.randint(0, END_OF_TEXT_ID, (n,), generator=generator).tolist() for n in lengths])


def classifier() -> SpamClassifier:
    """GPT-2 124M with random weights, frozen as in the lecture; the same each time."""
    torch.manual_seed(SEED)
    model = SpamClassifier(GPT2(PRESETS["gpt2"]), 2)
    strategies.begin(model, "last_block")
    return model


class Spent(NamedTuple):
    """Seconds by the clock and of the CPU."""

    wall: float
    cpu: float

    @classmethod
    def on(cls, work: Callable[[], object]) -> "Spent":
        """What some work takes."""
        wall, cpu = time.perf_counter(), time.process_time()
        work()
        return cls(time.perf_counter() - wall, time.process_time() - cpu)

    def plus(self, other: "Spent", share: float = 1.0) -> "Spent":
        """Both, the other in part."""
        return Spent(self.wall + share * other.wall, self.cpu + share * other.cpu)


def epoch(
    model: SpamClassifier, logits: Callable[[Batch], torch.Tensor], targets: torch.Tensor, steps: list[Batch]
) -> list[Spent]:
    """Train on some batches; what each step takes."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=5e-5, weight_decay=0.1, fused=True)
    model.train()

    def step(batch: Batch) -> None:
        optimizer.zero_grad()
        cross_entropy(logits(batch), targets[batch]).backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return [Spent.on(lambda batch=batch: step(batch)) for batch in steps]  # type: ignore[misc]


def whole(spent: list[Spent], steps: int) -> Spent:
    """An epoch's worth: the sum of all its steps, or the median of some times their number."""
    if len(spent) == steps:
        return Spent(sum(s.wall for s in spent), sum(s.cpu for s in spent))
    return Spent(
        statistics.median(s.wall for s in spent) * steps, statistics.median(s.cpu for s in spent) * steps
    )


def lecture(model: SpamClassifier, ids: Rows) -> Callable[[Batch], torch.Tensor]:
    """Every message padded to the longest, all blocks at all positions, each step."""

    def logits(batch: Batch) -> torch.Tensor:
        padded = torch.full((len(batch), LONGEST), END_OF_TEXT_ID)
        real, lengths = ids.batch(batch, END_OF_TEXT_ID)
        padded[:, : real.shape[1]] = real
        everywhere: torch.Tensor = model.head(model.gpt(padded))  # (B, T, classes)
        return everywhere[torch.arange(len(batch)), lengths - 1]

    return logits


def ours(model: SpamClassifier, cached: Rows, first: int) -> Callable[[Batch], torch.Tensor]:
    """From the cached output of the frozen blocks; of the last block only the last position."""
    return lambda batch: model.suffix(*cached.batch(batch), first)


def run(full: bool = False) -> Table:
    """Seconds an epoch, and how many times faster. full: a whole epoch of the lecture's way as well."""
    ids, source = rows()
    targets = torch.arange(len(ids)) % 2
    torch.manual_seed(SEED)
    steps = batches.shuffled(len(ids), BATCH)()
    slow_model, fast_model = classifier(), classifier()
    taken = steps if full else steps[:SAMPLED_STEPS]
    slow = whole(epoch(slow_model, lecture(slow_model, ids), targets, taken), len(steps))
    first = blocks.frozen("last_block", len(fast_model.gpt.h))
    cached: list[Rows] = []
    with tempfile.TemporaryDirectory() as folder:
        prefix = Spent.on(lambda: cached.append(features.compute(fast_model, ids, first, Path(folder))))
    fast = whole(epoch(fast_model, ours(fast_model, cached[0], first), targets, steps), len(steps))
    threads = torch.get_num_threads()
    table = Table(
        "an epoch",
        "seconds",
        "times faster",
        "CPU seconds",
        "times faster",
        title=f"GPT-2 124M, {len(steps)} steps of {BATCH}, {threads} threads; {source}",
        title_justify="left",
    )
    table.add_row(
        f"the lecture's way, {'measured' if full else f'from {SAMPLED_STEPS} steps'}", *_row(slow, slow)
    )
    table.add_row("frozen prefix, once a run", *_row(prefix))
    table.add_row("from the cache", *_row(fast, slow))
    table.add_row(f"with a {EPOCHS}th of the prefix", *_row(fast.plus(prefix, 1 / EPOCHS), slow))
    table.add_row("with all of it (one epoch)", *_row(fast.plus(prefix), slow))
    if full:
        table.caption = _difference(slow_model, fast_model)
    return table


def _row(spent: Spent, slow: Spent | None = None) -> tuple[str, str, str, str]:
    return (
        f"{spent.wall:.1f}",
        f"{slow.wall / spent.wall:.1f}" if slow else "",
        f"{spent.cpu:.1f}",
        f"{slow.cpu / spent.cpu:.1f}" if slow else "",
    )


def _difference(one: SpamClassifier, other: SpamClassifier) -> str:
    start = classifier()
    moved = worst = 0.0
    for p, q, before in zip(one.parameters(), other.parameters(), start.parameters(), strict=True):
        if p.requires_grad:
            worst = max(worst, float((p - q).detach().abs().max()))
            moved = max(moved, float((p - before).detach().abs().max()))
    return (
        f"trained parameters differ by at most {worst:.1e} after the epoch; they moved by up to {moved:.1e}"
    )


# ---- filterd-mini ----------------------------------------------------------------------------------------

MINI_STEPS = 12  # of 64 messages, each way, by turns
MINI_LENGTHS = (8, 128)  # tokens, evenly


def _mini(folder: Path, *, old: bool) -> Fit:
    """The recipe `more` under way on made-up messages; old: as of commit 039547e."""
    folder.mkdir()
    torch.manual_seed(SEED)
    model = SpamClassifier(GPT2(PRESETS["filterd-mini"]), 2)
    recipe = load("more", keep="last", dropout=0.1 if old else 0.0)
    for module in model.modules():
        if hasattr(module, "dropout"):
            setattr(module, "dropout", recipe.dropout)  # noqa: B010 (which type has one is its own affair)
    if not old:
        model.gpt.stream, model.gpt.wte.sparse = device.stream(torch.device("cpu")), True
    lengths = torch.randint(*MINI_LENGTHS, (3200,)).tolist()
    made = Rows.of([torch.randint(0, END_OF_TEXT_ID, (n,)).tolist() for n in lengths])
    part = TrainingPart(made, torch.arange(3200) % 2, [str(i % 2) for i in range(3200)])
    model.train()
    return Fit(TrainingPlan(model, part, part, recipe, None, folder))


def mini() -> Table:
    """Messages a second of a step, old and new by turns."""
    with tempfile.TemporaryDirectory() as folder:
        runs = [_mini(Path(folder) / name, old=name == "old") for name in ("old", "new")]
        drawn = runs[0].draw()[: MINI_STEPS + 1]
        for run in runs:
            run.step(drawn[0])
        spent = [[Spent.on(lambda r=r, b=b: r.step(b)) for r in runs] for b in drawn[1:]]  # type: ignore[misc]
    sums = [Spent(sum(s.wall for s in of), sum(s.cpu for s in of)) for of in zip(*spent, strict=True)]
    messages, precision = sum(map(len, drawn[1:])), device.precision(torch.device("cpu"))
    table = Table(
        "filterd-mini, recipe more", "messages/s", "times", "messages a CPU second", "times",
        title=f"{MINI_STEPS} steps of 64, {torch.get_num_threads()} threads, {precision}",
        title_justify="left",
    )  # fmt: skip
    for name, one in zip(("as of 039547e", "now"), sums, strict=True):
        by_clock, by_cpu = sums[0].wall / one.wall, sums[0].cpu / one.cpu
        rates = f"{messages / one.wall:.0f}", f"{messages / one.cpu:.0f}"
        table.add_row(name, rates[0], f"{by_clock:.1f}", rates[1], f"{by_cpu:.1f}")
    return table


if __name__ == "__main__":
    Console().print(mini())
    if "--mini" not in sys.argv[1:]:
        Console().print(run(full="--full" in sys.argv[1:]))
