"""What trains: `begin` lets a strategy's parameters train, `settle` leaves an ordinary model afterwards."""

from torch import nn

from filterd_trainer.gpt2 import adapters, blocks, lora, prefix, prompt
from filterd_trainer.gpt2.model import Block, SpamClassifier

SIZES = {
    "lora": lora.RANK,
    "adapters": adapters.SIZE,
    "prefix": prefix.LENGTH,
    "prompt": prompt.LENGTH,
}


def begin(model: SpamClassifier, strategy: str, size: int = 0) -> list[nn.Parameter]:
    """Let only the strategy's parameters train, and return them.

    size: of what one of `blocks.ADDED` adds: a rank, units, positions; 0: the method's usual.
    Raises ConfigError for an unknown strategy, or one that the model cannot have.
    """
    if strategy in blocks.ADDED:
        _add(model, strategy, size or SIZES[strategy])
    else:
        freeze(model, strategy)
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def freeze(model: SpamClassifier, strategy: str) -> None:
    """Let the blocks of a strategy train, the head, and the final norm with them. Raises ConfigError."""
    changed = blocks.changed(strategy, len(model.gpt.h))
    model.requires_grad_(strategy == "all")
    model.head.requires_grad_()
    if changed:
        model.gpt.ln_f.requires_grad_()
    for i in changed:
        model.gpt.h[i].requires_grad_()


def cached_from(model: SpamClassifier, strategy: str) -> int | None:
    """The block whose input never changes while the strategy trains; None where none is frozen.

    Raises ConfigError.
    """
    if strategy in blocks.ADDED or strategy == "all":
        return None
    return blocks.frozen(strategy, len(model.gpt.h))


def settle(model: SpamClassifier) -> None:
    """Merge what can be merged and keep of the rest what judging needs; the model computes what it did."""
    lora.merge(model)
    prefix.settle(model.gpt)


def _add(model: SpamClassifier, strategy: str, size: int) -> None:
    if strategy == "lora":
        lora.attach(model, rank=size, alpha=2.0 * size)
        return
    model.requires_grad_(requires_grad=False)
    model.head.requires_grad_()
    model.gpt.ln_f.requires_grad_()
    if strategy == "adapters":
        _adapt(model, size)
        return
    (prefix if strategy == "prefix" else prompt).attach(model.gpt, size)


def _adapt(model: SpamClassifier, size: int) -> None:
    for block in model.gpt.h:
        assert isinstance(block, Block)
        if block.after_attn is None:
            block.adapt(size)
            block.to(block.ln_1.weight.device)
        for part in (block.after_attn, block.after_mlp, block.ln_1, block.ln_2):
            assert part is not None
            part.requires_grad_()
