"""How a model is retrained: which parameters move, how far, and which of them by how many corrections.

`wide` is no training of the GPT-2 and has no recipe here: see `filterd_trainer.retraining.refit`.
"""

from typing import Literal, get_args

from filterd.errors import ConfigError
from filterd_trainer.training import recipe
from filterd_trainer.training.recipe import Recipe

WIDE = "wide"
Choice = Literal["auto", "wide", "head", "last_block", "last_two_blocks", "lora", "all"]
CHOICES: tuple[str, ...] = get_args(Choice)

# From how many corrections on `auto` takes a strategy; the measurements are in docs/decisions.md.
BY_CORRECTIONS = ((0, "wide"),)

# A step moves AdamW's parameters by about the rate, so few corrections with many epochs are as far as many
# with few; rates are those at which the champion's other answers stayed (docs/decisions.md).
RATES = {"head": 3e-3, "last_block": 5e-4, "last_two_blocks": 5e-4, "lora": 1e-3, "all": 2e-4}
EPOCHS = {"head": 20, "last_block": 10, "last_two_blocks": 8, "lora": 6, "all": 5}


def choose(wanted: str, corrections: int) -> str:
    """The strategy for so many new corrections. Raises ConfigError for an unknown one."""
    if wanted not in CHOICES:
        raise ConfigError(f"--strategy {wanted}: choose one of {', '.join(CHOICES)}")
    if wanted != "auto":
        return wanted
    return [name for least, name in BY_CORRECTIONS if corrections >= least][-1]


def make(strategy: str, base: str, max_tokens: int, windows: int) -> Recipe:
    """The recipe. base: the champion's folder; max_tokens, windows: the bundle's."""
    return recipe.change(
        Recipe(),
        base=base,
        strategy=strategy,
        max_tokens=max_tokens,
        windows=windows,
        balance="label",
        epochs=EPOCHS[strategy],
        batch_size=32,
        learning_rate=RATES[strategy],
        weight_decay=0.0,  # the pull is towards the old weights instead (filterd_trainer.retraining.loss)
        warmup=0.1,
        keep="last",  # nothing is chosen by held-out messages: the gate has to be able to believe them
    )
