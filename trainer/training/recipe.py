"""A recipe: every number that decides how a model is trained, read from a YAML file.

The files in `presets/` are the recipes that have a name. What a preset leaves out has the default here.
"""

from pathlib import Path
from typing import Any, Literal

import msgspec

from filterd.errors import BadInput, ConfigError, NotFound
from filterd_trainer.gpt2 import blocks

PRESETS = Path(__file__).parent / "presets"

Balance = Literal["none", "label", "kind", "source", "root"]
MAX_SIZE = 1024  # of what a strategy adds: above GPT-2's own width it is no small addition any more


class Recipe(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How to train.

    base: what to start from: a size of GPT-2, `filterd-mini`, or a folder with weights, a run or a bundle.
    strategy: which parameters move; what never changes below them is computed once. `head`, `last_block`,
        `last_two_blocks`, `blocks:0,8-11`, `all`; `lora`, `adapters`, `prefix`, `prompt` add to each block.
    size: of what these four add: LoRA's rank, an adapter's units, positions before a message; 0: the usual.
    layer_decay: a layer's learning rate is the one above it times this; 1: all have the same.
    unfreeze: blocks that thaw after each epoch, from the top; the first trains the head and the final norm.
        0: none waits.
    way: `lecture` pads every message to the longest training message, reads the last padded position,
        takes the text as it stands in the file and shuffles as the lecture's DataLoader does; `filterd` pads
        a batch to its own longest, reads the last real token and takes filterd's canonical text.
    max_tokens: longer messages are cut here; 0: at the longest training message, or the model's context.
    windows: of a longer message, so many windows of max_tokens are trained on, each as a message.
    balance: equal shares of an epoch for each `label`, for each `kind` and label (mail, SMS), or for each
        `source` of each kind and label; `root` gives each kind and label the same, and within it each source
        a share as the square root of its size: a set of 18 messages is not gone through two hundred times.
    augment: changed copies of each training message that train besides it (trainer/disguises/augment.py).
    epochs, batch_size: passes over the training part, and messages a step.
    at_once: of a step's messages, so many go through the model together and their gradients add up; 0: all.
    messages: that an epoch draws, where shares are balanced; 0: as many as there are.
    learning_rate, weight_decay: AdamW's; decay_vectors says whether biases and norms decay as well.
    schedule, warmup: `cosine` falls to zero at the end; warmup is the share of all steps it rises before.
    clip_norm: largest norm of the gradient; 0: as it comes.
    dropout: in the blocks that train; where a CPU trains in bf16, not within attention.
    exit_after: blocks after which a second head learns to judge by itself (`Exit`); 0: none. strategy all.
    precision: of matrix products, `fp32`, `bf16`, or `auto`: bf16 where the hardware is faster at it.
    eval_freq: steps between evaluations; 0: after each epoch only.
    eval_iter: batches an evaluation looks at; 0: all of validation, and the training batches since the last.
    patience: evaluations without a better validation loss before the run stops; 0: never.
    keep: which state becomes the model: `best` on validation loss, the `last`, or the weights `halfway`
        between the last and the base, which has to be a classifier of these labels (Wortsman et al. 2022,
        "Robust fine-tuning of zero-shot models").
    """

    base: str = "filterd-mini"
    strategy: str = "all"
    size: int = 0
    layer_decay: float = 1.0
    unfreeze: int = 0
    way: Literal["lecture", "filterd"] = "filterd"
    max_tokens: int = 0
    windows: int = 1
    balance: Balance = "label"
    augment: int = 0
    epochs: int = 5
    messages: int = 0
    batch_size: int = 32
    at_once: int = 0
    learning_rate: float = 5e-4
    weight_decay: float = 0.1
    decay_vectors: bool = False
    schedule: Literal["constant", "cosine"] = "cosine"
    warmup: float = 0.1
    clip_norm: float = 1.0
    dropout: float = 0.0
    exit_after: int = 0
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    eval_freq: int = 0
    eval_iter: int = 0
    patience: int = 0
    keep: Literal["best", "last", "halfway"] = "best"

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "learning_rate", "windows"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} has to be positive")
        for name in (
            *("max_tokens", "augment", "messages", "at_once", "weight_decay", "clip_norm", "exit_after"),
            *("eval_freq", "eval_iter", "patience", "size", "unfreeze"),
        ):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} cannot be negative")
        self._check_strategy()
        if self.exit_after and (self.strategy != "all" or self.way != "filterd"):
            raise ValueError("exit_after is for strategy all and way filterd: the first blocks have to learn")
        for name in ("warmup", "dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} has to be at least 0 and below 1")

    def _check_strategy(self) -> None:
        try:
            blocks.check(self.strategy)
        except ConfigError as error:
            raise ValueError(str(error)) from error
        added = self.strategy in blocks.ADDED
        if self.keep == "halfway" and added:
            raise ValueError(f"keep: halfway is for weights, and strategy {self.strategy} adds to them")
        if self.size and (not added or self.size > MAX_SIZE):
            raise ValueError(f"size is for {', '.join(blocks.ADDED)}, and at most {MAX_SIZE:,}")
        if not 0 < self.layer_decay <= 1:
            raise ValueError("layer_decay has to be above 0 and at most 1")
        if (added or self.strategy == "head") and (self.layer_decay < 1 or self.unfreeze):
            raise ValueError(
                f"layer_decay and unfreeze are for blocks, and strategy {self.strategy} trains none"
            )


def names() -> list[str]:
    """The recipes that have a name."""
    return sorted(file.stem for file in PRESETS.glob("*.yaml"))


def load(name: str, **changes: Any) -> Recipe:
    """A preset or a YAML file, with `changes` that are not None. Raises NotFound, BadInput, ConfigError."""
    file = PRESETS / f"{name}.yaml" if name in names() else Path(name)
    try:
        recipe = msgspec.yaml.decode(file.read_bytes(), type=Recipe)
    except OSError as error:
        raise NotFound(f"{name}: no such recipe; name a file or one of {', '.join(names())}") from error
    except msgspec.MsgspecError as error:
        raise BadInput(f"{file}: {error}") from error
    return change(recipe, **changes)


def change(recipe: Recipe, **changes: Any) -> Recipe:
    """The recipe with those changes that are not None. Raises ConfigError for a value it cannot have."""
    given = {name: value for name, value in changes.items() if value is not None}
    try:
        return msgspec.convert({**msgspec.structs.asdict(recipe), **given}, Recipe)
    except msgspec.ValidationError as error:
        raise ConfigError(f"recipe: {error}") from error
