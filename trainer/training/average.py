"""One run of several: the mean of the weights of runs that differ by their seed alone.

Runs that begin from the same weights and see the same data in another order end in the same valley; what
chance did to each cancels in their mean, which is as quick as one of them (Wortsman et al. 2022, "Model
soups", https://arxiv.org/abs/2203.05482). `trainer average` makes it, and `trainer export` a bundle of it.
"""

from collections.abc import Sequence
from pathlib import Path

import msgspec
import torch

from filterd.errors import BadInput
from filterd_trainer.gpt2 import blocks
from filterd_trainer.gpt2.model import SpamClassifier, from_safetensors, to_safetensors
from filterd_trainer.training.runs import RunConfig, claim, read_config, weights_of, write_config
from filterd_trainer.training.train import MODEL

# What the runs have to share; their seeds, machines and versions may differ.
SAME = ("recipe", "data_sha256", "base_sha256", "labels", "ham", "architecture", "max_tokens", "text_format")


def average(folders: Sequence[Path], out: Path) -> RunConfig:
    """Write a run folder with the mean of the runs' weights, [parameters]; it has no log of its own.

    Raises BadInput where fewer than two are named or they differ in more than their seed, NotFound,
    ConfigError where `out` holds a run already, and Unwritable.
    """
    if len(folders) < 2:
        raise BadInput("an average takes two runs or more; name the others as well")
    first, *others = configs = [read_config(folder) for folder in folders]
    for folder, other in zip(folders[1:], others, strict=True):
        for name in SAME:
            if getattr(first, name) != getattr(other, name):
                raise BadInput(f"{folder}: another {name} than {folders[0]}'s; average runs of one training")
    if (strategy := first.recipe.strategy) in blocks.KEPT:
        raise BadInput(
            f"runs of strategy {strategy} begin with other {strategy} by seed, so their mean is none's"
        )
    seeds = tuple(config.seed for config in configs)
    if len(set(seeds)) < len(seeds):
        raise BadInput(f"two runs have the same seed ({', '.join(map(str, seeds))}); name each run once")
    mean = _mean([from_safetensors(weights_of(folder))[0] for folder in folders])
    claim(out)
    to_safetensors(mean, out / MODEL, first.labels, head=first.learns.head)
    config = msgspec.structs.replace(first, averaged=seeds)
    write_config(out, config)
    return config


def _mean(models: Sequence[SpamClassifier]) -> SpamClassifier:
    states = [model.state_dict() for model in models]
    models[0].load_state_dict(
        {name: torch.stack([state[name] for state in states]).mean(0) for name in states[0]}
    )
    return models[0].eval()
