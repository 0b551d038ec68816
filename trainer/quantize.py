"""The blocks' matrices in 8 bits, so that a message's score never depends on its neighbours in a batch.

Rule: no scale is computed over more than one token. After a LayerNorm and after attention the activations'
range is measured once on training messages and is a constant of the graph; after GELU, where single tokens
reach far beyond the rest, each token has a scale of its own. Channels that dominate a range are evened out
before (Xiao et al. 2023, SmoothQuant): their factor moves from the LayerNorm's gain, or from the value
projection, into the matrix, which changes nothing in exact arithmetic.

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
SMOOTHING = 0.5  # share of an outlier channel that moves into the weights; the paper's
HEADROOM = 1.1  # of a measured range: training messages are a sample
GELU_MINIMUM = 0.17  # GELU never falls below -0.17
GELU_ZERO = 16  # the byte that stands for 0 after GELU; leaves 239 steps to the positive side
TINY = 1e-8

Floats = NDArray[np.float32]


class Range(NamedTuple):
    """Smallest and largest value seen of each input channel, [in] each."""

    low: Floats
    high: Floats


class Int8(NamedTuple):
    """weight: int8 [in, out]; scale: float32 [out]; its input's bytes are value / step + zero."""

    weight: NDArray[np.int8]
    scale: Floats
    bias: Floats
    step: float
    zero: int

    def write(self, graph: Graph, name: str, x: str) -> str:
        """Quantise by constants; the product is rescaled and the bias added in one node."""
        step = graph.constant(f"{name}.step", np.array(self.step, np.float32))
        zero = graph.constant(f"uint8.{self.zero}", np.array(self.zero, np.uint8))
        quantized = graph.op("QuantizeLinear", x, step, zero)
        bias = graph.constant(f"{name}.bias", self.bias)
        return graph.op(
            "MatMulIntegerToFloat", *_operands(graph, name, self, quantized, step, zero), bias, domain=CONTRIB
        )


class Int8AfterGelu(NamedTuple):
    """The same with a step for each token, from its largest activation."""

    weight: NDArray[np.int8]
    scale: Floats
    bias: Floats

    def write(self, graph: Graph, name: str, x: str) -> str:
        """Quantise row by row; rows are rescaled after the product."""
        inputs, outputs = self.weight.shape
        rows = graph.op("Reshape", x, graph.constant(f"rows.{inputs}", np.array([-1, inputs])))
        largest = graph.op("ReduceMax", rows, axes=[1], keepdims=0)
        least = np.array(GELU_MINIMUM * (UINT8_MAX - GELU_ZERO) / GELU_ZERO, np.float32)
        part = graph.constant("gelu.part", np.array(1 / (UINT8_MAX - GELU_ZERO), np.float32))
        step = graph.op("Mul", graph.op("Max", largest, graph.constant("gelu.least", least)), part)
        zero = graph.constant("gelu.zero", np.array(GELU_ZERO, np.uint8))
        zeros = graph.op("Expand", zero, graph.op("Shape", step))
        quantized = graph.op("QuantizeLinear", rows, step, zeros, axis=0)
        one = graph.constant("float.1", np.array(1, np.float32))
        product = graph.op(
            "MatMulIntegerToFloat", *_operands(graph, name, self, quantized, one, zero), domain=CONTRIB
        )
        steps = graph.op("Unsqueeze", step, graph.constant("axis.1", np.array([1])))
        y = graph.op("Add", graph.op("Mul", product, steps), graph.constant(f"{name}.bias", self.bias))
        width = graph.constant(f"width.{outputs}", np.array([outputs]))
        return graph.op("Reshape", y, graph.op("Concat", graph.op("Shape", x, end=-1), width, axis=0))


def _operands(
    graph: Graph, name: str, of: Int8 | Int8AfterGelu, quantized: str, step: str, zero: str
) -> tuple[str, ...]:
    weight = graph.constant(f"{name}.weight", of.weight)
    scale = graph.constant(f"{name}.scale", of.scale)
    return quantized, weight, step, scale, zero, graph.constant("int8.0", np.array(0, np.int8))


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
    smoothed, factors = smooth(weights, architecture, ranges)
    linears: dict[str, Linear] = {}
    for name in graph.linear_names(architecture):
        weight, scale = quantize_columns(smoothed[f"{name}.weight"])
        bias = smoothed[f"{name}.bias"]
        if name not in factors:
            linears[name] = Int8AfterGelu(weight, scale, bias)
        else:
            low, high = (float(f) for f in _extremes(ranges[name], factors[name]))
            step = max(HEADROOM * (high - low) / UINT8_MAX, TINY)
            zero = round(np.clip(-HEADROOM * low / step, 0, UINT8_MAX))
            linears[name] = Int8(weight, scale, bias, step, zero)
    return smoothed, linears


def _extremes(seen: Range, factor: Floats) -> tuple[float, float]:
    """Of the smoothed activations; 0 lies between them."""
    return min(0.0, float((seen.low / factor).min())), max(0.0, float((seen.high / factor).max()))


def smooth(
    weights: Weights, architecture: Architecture, ranges: Mapping[str, Range]
) -> tuple[dict[str, NDArray[Any]], dict[str, Floats]]:
    """Move outlier channels from activations into the matrices that follow; exact up to rounding.

    Returns new weights and, by linear, what its input's channels were divided by. Inputs after GELU are
    not among them: no scale passes through GELU.
    """
    new, factors, width = dict(weights), {}, architecture.width
    for i in range(architecture.layers):
        for norm, linear in ((f"h.{i}.ln_1", f"h.{i}.attn.c_attn"), (f"h.{i}.ln_2", f"h.{i}.mlp.c_fc")):
            factor = factors[linear] = _factor(new[f"{linear}.weight"], ranges[linear])
            for part in ("weight", "bias"):
                new[f"{norm}.{part}"] = new[f"{norm}.{part}"] / factor
            new[f"{linear}.weight"] = new[f"{linear}.weight"] * factor[:, None]
        linear, source = f"h.{i}.attn.c_proj", f"h.{i}.attn.c_attn"
        factor = factors[linear] = _factor(new[f"{linear}.weight"], ranges[linear])
        of_values = np.concatenate([np.ones(2 * width, np.float32), factor])  # queries and keys stay
        for part in ("weight", "bias"):
            new[f"{source}.{part}"] = new[f"{source}.{part}"] / of_values
        new[f"{linear}.weight"] = new[f"{linear}.weight"] * factor[:, None]
    return new, factors


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
