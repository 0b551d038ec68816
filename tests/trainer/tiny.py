"""A dataset and a trained run small enough for every test: two blocks, a head fitted by least squares."""

from pathlib import Path

import msgspec
import numpy as np
import pandas as pd
import torch

from filterd import bundle
from filterd.api import Kind
from filterd.bundle import Architecture
from filterd.text import TEXT_FORMAT
from filterd.tokenizer import Tokenizer
from trainer import corpus
from trainer.corpus import Dataset
from trainer.model import GPT2, SpamClassifier, to_safetensors
from trainer.parity import TorchBackend
from trainer.recipe import Recipe
from trainer.runs import Config
from trainer.train import CONFIG, MODEL

TINY = Architecture(vocabulary=50257, context=64, width=32, layers=2, heads=4)
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
    return corpus.write(folder, parts, ("ham", "spam"), ("ham",), "grouped", {})


def classifier(architecture: Architecture = TINY, outliers: bool = True) -> SpamClassifier:
    """Random blocks, with outlier channels as trained GPT-2s have them, under a head that can tell."""
    torch.manual_seed(1)
    model = SpamClassifier(GPT2(architecture), 2).eval()
    with torch.no_grad():
        for name, parameter in model.gpt.named_parameters():
            if name.endswith("ln_1.weight") or name.endswith("ln_2.weight"):
                parameter[:2].mul_(8.0 if outliers else 1.0)
            elif "h." in name and parameter.dim() == 2:
                parameter.mul_(2.0)
    _fit_head(model)
    return model


def _fit_head(model: SpamClassifier) -> None:
    made, labels = texts(120, 0)
    tokenizer = Tokenizer.load(bundle.DEFAULT / bundle.TOKENIZER)
    hidden = TorchBackend(model).score([tokenizer.encode(t)[: TINY.context] for t in made]).hidden
    inputs = np.column_stack([hidden, np.ones(len(hidden))])
    truth = np.where(np.array(labels) == 1, 4.0, -4.0)
    ridge = inputs.T @ inputs + 1e-1 * np.eye(inputs.shape[1])
    solution = torch.tensor(np.linalg.solve(ridge, inputs.T @ truth), dtype=torch.float32)
    with torch.no_grad():
        model.head.weight.zero_()
        model.head.bias.zero_()
        model.head.weight[1], model.head.bias[1] = solution[:-1], solution[-1]


def run(folder: Path, model: SpamClassifier | None = None, **changes: object) -> Path:
    """A run folder as `trainer train` leaves it."""
    folder.mkdir(parents=True, exist_ok=True)
    config = Config(
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
