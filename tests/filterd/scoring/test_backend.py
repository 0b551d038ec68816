import builtins
import ctypes
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file

from filterd.errors import BundleError, ModelUnavailable, RuntimeMissing
from filterd.scoring import backend
from filterd.scoring.backend import OnnxBackend, chunks, open_backend
from filterd_trainer.export import graph
from filterd_trainer.gpt2.model import to_safetensors
from tests.trainer import tiny

DRAW = np.random.default_rng(5)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    to_safetensors(tiny.classifier(), folder / "w.safetensors", ("ham", "spam"))
    built = graph.build(load_file(folder / "w.safetensors"), tiny.TINY)
    (folder / "model.onnx").write_bytes(built.SerializeToString())
    return folder / "model.onnx"


@pytest.fixture(scope="module")
def opened(model: Path) -> OnnxBackend:
    return open_backend(model, threads=2)


def rows(*lengths: int) -> list[list[int]]:
    return [DRAW.integers(0, 50257, n).tolist() for n in lengths]


def test_scores_come_in_the_order_given(opened: OnnxBackend) -> None:
    some = rows(5, 60, 1, 33, 2, 64, 7)
    found = opened.score(some)
    assert (found.logits.shape, found.hidden.shape) == ((7, 2), (7, 32))
    assert {found.logits.dtype, found.hidden.dtype} == {np.dtype(np.float32)}
    for i, row in enumerate(some):
        assert np.abs(opened.score([row]).logits[0] - found.logits[i]).max() < 1e-5


def test_many_chunks_score_as_one(opened: OnnxBackend, model: Path) -> None:
    some = rows(*range(1, 65)) * 3
    assert len(list(chunks([len(row) for row in some]))) > 4
    assert np.abs(opened.score(some).logits - open_backend(model, threads=1).score(some).logits).max() < 1e-5


def test_an_empty_message_is_one_padding_token(opened: OnnxBackend) -> None:
    empty, padding = opened.score([[]]).logits, opened.score([[50256]]).logits
    assert (empty == padding).all()


def test_no_message_gives_no_score(opened: OnnxBackend) -> None:
    assert opened.score([]).logits.shape == (0, 2)


def test_it_opens_a_folder_too(model: Path) -> None:
    assert open_backend(model.parent, threads=1).device == "cpu"


@pytest.mark.parametrize(
    "ids", [pytest.param([50257], id="no such token"), pytest.param([1] * 65, id="beyond the context")]
)
def test_what_the_model_cannot_take_is_one_line(opened: OnnxBackend, ids: list[int]) -> None:
    with pytest.raises(ModelUnavailable) as caught:
        opened.score([ids])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [None, b"", b"no model", b"\x08\x09"], ids=repr)
def test_what_is_no_model_is_one_line(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "model.onnx"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(BundleError) as caught:
        open_backend(file)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_runtime_is_named(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name == "onnxruntime":
            raise ImportError(name)
        return original(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(RuntimeMissing, match=r"pip install 'filterd\[cpu\]'"):
        open_backend(model)


def test_the_module_is_light_and_the_runtime_silent(model: Path) -> None:
    program = (
        "import sys, filterd.scoring.backend as b; from pathlib import Path;"
        "assert 'onnxruntime' not in sys.modules;"
        f"b.open_backend(Path({str(model)!r}), threads=1).score([[1, 2]])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")


class Runtime:
    """A runtime built for CUDA on a machine that may have no device."""

    @staticmethod
    def get_available_providers() -> list[str]:
        return [backend.CUDA, backend.CPU]


def test_cuda_needs_a_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_library(name: str) -> None:
        raise OSError(name)

    monkeypatch.setattr(backend, "_runtime", Runtime)
    monkeypatch.setattr(ctypes, "CDLL", no_library)
    assert not backend._has_cuda()


@pytest.mark.parametrize(("devices", "found"), [(0, False), (2, True)])
def test_cuda_needs_a_device(monkeypatch: pytest.MonkeyPatch, devices: int, found: bool) -> None:
    class Driver:
        @staticmethod
        def cuInit(flags: int) -> int:  # noqa: N802 — CUDA's name
            return flags

        @staticmethod
        def cuDeviceGetCount(pointer: Any) -> int:  # noqa: N802
            pointer._obj.value = devices
            return 0

    monkeypatch.setattr(backend, "_runtime", Runtime)
    monkeypatch.setattr(ctypes, "CDLL", lambda name: Driver)
    assert backend._has_cuda() is found


@given(st.lists(st.integers(1, 700), max_size=80))
def test_chunks_hold_every_message_once_within_their_budget(lengths: list[int]) -> None:
    found = list(chunks(lengths))
    assert sorted(i for chunk in found for i in chunk) == list(range(len(lengths)))
    for chunk in found:
        assert len(chunk) == 1 or len(chunk) * max(lengths[i] for i in chunk) <= backend.TOKENS_PER_CHUNK
