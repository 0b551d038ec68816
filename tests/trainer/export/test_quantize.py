from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import load_file

from filterd.scoring.backend import OnnxBackend, open_backend
from filterd_trainer.export import files, graph, quantize
from filterd_trainer.export.graph import Graph, Matrix
from filterd_trainer.export.quantize import DynamicInt8, InputRange, StaticInt8
from filterd_trainer.training.runs import read_config
from tests.trainer import tiny

DRAW = np.random.default_rng(3)


def multiply(linear: Matrix, x: np.ndarray) -> np.ndarray:
    """One matrix by ONNX Runtime."""
    built = Graph({})
    y = built.linear("m", "x", {"m": linear})
    constants = list(built._constants.values())
    shape = ["B", *x.shape[1:]]
    model = helper.make_model(
        helper.make_graph(
            built.nodes,
            "g",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info(y, TensorProto.FLOAT, None)],
            initializer=constants,
        ),
        opset_imports=[helper.make_opsetid("", graph.OPSET), helper.make_opsetid(graph.CONTRIB, 1)],
        ir_version=graph.IR_VERSION,
    )
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"x": x})[0])


@given(st.integers(1, 9), st.integers(0, 1000))
def test_neighbouring_products_never_leave_sixteen_bits(rows: int, seed: int) -> None:
    weight = np.random.default_rng(seed).standard_normal((rows, 4)).astype(np.float32)
    q, scale = quantize.quantize_columns(weight)
    pairs = q[: rows // 2 * 2].astype(int).reshape(-1, 2, 4)
    highest = 255 * np.maximum(pairs, 0).sum(axis=1)
    lowest = 255 * np.minimum(pairs, 0).sum(axis=1)
    assert highest.max(initial=0) <= 32767
    assert lowest.min(initial=0) >= -32768
    assert np.abs(q * scale - weight).max() <= 0.5001 * scale.max()


def test_the_worst_weights_multiply_exactly() -> None:
    """On a CPU with vpmaddubsw alone, 255 * (127 + 127) would saturate; ours may not."""
    weight = np.tile(np.array([[64], [64], [127], [1], [-64], [-64], [127], [-127]], np.int8), (8, 48))
    linear = DynamicInt8(weight, np.ones(48, np.float32), np.zeros(48, np.float32))
    x = DRAW.integers(100, 128, (33, len(weight))).astype(np.float32)
    x[:, 0] = 127  # so that the step is 1 and the bytes go up to 255
    assert (multiply(linear, x) == x @ weight.astype(np.float32)).all()


@pytest.mark.parametrize("after_gelu", [False, True])
def test_each_token_has_a_step_of_its_own(after_gelu: bool) -> None:
    weight, scale = quantize.quantize_columns(DRAW.standard_normal((64, 16)).astype(np.float32))
    bias = DRAW.standard_normal(16).astype(np.float32)
    linear = DynamicInt8(weight, scale, bias, after_gelu)
    x = DRAW.standard_normal((6, 64)).astype(np.float32)
    x = np.abs(x) - np.float32(0.17) if after_gelu else x
    x[0, 0] = 1000  # an outlier, in one token
    got, expected = multiply(linear, x), x @ (weight * scale) + bias
    assert got.shape == (6, 16)
    assert (multiply(linear, x[1:]) == got[1:]).all()
    error = np.abs(got - expected).max(axis=-1) / np.abs(expected).max(axis=-1)
    assert error.max() < 0.02


def test_one_step_for_tokens_of_one_size() -> None:
    weight, scale = quantize.quantize_columns(DRAW.standard_normal((64, 16)).astype(np.float32))
    bias = DRAW.standard_normal(16).astype(np.float32)
    linear = StaticInt8(weight, scale, bias, 4 / quantize.INT8_MAX)
    x = np.clip(DRAW.standard_normal((6, 64)), -4, 4).astype(np.float32)
    got, expected = multiply(linear, x), x @ (weight * scale) + bias
    assert (multiply(linear, x[1:]) == got[1:]).all()
    assert np.abs(got - expected).max() < 0.02 * np.abs(expected).max()
    cut_off = multiply(linear, 1000 * x)
    assert np.allclose(cut_off, multiply(linear, np.where(x < 0, -9, 9).astype(np.float32)), rtol=0.01)


def test_uneven_tokens_keep_a_step_each(tmp_path: Path) -> None:
    """As larger models' first token is, at a hundred times the others."""
    tiny.run(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    names = graph.linear_names(tiny.TINY)
    shape = {name: weights[f"{name}.weight"].shape[0] for name in names}
    usual = {name: DRAW.standard_normal((40, k)).astype(np.float32) for name, k in shape.items()}
    ranges = {name: InputRange(low=x[0], high=x[0], rows=x[:0]).wider(x) for name, x in usual.items()}
    uneven = "h.0.mlp.c_fc"
    ranges[uneven] = ranges[uneven].wider(100 * usual[uneven][:1])
    linears = quantize.int8(weights, tiny.TINY, ranges)[1]
    assert [name for name in names if isinstance(linears[name], DynamicInt8)] == [
        name for name in names if name == uneven or name.endswith("mlp.c_proj")
    ]


@pytest.mark.parametrize("after_gelu", [False, True])
@pytest.mark.parametrize("size", [0.0, 1e-30, 1e6], ids=str)
def test_no_activation_is_too_small_or_too_large(after_gelu: bool, size: float) -> None:
    linear = DynamicInt8(
        np.eye(4, dtype=np.int8), np.ones(4, np.float32), np.zeros(4, np.float32), after_gelu
    )
    x = np.array([[size, size / 2, 0.0, 0.0]], np.float32)
    assert np.abs(multiply(linear, x) - x).max() <= 0.01 * max(size, 0.02 if after_gelu else 1e-6)


def test_smoothing_changes_no_result(tmp_path: Path) -> None:
    config = read_config(tiny.run(tmp_path / "run"))
    weights = files.write_floats(tiny.classifier(), config, tmp_path)
    ids = tiny.encode(tiny.texts(12, 5)[0])
    names = graph.linear_names(tiny.TINY)
    ranges = quantize.observe(tmp_path / files.WATCHED, names, ids)
    smoothed, _ = quantize.smooth(weights, tiny.TINY, ranges)
    gain = "h.0.ln_2.weight"  # two of its channels are outliers
    assert np.ptp(np.log(np.abs(smoothed[gain]))) < np.ptp(np.log(np.abs(weights[gain]))) / 1.2
    (tmp_path / "smooth").mkdir()
    (tmp_path / "smooth" / "model.onnx").write_bytes(graph.build(smoothed, tiny.TINY).SerializeToString())
    plain, evened = (open_backend(folder, threads=1) for folder in (tmp_path, tmp_path / "smooth"))
    assert np.abs(plain.score(ids).logits - evened.score(ids).logits).max() < 1e-4


@pytest.fixture(scope="module")
def quantized(tmp_path_factory: pytest.TempPathFactory) -> tuple[OnnxBackend, OnnxBackend]:
    """The tiny classifier in floats and in 8 bits."""
    folder = tmp_path_factory.mktemp("q")
    config = read_config(tiny.run(folder / "run"))
    weights = files.write_floats(tiny.classifier(), config, folder)
    ids = tiny.encode(tiny.texts(64, 6)[0])
    ranges = quantize.observe(folder / files.WATCHED, graph.linear_names(tiny.TINY), ids)
    smoothed, linears = quantize.int8(weights, tiny.TINY, ranges)
    (folder / "int8").mkdir()
    built = graph.build(smoothed, tiny.TINY, linears)
    (folder / "int8" / "model.onnx").write_bytes(built.SerializeToString())
    return open_backend(folder, threads=1), open_backend(folder / "int8", threads=1)


def test_eight_bits_keep_the_logits(quantized: tuple[OnnxBackend, OnnxBackend]) -> None:
    floats, int8 = quantized
    ids = tiny.encode(tiny.texts(60, 8)[0])
    expected = floats.score(ids).logits
    assert np.abs(int8.score(ids).logits - expected).max() < 0.1 * np.ptp(expected)


def test_a_score_does_not_depend_on_neighbours(quantized: tuple[OnnxBackend, OnnxBackend]) -> None:
    ids = [DRAW.integers(0, 50257, n).tolist() for n in (1, 3, 9, 20, 33, 64)]
    alone = np.concatenate([quantized[1].score([row]).logits for row in ids])
    assert np.abs(quantized[1].score(ids).logits - alone).max() < 1e-5
    assert np.abs(quantized[1].score(ids[::-1]).logits[::-1] - alone).max() < 1e-5


def test_the_matrices_of_the_blocks_are_all_integers(tmp_path: Path) -> None:
    tiny.run(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    shape = {name: weights[f"{name}.weight"].shape[0] for name in graph.linear_names(tiny.TINY)}
    ones = {name: np.ones(k, np.float32) for name, k in shape.items()}
    ranges = {name: InputRange(low=-one, high=one, rows=one[None]) for name, one in ones.items()}
    smoothed, linears = quantize.int8(weights, tiny.TINY, ranges)
    model: onnx.ModelProto = graph.build(smoothed, tiny.TINY, linears)
    arrays = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    assert {arrays[f"{name}.weight"].dtype for name in shape} == {np.dtype(np.int8)}
