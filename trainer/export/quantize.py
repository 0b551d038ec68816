"""The blocks' matrices in 8 bits, so that a message's score never depends on its neighbours in a batch.

Rule: no number is taken over more than one token of a call. What a LayerNorm or the attention puts out has
much the same size for every token, so its step is a constant, measured on training messages; what lies
beyond is cut off. A GELU's output, and whatever is too uneven for that (`EVEN`), has a step a token, computed
in the graph from its largest activation. Channels that dominate all tokens are evened out first (Xiao et al.
2023, SmoothQuant): their factor moves from the LayerNorm's gain, or from the value projection, into the
matrix, which changes nothing in exact arithmetic.

Weights have one scale an output channel. CPUs without VNNI multiply bytes with vpmaddubsw, which adds two
neighbouring products in 16 bits and saturates; so a column's scale is such that two neighbours of one sign
never sum to more than 128 (255 * 128 < 32,768), and every CPU computes the same integers.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from filterd.scoring.backend import SILENT
from filterd.scoring.bundle import Architecture
from filterd_trainer.export import graph
from filterd_trainer.export.graph import CONTRIB, Graph, Matrix, Weights

INT8_MAX = 127
UINT8_MAX = 255
SMOOTHING = 0.5  # share of an outlier channel that moves into the weights; the paper's, and measured best
# Times the usual token's largest activation that the largest of all may be for a constant step: 2 of 8 bits.
EVEN = 4.0
ROWS = 512  # tokens of each linear's input that are kept to say what is usual
ROWS_A_MESSAGE = 4  # its first, its last and two between: first tokens are outliers in larger models
MIDDLE = 128  # the byte that stands for 0 where activations have either sign
GELU_MINIMUM = 0.17  # GELU never falls below -0.17
GELU_ZERO = 16  # the byte that stands for 0 after GELU; leaves 239 steps to the positive side
TINY = 1e-8

Floats = NDArray[np.float32]


class InputRange(NamedTuple):
    """Smallest and largest value seen of each input channel, [in] each; rows: of some tokens, [n, in]."""

    low: Floats
    high: Floats
    rows: Floats

    def wider(self, values: Floats) -> "InputRange":
        """With a message's values [tokens, in]."""
        some = np.unique(np.linspace(0, len(values) - 1, ROWS_A_MESSAGE).astype(int))
        rows = self.rows if len(self.rows) >= ROWS else np.concatenate([self.rows, values[some]])
        return InputRange(
            low=np.minimum(self.low, values.min(0)), high=np.maximum(self.high, values.max(0)), rows=rows
        )

    @property
    def largest(self) -> Floats:
        """Magnitude of each channel, [in], above 0."""
        return np.maximum(np.maximum(np.abs(self.low), np.abs(self.high)), TINY)


class StaticInt8(NamedTuple):
    """A matrix whose input has one step for all tokens.

    weight: int8 [in, out]; scale and offset: float32 [out], the offset added to the product.
    """

    weight: NDArray[np.int8]
    scale: Floats
    offset: Floats
    step: float

    @property
    def bias(self) -> None:
        """The product has it."""

    def write(self, graph: Graph, name: str, x: str) -> str:
        """Quantise, multiply integers, rescale and add the bias."""
        step = graph.constant(f"{name}.step", np.array(self.step, np.float32))
        middle = graph.constant("uint8.middle", np.array(MIDDLE, np.uint8))
        return graph.op(
            "MatMulIntegerToFloat",
            graph.op("QuantizeLinear", x, step, middle),
            graph.constant(f"{name}.weight", self.weight),
            step,
            graph.constant(f"{name}.scale", self.scale),
            middle,
            graph.constant("int8.0", np.array(0, np.int8)),
            graph.constant(f"{name}.bias", self.offset),
            domain=CONTRIB,
        )


class DynamicInt8(NamedTuple):
    """A matrix whose input has a step a token.

    weight: int8 [in, out]; scale and bias: float32 [out]; after_gelu: its input is a GELU's output.
    """

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


def observe(model: Path, names: Sequence[str], messages: Iterable[Sequence[int]]) -> dict[str, InputRange]:
    """Ranges of each linear's input over some messages. model: written with `taps` (`graph.build`)."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = SILENT
    session: Any = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    seen: dict[str, InputRange] = {}
    for ids in messages:
        feed = {"ids": np.array([ids], np.int64), "lengths": np.array([len(ids)], np.int64)}
        for name, values in zip(names, session.run(list(names), feed), strict=True):
            rows = values.reshape(-1, values.shape[-1])
            old = seen.get(name) or InputRange(low=rows[0], high=rows[0], rows=rows[:0])
            seen[name] = old.wider(rows)
    return seen


def int8(
    weights: Weights, architecture: Architecture, ranges: Mapping[str, InputRange]
) -> tuple[dict[str, NDArray[Any]], dict[str, Matrix]]:
    """The weights with outlier channels evened out, and every matrix of the blocks in 8 bits."""
    smoothed, factors = smooth(weights, architecture, ranges)
    linears: dict[str, Matrix] = {}
    for name in graph.linear_names(architecture):
        weight, scale = quantize_columns(smoothed[f"{name}.weight"])
        bias = smoothed[f"{name}.bias"]
        if name in factors and (step := _even_step(ranges[name], factors[name])):
            linears[name] = StaticInt8(weight, scale, bias, step)
        else:
            linears[name] = DynamicInt8(weight, scale, bias, name.endswith("mlp.c_proj"))
    return smoothed, linears


def _even_step(seen: InputRange, factor: Floats) -> float | None:
    """A step for all tokens, where the largest activation is not far from what is usual."""
    largest = float((seen.largest / factor).max())
    usual = np.median(np.abs(seen.rows / factor).max(axis=1, initial=0)) if len(seen.rows) else 0.0
    return largest / INT8_MAX if largest <= EVEN * usual else None


def smooth(
    weights: Weights, architecture: Architecture, ranges: Mapping[str, InputRange]
) -> tuple[dict[str, NDArray[Any]], dict[str, Floats]]:
    """Weights with outlier channels moved from activations into the matrix that follows, and by how much.

    Exact up to rounding. What follows a GELU stays as it is: no factor passes through one.
    """
    new, width, factors = dict(weights), architecture.width, dict[str, Floats]()
    if graph.PREFIX in new:
        new[graph.PREFIX] = new[graph.PREFIX].copy()

    def move(linear: str) -> Floats:
        factor = _factor(new[f"{linear}.weight"], ranges[linear])
        new[f"{linear}.weight"] = new[f"{linear}.weight"] * factor[:, None]
        factors[linear] = factor
        return factor

    for i in range(architecture.layers):
        for norm, linear in ((f"h.{i}.ln_1", f"h.{i}.attn.c_attn"), (f"h.{i}.ln_2", f"h.{i}.mlp.c_fc")):
            if linear not in ranges:  # the last block's, in floats
                continue
            factor = move(linear)
            for part in ("weight", "bias"):
                new[f"{norm}.{part}"] = new[f"{norm}.{part}"] / factor
        source = f"h.{i}.attn.c_attn"
        factor = move(f"h.{i}.attn.c_proj")
        of_values = np.concatenate([np.ones(2 * width, np.float32), factor])  # queries and keys stay
        for part in ("weight", "bias"):
            new[f"{source}.{part}"] = new[f"{source}.{part}"] / of_values
        if graph.PREFIX in new:  # its values meet the same projection
            new[graph.PREFIX][i, 1] /= factor
    return new, factors


def _factor(weight: Floats, seen: InputRange) -> Floats:
    """[in], of geometric mean 1."""
    largest = np.maximum(np.abs(weight).max(axis=1), TINY)
    logs = SMOOTHING * np.log(seen.largest) - (1 - SMOOTHING) * np.log(largest)
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
