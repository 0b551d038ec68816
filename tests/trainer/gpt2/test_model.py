"""The properties that training, caching and serving build on, each at a size that takes milliseconds."""

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from filterd.errors import BadInput, ConfigError, NotFound
from filterd.scoring.bundle import Architecture
from filterd_trainer.gpt2 import blocks
from filterd_trainer.gpt2.checkpoint import write_tensors
from filterd_trainer.gpt2.model import (
    GPT2,
    PRESETS,
    Position,
    SpamClassifier,
    at,
    from_safetensors,
    read_tensors,
    to_safetensors,
)
from filterd_trainer.gpt2.strategies import begin
from tests.trainer.gpt2.small import LABELS, LENGTHS, SMALL, classifier, messages

TOLERANCE = 2e-6  # float32, logits of size 1


def full_pass(model: SpamClassifier, ids: Tensor, last: Tensor) -> Tensor:
    """The classifier as the lecture writes it: everything computed, then one position read."""
    hidden = model.gpt(ids)
    return model.head(hidden[torch.arange(len(ids)), last])  # type: ignore[no-any-return]


def gradients(model: SpamClassifier, logits: Tensor) -> dict[str, Tensor]:
    model.zero_grad()
    cross_entropy(logits, torch.tensor([0, 1, 2, 1])).backward()  # type: ignore[no-untyped-call]
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def assert_same_gradients(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert one.keys() == other.keys()
    for name, gradient in one.items():
        rounding = TOLERANCE * max(1.0, float(other[name].abs().max()))  # sums of terms of that size
        torch.testing.assert_close(gradient, other[name], atol=rounding, rtol=1e-4, msg=name)
    assert max(float(g.abs().max()) for g in one.values()) > 1e-3


@pytest.mark.parametrize("pad", [0, 13, 96])
def test_padding_and_neighbours_do_not_matter(pad: int) -> None:
    model, ids = classifier(), messages(pad)
    together = model(ids, LENGTHS)
    for row, length, expected in zip(ids, LENGTHS, together, strict=True):
        alone = model(row[None, :length], length[None])[0]
        torch.testing.assert_close(alone, expected, atol=TOLERANCE, rtol=0)
    reverse = model(ids.flip(0), LENGTHS.flip(0)).flip(0)
    torch.testing.assert_close(reverse, together, atol=TOLERANCE, rtol=0)


def test_the_lectures_position_does_depend_on_padding() -> None:
    model = classifier()
    one, other = (model(messages(pad), LENGTHS, position="last_padded") for pad in (0, 13))
    assert float((one - other)[1:].detach().abs().max()) > 1e-2
    torch.testing.assert_close(one[0], other[0], atol=TOLERANCE, rtol=0)  # message 0 has no padding


@pytest.mark.parametrize("position", ["last_real", "last_padded"])
def test_last_position_only_equals_the_full_pass(position: Position) -> None:
    model, ids = classifier(), messages()
    last = LENGTHS - 1 if position == "last_real" else torch.full((4,), 11)
    full, short = full_pass(model, ids, last), model(ids, LENGTHS, position=position)
    torch.testing.assert_close(short, full, atol=TOLERANCE, rtol=0)
    assert_same_gradients(
        gradients(model, model(ids, LENGTHS, position=position)),
        gradients(model, full_pass(model, ids, last)),
    )


@pytest.mark.parametrize("strategy", ["all", "last_two_blocks", "last_block", "head"])
def test_suffix_from_a_cache_equals_the_full_pass(strategy: str) -> None:
    model, ids = classifier(), messages()
    begin(model, strategy)
    first = blocks.frozen(strategy, SMALL.layers)
    with torch.set_grad_enabled(strategy == "all"):
        cached = model.gpt.run(model.gpt.embed(ids), stop=first)
    full, short = full_pass(model, ids, LENGTHS - 1), model.suffix(cached, LENGTHS, first)
    torch.testing.assert_close(short, full, atol=TOLERANCE, rtol=0)
    assert_same_gradients(gradients(model, short), gradients(model, full))


def test_with_all_blocks_frozen_one_position_is_cache_enough() -> None:
    model, ids = classifier(), messages()
    cached = at(model.gpt.run(model.gpt.embed(ids)), LENGTHS - 1)
    short = model.suffix(cached, torch.ones_like(LENGTHS), SMALL.layers)
    torch.testing.assert_close(short, model(ids, LENGTHS), atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize(
    ("preset", "parameters"),
    [
        pytest.param("gpt2", 124_439_808, id="124M"),
        pytest.param("gpt2-medium", 354_823_168, id="355M"),
        pytest.param("gpt2-large", 774_030_080, id="774M"),
        pytest.param("gpt2-xl", 1_557_611_200, id="1558M"),
        pytest.param("filterd-mini", 17_670_400, id="mini"),
    ],
)
def test_presets_have_openais_sizes(preset: str, parameters: int) -> None:
    with torch.device("meta"):
        gpt = GPT2(PRESETS[preset])
    assert sum(p.numel() for p in gpt.parameters()) == parameters


@pytest.mark.parametrize(
    ("strategy", "parameters"),
    [
        ("head", 1_538),
        ("last_block", 7_087_872 + 1_536 + 1_538),  # the lecture: last block, final norm, head
        ("last_two_blocks", 2 * 7_087_872 + 1_536 + 1_538),
        ("all", 124_439_808 + 1_538),
    ],
)
def test_freezing_gpt2_small(strategy: str, parameters: int) -> None:
    with torch.device("meta"):
        model = SpamClassifier(GPT2(PRESETS["gpt2"]), 2)
    trained = begin(model, strategy)
    assert sum(p.numel() for p in trained) == parameters
    assert [p for p in model.parameters() if p.requires_grad] == trained


def test_freezing_again_replaces_the_choice() -> None:
    model = classifier()
    begin(model, "head")
    assert len(begin(model, "all")) == len(list(model.parameters()))


@pytest.mark.parametrize(
    ("strategy", "layers", "first"),
    [
        ("head", 12, 12),
        ("last_block", 12, 11),
        ("last_two_blocks", 12, 10),
        ("last_two_blocks", 1, 0),
        ("all", 12, 0),
    ],
)
def test_frozen_blocks(strategy: str, layers: int, first: int) -> None:
    assert blocks.frozen(strategy, layers) == first


def test_unknown_strategy_is_one_line() -> None:
    with pytest.raises(ConfigError, match="'half' is unknown; choose one of head, last_block"):
        begin(classifier(), "half")


def test_the_seed_decides_every_weight() -> None:
    one, same, other = (classifier(seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(tensor, same[name]) for name, tensor in one.items())
    assert not torch.equal(one["gpt.wte.weight"], other["gpt.wte.weight"])


def test_weights_are_drawn_as_gpt2s_were() -> None:
    torch.manual_seed(0)
    state = GPT2(Architecture(vocabulary=512, context=64, width=128, layers=8, heads=4)).state_dict()
    assert float(state["h.7.attn.c_attn.weight"].std()) == pytest.approx(0.02, rel=0.02)
    assert float(state["h.7.mlp.c_proj.weight"].std()) == pytest.approx(0.02 / 16**0.5, rel=0.02)
    assert float(state["h.0.mlp.c_fc.bias"].abs().max()) == 0.0
    assert float(state["ln_f.weight"].min()) == 1.0


def test_dropout_acts_in_training_only() -> None:
    model, ids = classifier(dropout=0.5), messages()
    assert not torch.equal(model(ids, LENGTHS), model(ids, LENGTHS))
    model.eval()
    assert torch.equal(model(ids, LENGTHS), model(ids, LENGTHS))


def test_greedy_generation_takes_the_best_token_each_time() -> None:
    gpt = classifier().gpt
    written = gpt.generate(messages()[:1, :5], 30)  # beyond the context of 24
    assert written.shape == (1, 35)
    for end in range(5, 35):
        seen = written[:, max(0, end - SMALL.context) : end]
        assert written[0, end] == gpt.logits(gpt(seen))[0, -1].argmax()


def test_sampling_is_seeded_and_stays_within_top_k() -> None:
    gpt, ids = classifier().gpt, messages()[:, :1]

    def sample(seed: int, top_k: int) -> Tensor:
        return gpt.generate(ids, 20, 1.5, top_k, torch.Generator().manual_seed(seed))

    assert torch.equal(sample(1, 0), sample(1, 0))
    assert not torch.equal(sample(1, 0), sample(2, 0))
    assert torch.equal(sample(1, 1), gpt.generate(ids, 20))


def test_a_file_gives_the_same_model_back(tmp_path: Path) -> None:
    model, file = classifier(), tmp_path / "model.safetensors"
    to_safetensors(model, file, LABELS)
    loaded, labels = from_safetensors(file)
    assert labels == LABELS
    assert loaded.gpt.architecture == SMALL
    assert all(torch.equal(tensor, loaded.state_dict()[name]) for name, tensor in model.state_dict().items())
    assert read_tensors(file)[0]["h.0.attn.c_attn.weight"].shape == (32, 96)  # [in, out], as the hub has it


def test_a_compact_file_is_small_and_close(tmp_path: Path) -> None:
    model, file, large = classifier(), tmp_path / "model.safetensors", tmp_path / "large.safetensors"
    with torch.no_grad():
        model.gpt.wte.weight[3].mul_(40)  # one loud row must not cost the others their precision
        model.gpt.wte.weight[4].zero_()
    to_safetensors(model, file, LABELS, compact=True)
    to_safetensors(model, large, LABELS)
    stored = read_tensors(file)[0]
    assert stored["wte.weight"].dtype == torch.int8
    assert stored["wte.scale"].shape == (97, 1)
    assert stored["h.0.mlp.c_fc.weight"].dtype == torch.float16
    assert file.stat().st_size < 0.6 * large.stat().st_size
    loaded, _ = from_safetensors(file)
    assert {p.dtype for p in loaded.parameters()} == {torch.float32}
    table, error = model.gpt.wte.weight, (model.gpt.wte.weight - loaded.gpt.wte.weight).abs()
    assert bool((error <= table.abs().amax(dim=1, keepdim=True) / 127 / 2 * 1.001).all())
    torch.testing.assert_close(loaded.gpt.wpe.weight, model.gpt.wpe.weight, atol=0, rtol=2**-10)


def test_loading_a_compact_file_and_writing_it_again_changes_nothing(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    to_safetensors(classifier(), first, LABELS, compact=True)
    to_safetensors(from_safetensors(first)[0], second, LABELS, compact=True)
    one, other = read_tensors(first)[0], read_tensors(second)[0]
    assert torch.equal(one.pop("wte.weight"), other.pop("wte.weight"))
    for name, tensor in one.items():
        torch.testing.assert_close(tensor, other[name], atol=0, rtol=1e-6)


def damaged(tmp_path: Path, name: str, value: Tensor | None, compact: bool = False) -> Path:
    file = tmp_path / "model.safetensors"
    to_safetensors(classifier(), file, LABELS, compact=compact)
    tensors, metadata = read_tensors(file)
    tensors.pop(name, None)
    if value is not None:
        tensors[name] = value
    write_tensors(file, tensors, metadata)
    return file


@pytest.mark.parametrize(
    ("name", "value", "compact", "complaint"),
    [
        pytest.param("h.1.mlp.c_fc.weight", None, False, "lacks tensor h.1.mlp.c_fc.weight", id="missing"),
        pytest.param(
            "wpe.weight", torch.zeros(25, 32), False, r"wpe.weight is of shape \(25, 32\)", id="shape"
        ),
        pytest.param("h.3.ln_1.bias", torch.zeros(32), False, "holds a tensor h.3.ln_1.bias", id="extra"),
        pytest.param("h.1.after_attn.down.weight", torch.zeros(()), False, "h.1.after_", id="no matrix"),
        pytest.param("prefix.states", torch.zeros(()), False, "prefix.states", id="no prefix"),
        pytest.param("head.bias", None, False, "lacks tensor head.bias", id="no head"),
        pytest.param("head.weight", torch.zeros(2, 32), False, r"needs \(3, 32\)", id="other classes"),
        pytest.param("head.gain", torch.zeros(1), False, "holds a tensor head.gain", id="extra in head"),
        pytest.param("wte.scale", None, True, "wte.weight holds integers", id="int8 without scale"),
        pytest.param("wte.scale", torch.ones(1, 32), True, "wte.scale is of shape", id="scale of columns"),
        pytest.param("wte.weight", None, True, "lacks tensor wte.weight", id="scale alone"),
    ],
)
def test_a_wrong_tensor_is_named(
    tmp_path: Path, name: str, value: Tensor | None, compact: bool, complaint: str
) -> None:
    with pytest.raises(BadInput, match=complaint):
        from_safetensors(damaged(tmp_path, name, value, compact))


@pytest.mark.parametrize(
    "metadata",
    [
        pytest.param({}, id="none"),
        pytest.param({"architecture": "{}", "labels": '["a", "b"]'}, id="no sizes"),
        pytest.param({"architecture": "no JSON", "labels": "[]"}, id="no JSON"),
    ],
)
def test_a_foreign_header_is_refused(tmp_path: Path, metadata: dict[str, str]) -> None:
    write_tensors(tmp_path / "model.safetensors", {"a": torch.zeros(1)}, metadata)
    with pytest.raises(BadInput, match="not a classifier's"):
        from_safetensors(tmp_path / "model.safetensors")


def test_unreadable_files_are_one_line(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    with pytest.raises(NotFound, match="cannot be read"):
        from_safetensors(file)
    to_safetensors(classifier(), file, LABELS)
    whole = file.read_bytes()
    for content in (b"", whole[:7], whole[: len(whole) // 2], b"\xff" * 64):
        file.write_bytes(content)
        with pytest.raises(BadInput, match="not a whole safetensors file"):
            from_safetensors(file)


def test_an_exit_does_not_change_the_whole_model(tmp_path: Path) -> None:
    model = classifier().eval()
    plain = model(messages(), LENGTHS)
    model.add_exit(2)
    assert model.exit is not None
    with torch.no_grad():
        model.exit.head.weight.normal_()
    early, whole = model.both(messages(), LENGTHS)
    torch.testing.assert_close(whole, plain, atol=TOLERANCE, rtol=0)
    alone = model.both(messages()[:1, :12], LENGTHS[:1])[0]
    torch.testing.assert_close(alone, early[:1], atol=TOLERANCE, rtol=1e-5)
    to_safetensors(model, tmp_path / "model.safetensors", LABELS)
    back, _ = from_safetensors(tmp_path / "model.safetensors")
    torch.testing.assert_close(back.both(messages(), LENGTHS)[0], early)


@pytest.mark.parametrize("after", [0, 3, -1])
def test_an_exit_has_blocks_before_and_behind(after: int) -> None:
    with pytest.raises(ConfigError, match="name fewer"):
        classifier().add_exit(after)
