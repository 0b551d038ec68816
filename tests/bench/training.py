"""An epoch of fine-tuning GPT-2 124M: the lecture's own way against the cached prefix.

Both take the same batches of 8 in the same order, the same optimiser and the last real token, so that they
compute the same gradients. The lecture's way pads each message to the longest (120 tokens) and runs all
twelve blocks every step; its frozen blocks keep no graph, and attention is PyTorch's fused kernel, which is
faster than the lecture's own. Weights are random: speed does not depend on them. Evaluations are left out.

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

import torch
from rich.console import Console
from rich.table import Table
from torch.nn.functional import cross_entropy

from filterd import bundle
from filterd.tokenizer import END_OF_TEXT_ID, Tokenizer
from trainer import batches, features
from trainer.batches import Batch, Rows
from trainer.model import GPT2, PRESETS, SpamClassifier, freeze, frozen_blocks

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
    freeze(model, "last_block")
    return model


def epoch(
    model: SpamClassifier, logits: Callable[[Batch], torch.Tensor], targets: torch.Tensor, steps: list[Batch]
) -> list[float]:
    """Train on some batches; seconds of each step."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=5e-5, weight_decay=0.1)
    model.train()
    seconds = []
    for batch in steps:
        started = time.perf_counter()
        optimizer.zero_grad()
        loss = cross_entropy(logits(batch), targets[batch])
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        seconds.append(time.perf_counter() - started)
    return seconds


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
    slow_seconds = epoch(
        slow_model, lecture(slow_model, ids), targets, steps if full else steps[:SAMPLED_STEPS]
    )
    slow = sum(slow_seconds) if full else statistics.median(slow_seconds) * len(steps)
    first = frozen_blocks("last_block", len(fast_model.gpt.h))
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        cached = features.compute(fast_model, ids, first, Path(folder))
    prefix = time.perf_counter() - started
    fast = sum(epoch(fast_model, ours(fast_model, cached, first), targets, steps))
    title = (
        f"Fine-tuning GPT-2 124M, {len(steps)} steps of {BATCH}: {source}, {torch.get_num_threads()} threads"
    )
    how = "measured" if full else f"median of {SAMPLED_STEPS} steps x {len(steps)}"
    table = Table("", "seconds an epoch", "times faster", title=title, title_justify="left")
    table.add_row(f"the lecture's way ({how})", f"{slow:.1f}", "1.0")
    table.add_row("frozen prefix, once a run", f"{prefix:.1f}", "")
    table.add_row("an epoch from the cache", f"{fast:.1f}", f"{slow / fast:.1f}")
    table.add_row(f"with a {EPOCHS}th of the prefix", *_compared(slow, fast + prefix / EPOCHS))
    table.add_row("with the whole prefix (a run of one epoch)", *_compared(slow, fast + prefix))
    if full:
        table.add_row("largest difference of a trained parameter", _difference(slow_model, fast_model), "")
    return table


def _compared(slow: float, fast: float) -> tuple[str, str]:
    return f"{fast:.1f}", f"{slow / fast:.1f}"


def _difference(one: SpamClassifier, other: SpamClassifier) -> str:
    start = classifier()
    moved = worst = 0.0
    for p, q, before in zip(one.parameters(), other.parameters(), start.parameters(), strict=True):
        if p.requires_grad:
            worst = max(worst, float((p - q).detach().abs().max()))
            moved = max(moved, float((p - before).detach().abs().max()))
    return f"{worst:.1e} (moved by up to {moved:.1e})"


if __name__ == "__main__":
    Console().print(run(full="--full" in sys.argv[1:]))
