"""Rates and thawing by layer."""

import pytest

from filterd.errors import ConfigError
from filterd.scoring.bundle import Architecture
from filterd_trainer.gpt2.model import GPT2, SpamClassifier
from filterd_trainer.training import layers, recipe

TINY = Architecture(vocabulary=50, context=8, width=8, layers=3, heads=2)


@pytest.mark.parametrize(
    ("name", "depth"),
    [
        ("gpt.wte.weight", 0),
        ("gpt.wpe.weight", 0),
        ("gpt.h.0.ln_1.bias", 1),
        ("gpt.h.2.mlp.c_fc.weight", 3),
        ("gpt.ln_f.weight", 4),
        ("head.bias", 4),
        ("gpt.prefix.states", 4),
    ],
)
def test_layers_are_counted_from_the_bottom(name: str, depth: int) -> None:
    assert layers.depth(name, 3) == depth
    assert layers.factor(name, 3, 0.5) == 0.5 ** (4 - depth)


def test_layers_thaw_from_the_top() -> None:
    trained = dict(SpamClassifier(GPT2(TINY), 2).named_parameters())

    def awake(a_epoch: int, epoch: int) -> set[int]:
        layers.thaw(trained, layers=3, a_epoch=a_epoch, epoch=epoch)
        return {layers.depth(name, 3) for name, p in trained.items() if p.requires_grad}

    assert [awake(1, epoch) for epoch in range(5)] == [{4}, {3, 4}, {2, 3, 4}, {1, 2, 3, 4}, {0, 1, 2, 3, 4}]
    assert awake(2, 1) == {2, 3, 4} and awake(0, 0) == {0, 1, 2, 3, 4}


@pytest.mark.parametrize(
    "changes",
    [
        {"layer_decay": 0.0},
        {"layer_decay": 1.5},
        {"unfreeze": -1},
        {"strategy": "lora", "layer_decay": 0.9},
        {"strategy": "head", "unfreeze": 1},
        {"strategy": "last_block", "size": 4},
        {"strategy": "prompt", "size": 100_000},
        {"strategy": "prefix", "keep": "halfway"},
    ],
)
def test_what_means_nothing_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="recipe: "):
        recipe.load("mini", **changes)
