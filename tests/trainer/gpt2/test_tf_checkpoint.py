"""OpenAI's checkpoint format, from files that TensorFlow itself wrote (openai/make.py), and damaged ones."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from filterd.errors import BadInput, FilterdError, NotFound
from filterd.scoring.bundle import Architecture
from filterd_trainer.gpt2 import tf_checkpoint, weights

FOLDER = Path(__file__).parent / "openai"
WIDTH, CONTEXT, VOCABULARY, LAYERS = 8, 16, 97, 2


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(FOLDER, tmp_path / "124M"))


def test_every_tensor_is_what_tensorflow_wrote() -> None:
    architecture, tensors = tf_checkpoint.read(FOLDER)
    assert architecture == Architecture(
        vocabulary=VOCABULARY, context=CONTEXT, width=WIDTH, layers=LAYERS, heads=2
    )
    assert len(tensors) == 2 + 2 + 12 * LAYERS
    shapes = {
        "wte.weight": (VOCABULARY, WIDTH),
        "wpe.weight": (CONTEXT, WIDTH),
        "ln_f.bias": (WIDTH,),
        "h.1.attn.c_attn.weight": (WIDTH, 3 * WIDTH),
        "h.0.mlp.c_proj.weight": (4 * WIDTH, WIDTH),
    }
    for name, shape in shapes.items():
        assert tuple(tensors[name].shape) == shape
    for name, tensor in tensors.items():  # make.py: each tensor counts up from a number of its own
        flat = tensor.flatten()
        step = flat[1:] - flat[:-1]
        assert torch.allclose(step, torch.full_like(step, 2.0**-10)), name
    starts = sorted(float(tensor.flatten()[0]) for tensor in tensors.values())
    assert starts == [float(i) for i in range(len(tensors))]


def test_it_is_a_base_like_any_other(folder: Path) -> None:
    gpt = weights.load(folder)
    assert gpt.architecture.layers == LAYERS
    said = weights.describe(folder)
    assert "hashes match" in said and "unknown hash" in said
    data = folder / tf_checkpoint.DATA
    data.write_bytes(data.read_bytes()[:-1] + b"?")
    with pytest.raises(FilterdError, match="does not match its hash"):
        weights.load(folder)


@pytest.mark.parametrize("name", tf_checkpoint.FILES)
def test_a_missing_file_is_named(name: str, folder: Path) -> None:
    (folder / name).unlink()
    with pytest.raises(NotFound, match=name.replace(".", "\\.")):
        tf_checkpoint.read(folder)


def test_a_short_data_file(folder: Path) -> None:
    data = folder / tf_checkpoint.DATA
    data.write_bytes(data.read_bytes()[:100])
    with pytest.raises(BadInput, match="beyond the end"):
        tf_checkpoint.read(folder)


INDEX = (FOLDER / tf_checkpoint.INDEX).read_bytes()


@given(at=st.integers(0, len(INDEX) - 1), byte=st.integers(0, 255), cut=st.integers(0, len(INDEX)))
def test_a_damaged_index_is_an_error_and_no_crash(at: int, byte: int, cut: int) -> None:
    damaged = (INDEX[:at] + bytes([byte]) + INDEX[at + 1 :])[: cut or None]
    try:
        for _, entry in tf_checkpoint._entries(damaged):
            assert len(entry.shape) <= tf_checkpoint.MAX_DIMENSIONS
    except (ValueError, IndexError):
        pass


def test_pytorchs_file_is_read_and_nothing_in_it_runs(tmp_path: Path) -> None:
    gpt = weights.load(FOLDER)
    weights.save(gpt, tmp_path / "hub", "a test")
    (tmp_path / "hub" / weights.HASHES).unlink()
    state = {f"transformer.{name}": t for name, t in tf_checkpoint.read(FOLDER)[1].items()}
    (tmp_path / "hub" / "model.safetensors").unlink()
    torch.save(state, tmp_path / "hub" / weights.PICKLED)
    assert torch.equal(weights.load(tmp_path / "hub").wte.weight, gpt.wte.weight)
    torch.save({"a": np.arange(3)}, tmp_path / "hub" / weights.PICKLED)
    with pytest.raises(BadInput, match="pytorch_model"):
        weights.load(tmp_path / "hub")


@pytest.mark.parametrize(
    ("said", "size"),
    [
        ("124M", "gpt2"),
        ("gpt2-small", "gpt2"),
        ("GPT2", "gpt2"),
        ("1558M", "gpt2-xl"),
    ],
)
def test_sizes_have_many_names(said: str, size: str) -> None:
    assert weights.called(said) == size


def test_another_name_stays() -> None:
    assert weights.called("my-model") == "my-model"
