"""What is in labelled messages before anything is trained: classes, their ratio, lengths, batches."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table

from filterd.scoring import bundle
from filterd.scoring.tokenizer import Tokenizer
from filterd_trainer.data import corpus, fetch
from filterd_trainer.data.corpus import Dataset
from filterd_trainer.data.grouping import Report, quiet
from filterd_trainer.data.prepare import PrepareRequest, as_sources
from filterd_trainer.data.sources import ReadingLosses, read

BATCH_SIZE = 8  # the lecture's
BAR = 40  # characters of the longest bar
QUANTILES = {"shortest": 0.0, "median": 0.5, "95%": 0.95, "99%": 0.99, "longest": 1.0}


@dataclass(frozen=True)
class Stats:
    """rows: messages. counts: by class, the largest first; tokens: lengths [n] of each class in GPT-2 tokens.

    balanced: whether training may see as many of each class.
    """

    name: str
    rows: int
    counts: Mapping[str, int]
    tokens: Mapping[str, Sequence[int]]
    balanced: bool = True

    @property
    def ratio(self) -> float:
        """Of the largest class to the smallest."""
        return max(self.counts.values()) / max(1, min(self.counts.values()))


def of_inputs(inputs: Sequence[str], report: Report = quiet) -> Stats:
    """Of what `trainer data prepare --input` would read. Raises the errors of reading."""
    request = PrepareRequest(inputs=inputs, out=Path())
    sources = as_sources(request)
    if len(sources) == 1 and sources[0].path.name in fetch.NAMES:  # as the lecture reads it, 5,572 rows
        return _of(str(sources[0].path), corpus.read_uci(sources[0].path))
    losses = ReadingLosses()
    frames = [corpus.canonical(read(each, losses), losses, corpus.AS_IT_IS, report) for each in sources]
    return _of(", ".join(str(each.path) for each in sources), pd.concat(frames))


def of_dataset(dataset: Dataset) -> dict[str, Stats]:
    """Of each split of a prepared dataset."""
    found = {}
    for name in dataset.about["files"]:
        frame = dataset.split(name)
        names = [
            dataset.task.names(cell) for cell in frame["Label"]
        ]  # a message counts for each of its labels
        whole = frame.assign(Label=pd.Series(names, index=frame.index)).explode("Label", ignore_index=True)
        balanced = dataset.task.balanced
        found[name] = replace(_of(f"{name}.csv", whole), rows=len(frame), balanced=balanced)
    return found


def _of(name: str, frame: pd.DataFrame) -> Stats:
    tokenizer = Tokenizer.load(bundle.DEFAULT / bundle.TOKENIZER)
    counts = {str(label): int(n) for label, n in frame["Label"].value_counts().items()}
    lengths = {
        label: [len(tokenizer.encode(text)) for text in frame.loc[frame["Label"] == label, "Text"]]
        for label in counts
    }
    return Stats(name, len(frame), counts, lengths)


# -- what a person sees --------------------------------------------------------------------------------------


def show(stats: Stats, console: Console) -> None:
    """Counts and ratio in a line, a bar a class, lengths, and what balancing would leave."""
    counted = ", ".join(f"{n:,} {label}" for label, n in stats.counts.items())
    console.print(f"{stats.name}: {stats.rows:,} rows, {counted}, {stats.ratio:.1f} : 1", soft_wrap=True)
    largest = max(stats.counts.values())
    for label, n in stats.counts.items():
        console.print(f"  {label:>12} {'█' * max(1, round(BAR * n / largest))} {n:,}", markup=False)
    console.print(_lengths(stats))
    if not stats.balanced:
        return
    smallest = min(stats.counts.values())
    kept = " + ".join(f"{smallest:,}" for _ in stats.counts)
    console.print(f"Balanced by undersampling: {kept} = {smallest * len(stats.counts):,}")


def _lengths(stats: Stats) -> Table:
    table = Table(title="Length in GPT-2 tokens", title_justify="left")
    table.add_column("class")
    for name in (*QUANTILES, "mean"):
        table.add_column(name, justify="right")
    for label, lengths in stats.tokens.items():
        values = np.asarray(lengths)
        cut = [f"{np.quantile(values, q):,.0f}" for q in QUANTILES.values()]
        table.add_row(label, *cut, f"{values.mean():,.1f}")
    return table


def show_batches(stats: Mapping[str, Stats], console: Console, size: int = BATCH_SIZE) -> None:
    """How many batches each split gives, and what one looks like; training drops a last, smaller one."""
    longest = max(max(lengths) for lengths in stats["train"].tokens.values())
    for name, one in stats.items():
        whole = one.rows // size if name == "train" else -(-one.rows // size)
        console.print(f"{one.name}: {one.rows:,} rows, {whole:,} batches of {size}")
    console.print(f"Longest training message: {longest} tokens; padded to it a batch is")
    console.print(f"  input [{size}, {longest}], target [{size}]", markup=False)
