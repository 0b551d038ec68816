"""The blocks' matrices in 8 bits, so that a message's score never depends on its neighbours in a batch.

Rule: every token has a step of its own, computed in the graph from its largest activation; no number is
taken over more than one token, and none is measured beforehand and exceeded later. Channels that dominate
all tokens are evened out first (Xiao et al. 2023, SmoothQuant): their factor moves from the LayerNorm's gain,
or from the value projection, into the matrix, which changes nothing in exact arithmetic.

Weights have one scale an output channel. CPUs without VNNI multiply bytes with vpmaddubsw, which adds two
neighbouring products in 16 bits and saturates; so a column's scale is such that two neighbours of one sign
never sum to more than 128 (255 * 128 < 32,768), and every CPU computes the same integers.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from filterd.backend import SILENT
from filterd.bundle import Architecture
from trainer import graph
from trainer.graph import CONTRIB, Graph, Linear, Weights

INT8_MAX = 127
UINT8_MAX = 255
# Share of an outlier channel that moves into the weights. The paper's 0.5 is for one step over all tokens;
# with a step each, 0.3 has the smallest error (docs/bundle.md).
SMOOTHING = 0.3
MIDDLE = 128  # the byte that stands for 0 where activations have either sign
GELU_MINIMUM = 0.17  # GELU never falls below -0.17
GELU_ZERO = 16  # the byte that stands for 0 after GELU; leaves 239 steps to the positive side
TINY = 1e-8

Floats = NDArray[np.float32]


class Range(NamedTuple):
    """Smallest and largest value seen of each input channel, [in] each."""

    low: Floats
    high: Floats


class Int8(NamedTuple):
    """weight: int8 [in, out]; scale and bias: float32 [out]; after_gelu: its input is a GELU's output."""

    weight: NDArray[np.int8]
    scale: Floats
    bias: Floats
    after_gelu: bool = False

    def write(self, graph: Graph, name: str, x: str) -> str:
        """Quantise row by row, multiply integers, rescale."""
        step, zero = _after_gelu(graph, x) if self.after_gelu else _either_sign(graph, x)
        zeros = graph.op("Expand", zero, graph.op("Shape", step))
        product = graph.op(
            "MatMulIntegerToFloat",
            graph.op("QuantizeLinear", x, step, zeros, axis=0),
            graph.constant(f"{name}.weight", self.weight),
            _float(graph, 1),
            graph.constant(f"{name}.scale", self.scale),
            zero,
            graph.constant("int8.0", np.array(0, np.int8)),
            domain=CONTRIB,
        )
        return graph.op("Mul", product, graph.op("Unsqueeze", step, graph.constant("axis.1", np.array([1]))))


def _either_sign(graph: Graph, rows: str) -> tuple[str, str]:
    """Steps [tokens] that put the largest magnitude at 127, and the byte of 0."""
    high = graph.op("ReduceMax", rows, axes=[1], keepdims=0)
    low = graph.op("Neg", graph.op("ReduceMin", rows, axes=[1], keepdims=0))
    largest = graph.op("Max", high, low, _float(graph, TINY))
    step = graph.op("Mul", largest, _float(graph, 1 / INT8_MAX))
    return step, graph.constant("uint8.middle", np.array(MIDDLE, np.uint8))


def _after_gelu(graph: Graph, rows: str) -> tuple[str, str]:
    """The same where the smallest value is known: nearly all steps go to the positive side."""
    above = UINT8_MAX - GELU_ZERO
    high = graph.op("ReduceMax", rows, axes=[1], keepdims=0)
    largest = graph.op("Max", high, _float(graph, GELU_MINIMUM * above / GELU_ZERO))
    step = graph.op("Mul", largest, _float(graph, 1 / above))
    return step, graph.constant("uint8.gelu", np.array(GELU_ZERO, np.uint8))


def _float(graph: Graph, value: float) -> str:
    return graph.constant(f"float.{value}", np.array(value, np.float32))


def observe(model: Path, names: Sequence[str], messages: Iterable[Sequence[int]]) -> dict[str, Range]:
    """Ranges of each linear's input over some messages. model: written with `taps` (`graph.build`)."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = SILENT
    session: Any = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    seen: dict[str, Range] = {}
    for ids in messages:
        feed = {"ids": np.array([ids], np.int64), "lengths": np.array([len(ids)], np.int64)}
        for name, values in zip(names, session.run(list(names), feed), strict=True):
            rows = values.reshape(-1, values.shape[-1])
            old = seen.get(name, Range(rows[0], rows[0]))
            seen[name] = Range(np.minimum(old.low, rows.min(0)), np.maximum(old.high, rows.max(0)))
    return seen


def int8(
    weights: Weights, architecture: Architecture, ranges: Mapping[str, Range]
) -> tuple[dict[str, NDArray[Any]], dict[str, Linear]]:
    """The weights with outlier channels evened out, and every matrix of the blocks in 8 bits."""
    smoothed = smooth(weights, architecture, ranges)
    linears: dict[str, Linear] = {}
    for name in graph.linear_names(architecture):
        weight, scale = quantize_columns(smoothed[f"{name}.weight"])
        linears[name] = Int8(weight, scale, smoothed[f"{name}.bias"], name.endswith("mlp.c_proj"))
    return smoothed, linears


def smooth(
    weights: Weights, architecture: Architecture, ranges: Mapping[str, Range]
) -> dict[str, NDArray[Any]]:
    """Weights with outlier channels moved from activations into the matrix that follows.

    Exact up to rounding. What follows a GELU stays as it is: no factor passes through one.
    """
    new, width = dict(weights), architecture.width
    for i in range(architecture.layers):
        for norm, linear in ((f"h.{i}.ln_1", f"h.{i}.attn.c_attn"), (f"h.{i}.ln_2", f"h.{i}.mlp.c_fc")):
            if linear not in ranges:  # the last block's, in floats
                continue
            factor = _factor(new[f"{linear}.weight"], ranges[linear])
            for part in ("weight", "bias"):
                new[f"{norm}.{part}"] = new[f"{norm}.{part}"] / factor
            new[f"{linear}.weight"] = new[f"{linear}.weight"] * factor[:, None]
        linear, source = f"h.{i}.attn.c_proj", f"h.{i}.attn.c_attn"
        factor = _factor(new[f"{linear}.weight"], ranges[linear])
        of_values = np.concatenate([np.ones(2 * width, np.float32), factor])  # queries and keys stay
        for part in ("weight", "bias"):
            new[f"{source}.{part}"] = new[f"{source}.{part}"] / of_values
        new[f"{linear}.weight"] = new[f"{linear}.weight"] * factor[:, None]
    return new


def _factor(weight: Floats, seen: Range) -> Floats:
    """[in], of geometric mean 1."""
    activation = np.maximum(np.maximum(np.abs(seen.low), np.abs(seen.high)), TINY)
    largest = np.maximum(np.abs(weight).max(axis=1), TINY)
    logs = SMOOTHING * np.log(activation) - (1 - SMOOTHING) * np.log(largest)
    factor: Floats = np.exp(logs - logs.mean()).astype(np.float32)
    return factor


def quantize_columns(weight: Floats) -> tuple[NDArray[np.int8], Floats]:
    """int8 [in, out] and scales [out] such that no two neighbouring products saturate 16 bits."""
    largest = np.abs(weight).max(axis=0)
    even = weight[: len(weight) // 2 * 2]
    first, second = even[0::2], even[1::2]
    sums = np.where(first * second > 0, np.abs(first + second), 0)
    # Of 127, not 128: rounding may add half a step to each of the two.
    scale = np.maximum(np.maximum(largest, sums.max(axis=0, initial=0)), TINY) / INT8_MAX
    return np.rint(weight / scale).astype(np.int8), scale.astype(np.float32)
