"""Names of the strategies: which blocks each lets change, and so how many leading ones stay frozen."""

import re

from filterd.errors import ConfigError

# Blocks that train along with the final norm and the head; `last_block` is the lecture's choice.
LAST = {"head": 0, "last_block": 1, "last_two_blocks": 2}
ADDED = ("lora", "adapters", "prefix", "prompt")  # change every block by something small beside its weights
KEPT = ("adapters", "prefix", "prompt")  # of them, those that cannot become part of the weights
NAMED = "blocks:"  # and then numbers from 0 and ranges of them: blocks:0,8-11
MAX_BLOCK = 999  # no GPT-2 has as many; keeps a range from being a million numbers

_NUMBERS = re.compile(r"(\d{1,3})(?:-(\d{1,3}))?\Z")


def names() -> str:
    """All of them, for a person."""
    return ", ".join([*LAST, "all", f"{NAMED}N-M", *ADDED])


def changed(strategy: str, layers: int) -> list[int]:
    """The blocks whose weights train, in order; all for those that add to each. Raises ConfigError."""
    if strategy == "all" or strategy in ADDED:
        return list(range(layers))
    if strategy in LAST:
        return list(range(max(0, layers - LAST[strategy]), layers))
    if not strategy.startswith(NAMED):
        raise ConfigError(f"strategy {strategy!r} is unknown; choose one of {names()}")
    found: set[int] = set()
    for part in strategy.removeprefix(NAMED).split(","):
        numbers = _NUMBERS.match(part.strip())
        if not numbers:
            raise ConfigError(
                f"strategy {strategy!r}: {part!r} is no number and no range; write blocks:0,8-11"
            )
        first = int(numbers[1])
        found |= set(range(first, int(numbers[2] or first) + 1))
    if not found:
        raise ConfigError(f"strategy {strategy!r} names no block; write blocks:0,8-11")
    if max(found) >= layers:
        raise ConfigError(f"strategy {strategy!r}: the model has {layers} blocks, 0 to {layers - 1}")
    return sorted(found)


def frozen(strategy: str, layers: int) -> int:
    """How many leading blocks, and the embeddings below them, never change. Raises ConfigError."""
    return min(changed(strategy, layers), default=layers)


def check(strategy: str) -> None:
    """Raise ConfigError for a strategy that no model can have."""
    changed(strategy, MAX_BLOCK + 1)
