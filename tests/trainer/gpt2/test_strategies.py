"""What each strategy trains, where it begins, and that files keep what it leaves."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from filterd.errors import BadInput, ConfigError
from filterd.scoring.bundle import Architecture
from filterd_trainer.gpt2 import blocks, strategies
from filterd_trainer.gpt2.checkpoint import write_tensors
from filterd_trainer.gpt2.model import GPT2, SpamClassifier, from_safetensors, read_tensors, to_safetensors
from tests.trainer.gpt2.small import LABELS, LENGTHS, classifier, messages


def same(one: Tensor, other: Tensor) -> None:
    torch.testing.assert_close(one, other, atol=2e-6, rtol=1e-5)


def moved(strategy: str, size: int = 4, steps: int = 3) -> SpamClassifier:
    """A classifier after some steps of a strategy."""
    model = classifier()
    optimizer = torch.optim.AdamW(strategies.begin(model, strategy, size), lr=3e-2)
    for _ in range(steps):
        loss = torch.nn.functional.cross_entropy(model(messages(), LENGTHS), torch.tensor([0, 1, 0, 1]))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return model


@pytest.mark.parametrize(
    ("strategy", "changed"),
    [
        ("blocks:8-11", [8, 9, 10, 11]),
        ("blocks:0,3,10-11", [0, 3, 10, 11]),
        ("blocks: 3, 3 ,2-4", [2, 3, 4]),
        ("last_two_blocks", [10, 11]),
        ("head", []),
        ("prompt", list(range(12))),
    ],
)
def test_blocks_have_numbers(strategy: str, changed: list[int]) -> None:
    assert blocks.changed(strategy, 12) == changed
    assert blocks.frozen(strategy, 12) == (changed[0] if changed else 12)


@pytest.mark.parametrize(
    ("strategy", "said"),
    [
        ("blocks:", "no number"),
        ("blocks:4-2", "names no block"),
        ("blocks:12", "12 blocks, 0 to 11"),
        ("blocks:-1", "no number"),
        ("blocks:0-9999999", "no number"),
        ("blocks:1,,2", "no number"),
        ("first", "choose one of"),
    ],
)
def test_a_wrong_set_of_blocks_is_one_line(strategy: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        blocks.changed(strategy, 12)


def test_only_the_named_blocks_train() -> None:
    model = classifier()
    strategies.begin(model, "blocks:0,2")
    names = {name.split(".")[2] for name, p in model.named_parameters() if p.requires_grad and ".h." in name}
    assert names == {"0", "2"}
    assert model.gpt.ln_f.weight.requires_grad and not model.gpt.wte.weight.requires_grad
    assert strategies.cached_from(model, "blocks:1") == 1


@pytest.mark.parametrize("strategy", ["lora", "adapters", "prefix", "prompt"])
def test_what_is_added_trains_alone(strategy: str) -> None:
    before = classifier().state_dict()
    after = moved(strategy)
    beside = {"head", "ln_f"} | ({"ln_1", "ln_2"} if strategy == "adapters" else set())
    for name, tensor in after.state_dict().items():
        if name in before and not beside & set(name.split(".")):
            assert torch.equal(tensor, before[name]), name


@pytest.mark.parametrize("strategy", ["lora", "adapters"])
def test_training_begins_with_the_model_as_it_was(strategy: str) -> None:
    model = classifier().eval()
    before = model(messages(), LENGTHS)
    strategies.begin(model, strategy)
    same(model(messages(), LENGTHS), before)


@pytest.mark.parametrize("strategy", ["lora", "adapters", "prefix", "prompt"])
def test_settled_written_and_read_it_computes_the_same(strategy: str, tmp_path: Path) -> None:
    model = moved(strategy).eval()
    before = model(messages(), LENGTHS).detach()
    strategies.settle(model)
    same(model(messages(), LENGTHS), before)
    to_safetensors(model, tmp_path / "m.safetensors", LABELS)
    again, _ = from_safetensors(tmp_path / "m.safetensors")
    same(again(messages(), LENGTHS), before)
    kept = set(read_tensors(tmp_path / "m.safetensors")[0]) - set(classifier().gpt.state_dict())
    assert any("after_mlp" in n or "prefix" in n for n in kept) == (strategy in blocks.KEPT)
    to_safetensors(model, tmp_path / "c.safetensors", LABELS, compact=True)
    compact, _ = from_safetensors(tmp_path / "c.safetensors")
    assert (compact(messages(), LENGTHS) - before).abs().max() < 0.1


@pytest.mark.parametrize("strategy", ["adapters", "prefix", "prompt"])
def test_padding_is_never_seen(strategy: str) -> None:
    model = moved(strategy).eval()
    same(model(messages(5), LENGTHS), model(messages(0), LENGTHS))
    alone = torch.cat([model(messages()[i : i + 1, :n], LENGTHS[i : i + 1]) for i, n in enumerate(LENGTHS)])
    same(model(messages(), LENGTHS), alone)


@pytest.mark.parametrize("strategy", ["prefix", "prompt"])
def test_the_last_position_alone_is_the_full_passs(strategy: str) -> None:
    model = moved(strategy)
    every = model.gpt(messages())  # [4, 12, C]
    one = model.gpt(messages(), LENGTHS - 1)
    same(one[:, 0], every[torch.arange(4), LENGTHS - 1])
    with torch.no_grad():
        same(model.gpt(messages()), every.detach())


def test_a_prompt_is_what_its_vectors_would_be_as_tokens() -> None:
    model = moved("prompt", size=3)
    prompt, embedded = model.gpt.prefix, model.gpt.embed(messages())
    found = model.gpt.run(embedded)
    model.gpt.prefix = None
    longer = torch.cat([prompt.vectors.expand(4, -1, -1), embedded], dim=1)  # type: ignore[union-attr, operator]
    same(found, model.gpt.run(longer)[:, 3:])


def test_a_prefix_is_trained_further_and_a_prompt_is_not_put_before_one() -> None:
    model = moved("prefix").eval()
    strategies.settle(model)
    before = model(messages(), LENGTHS).detach()
    with pytest.raises(ConfigError, match="has a prefix already"):
        strategies.begin(model, "prompt")
    strategies.begin(model, "prefix", 9)
    same(model(messages(), LENGTHS), before)


def test_a_damaged_addition_is_named(tmp_path: Path) -> None:
    model = moved("adapters")
    to_safetensors(model, tmp_path / "m.safetensors", LABELS)
    tensors, metadata = read_tensors(tmp_path / "m.safetensors")
    del tensors["h.1.after_mlp.up.bias"]
    write_tensors(tmp_path / "m.safetensors", tensors, metadata)
    with pytest.raises(BadInput, match=r"lacks tensor h\.1\.after_mlp\.up\.bias"):
        from_safetensors(tmp_path / "m.safetensors")


def test_parameters_of_gpt2_small() -> None:
    """By the sizes of the methods: what docs/model.md says of 124M."""
    counts = {}
    for strategy in blocks.ADDED:
        torch.manual_seed(0)
        width, layers = 64, 2
        model = SpamClassifier(
            GPT2(Architecture(vocabulary=300, context=16, width=width, layers=layers, heads=2)), 2
        )
        counts[strategy] = sum(p.numel() for p in strategies.begin(model, strategy, 4))
    beside = 2 * width + 2 * width + 2  # final norm and head
    assert counts["lora"] == beside + layers * 4 * (width + 3 * width + 2 * width)
    assert counts["adapters"] == beside + layers * (2 * (2 * 4 * width + 4 + width) + 4 * width)
    assert counts["prompt"] == beside + 4 * width
    assert counts["prefix"] == beside + 4 * width + 512 * (width + 1) + 513 * layers * 2 * width
