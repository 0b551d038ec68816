"""How a model is retrained: by its linear half (`wide`), or by the head of its GPT-2.

`wide` is no training of the GPT-2 and has no recipe here: see `filterd_trainer.retraining.refit`.
"""

from dataclasses import dataclass
from typing import Literal, get_args

from filterd.errors import ConfigError
from filterd_trainer.training import recipe
from filterd_trainer.training.recipe import Recipe

Strategy = Literal["wide", "head"]
CHOICES: tuple[str, ...] = ("auto", *get_args(Strategy))


@dataclass(frozen=True, kw_only=True)
class HeadTraining:
    """How far the head goes: what kept the champion's other answers (docs/experiments.md).

    A step moves AdamW's parameters by about the rate. pull: towards the old weights (L2-SP); with 10 a head
    learned little of what it was told.
    """

    epochs: int = 20
    learning_rate: float = 3e-3
    pull: float = 1.0


HEAD = HeadTraining()


def choose(wanted: str) -> Strategy:
    """The strategy that is meant. Raises ConfigError for an unknown one."""
    if wanted in {"auto", "wide"}:
        return "wide"
    if wanted == "head":
        return "head"
    raise ConfigError(f"--strategy {wanted}: choose one of {', '.join(CHOICES)}")


def make(how: HeadTraining, base: str, *, max_tokens: int, windows: int, padded: bool) -> Recipe:
    """The head's recipe. base: the champion's folder; the others: the bundle's. Raises ConfigError."""
    if padded:
        raise ConfigError(f"{base}: reads the padding, as in the lecture; retrain it with --strategy wide")
    return recipe.change(
        Recipe(),
        base=base,
        strategy="head",
        max_tokens=max_tokens,
        windows=windows,
        balance="label",
        epochs=how.epochs,
        batch_size=32,
        learning_rate=how.learning_rate,
        weight_decay=0.0,  # the pull is towards the old weights instead (filterd_trainer.retraining.loss)
        warmup=0.1,
        keep="last",  # nothing is chosen by held-out messages: the gate has to be able to believe them
    )
