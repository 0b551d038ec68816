"""A dataset and a trained run small enough for every test: two blocks, trained for two seconds."""

from functools import cache
from pathlib import Path

import msgspec
import numpy as np
import pandas as pd
import torch
from torch.nn.functional import cross_entropy

from filterd.api import Kind
from filterd.reading.text import TEXT_FORMAT
from filterd.scoring import bundle
from filterd.scoring.bundle import Architecture
from filterd.scoring.tokenizer import Tokenizer
from filterd_trainer.data import corpus
from filterd_trainer.data.corpus import Dataset
from filterd_trainer.gpt2.model import GPT2, SpamClassifier, to_safetensors
from filterd_trainer.tasks.choice import HAM_AND_SPAM
from filterd_trainer.training.batches import Rows
from filterd_trainer.training.recipe import Recipe
from filterd_trainer.training.runs import RunConfig
from filterd_trainer.training.train import CONFIG, MODEL

TINY = Architecture(vocabulary=50257, context=64, width=32, layers=2, heads=4)
STEPS, BATCH = 60, 16
HAM = ("see you at {} then", "the train is {} minutes late", "shall we meet at {} for lunch", "ok {} it is")
SPAM = ("win {} pounds, call now", "free prize {} waiting, click here", "claim your {} cash bonus today")


def texts(count: int, seed: int) -> tuple[list[str], list[int]]:
    """Made-up messages and their classes, in turn."""
    draw = np.random.default_rng(seed)
    labels = [i % 2 for i in range(count)]
    made = []
    for label in labels:
        lines = [str(draw.choice(SPAM if label else HAM)).format(draw.integers(1, 999))]
        made.append(" ".join(lines * int(draw.integers(1, 5))))
    return made, labels


def dataset(folder: Path) -> Dataset:
    """Half ham, half spam; mail and SMS."""
    parts = {}
    for seed, (name, count) in enumerate({"train": 120, "validation": 160, "test": 40}.items()):
        made, labels = texts(count, seed)
        kinds = [(Kind.MAIL if i % 4 < 2 else Kind.SMS).value for i in range(count)]
        parts[name] = pd.DataFrame({"Label": labels, "Text": made, "Kind": kinds, "Group": range(count)})
    return corpus.write(folder, parts, HAM_AND_SPAM, "grouped", {})


@cache
def classifier() -> SpamClassifier:
    """Trained for two seconds, with outlier channels as large GPT-2s have them."""
    torch.manual_seed(1)
    model = SpamClassifier(GPT2(TINY), 2).train()
    made, labels = texts(STEPS * BATCH, 0)
    rows, targets = Rows.of(encode(made)), torch.tensor(labels)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for first in range(0, STEPS * BATCH, BATCH):
        batch = list(range(first, first + BATCH))
        ids, lengths = rows.batch(batch)
        loss = cross_entropy(model(ids.long(), lengths), targets[batch])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    _add_outliers(model)
    return model.eval()


@torch.no_grad()
def _add_outliers(model: SpamClassifier) -> None:
    """Two channels twenty times as large after each norm; what follows divides them again."""
    for block in model.gpt.h.children():
        norm, matrix = block.get_submodule("ln_2"), block.get_submodule("mlp.c_fc")
        for name in ("weight", "bias"):
            norm.get_parameter(name)[:2].mul_(20.0)
        matrix.get_parameter("weight")[:, :2].div_(20.0)


def encode(made: list[str]) -> list[list[int]]:
    """Token ids, cut at the tiny model's context."""
    tokenizer = Tokenizer.load(bundle.DEFAULT / bundle.TOKENIZER)
    return [tokenizer.encode(t)[: TINY.context] for t in made]


def run(folder: Path, model: SpamClassifier | None = None, **changes: object) -> Path:
    """A run folder as `trainer train` leaves it."""
    folder.mkdir(parents=True, exist_ok=True)
    config = RunConfig(
        recipe=Recipe(),
        seed=1,
        data="made up",
        data_sha256="0" * 64,
        base_sha256="1" * 64,
        labels=("ham", "spam"),
        ham=("ham",),
        architecture=TINY,
        max_tokens=48,
        text_format=TEXT_FORMAT,
        device="cpu",
        precision="fp32",
        threads=1,
        versions={},
    )
    config = msgspec.structs.replace(config, **changes)
    (folder / CONFIG).write_bytes(msgspec.json.encode(config))
    to_safetensors(model or classifier(), folder / MODEL, config.labels)
    return folder
