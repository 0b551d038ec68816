"""The ONNX graph of a GPT-2 classifier, written node by node: ids and lengths in, logits and hidden out.

Strategy: messages are padded on the right and attention looks only left, so padding never reaches the last
real token and needs no mask. That token is all a verdict needs: in the last block keys and values are
computed for every token, everything else for one token a message. Attention, LayerNorm and GELU are ONNX
Runtime's own fused operators (domain com.microsoft); how a matrix is multiplied is decided by what
`linears` holds for it (`Float` here, the integer forms in `quantize.py`).

Shapes: B messages, T tokens, C channels, H heads of D channels. Names of weights are OpenAI's.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from filterd.bundle import Architecture

Array = NDArray[Any]
Weights = Mapping[str, Array]

OPSET = 17  # the first with LayerNormalization
IR_VERSION = 9  # of onnx 1.14; every onnxruntime since 1.16 reads it
CONTRIB = "com.microsoft"
EPSILON = 1e-5  # of LayerNorm, GPT-2's own
MASKED = -1e30  # score of a key after the last real token; its exponential is exactly 0

TABLE = "wte.weight"  # token embedding, [V, C]
TABLE_SCALE = "wte.scale"  # its row scales where it is int8, [V, 1]
HEAD = "head"  # [n, C] and [n]


class Linear(Protocol):
    """One matrix of the model, as it is to be multiplied."""

    def write(self, graph: "Graph", name: str, x: str) -> str:
        """Add the nodes for x @ matrix + bias and return the output's name; float32 in and out."""


class External(NamedTuple):
    """Where a tensor's bytes lie in a file of the model's own folder."""

    file: str
    offset: int
    length: int

    def tensor(self, name: str, value: Array) -> onnx.TensorProto:
        """The model's reference to them; value gives type and shape."""
        kind = helper.np_dtype_to_tensor_dtype(value.dtype)
        tensor = TensorProto(name=name, data_type=kind, dims=value.shape, data_location=TensorProto.EXTERNAL)
        for key, number in (("location", self.file), ("offset", self.offset), ("length", self.length)):
            tensor.external_data.add(key=key, value=str(number))
        return tensor


class Float(NamedTuple):
    """A matrix [in, out] and bias [out] multiplied as they are."""

    weight: Array
    bias: Array

    def write(self, graph: "Graph", name: str, x: str) -> str:
        """MatMul and Add, which ONNX Runtime runs as one for 2-D inputs and as two else."""
        product = graph.op("MatMul", x, graph.constant(f"{name}.weight", self.weight))
        return graph.op("Add", product, graph.constant(f"{name}.bias", self.bias))


class Graph:
    """Nodes and constants under construction; names are made here."""

    def __init__(self, external: Mapping[str, "External"]) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.taps: dict[str, str] = {}  # linear's name -> name of its input, for calibration
        self._external = external
        self._constants: dict[str, onnx.TensorProto] = {}

    def op(self, kind: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        """Add a node with one output and return the output's name."""
        output = f"{kind}.{len(self.nodes)}"
        node = helper.make_node(kind, inputs, [output], name=output, domain=domain, **attributes)
        self.nodes.append(node)
        return output

    def constant(self, name: str, value: Array) -> str:
        """Add a constant once and return its name; its bytes stay in another file where they are there."""
        if name not in self._constants:
            where = self._external.get(name)
            self._constants[name] = (
                where.tensor(name, value)
                if where
                else numpy_helper.from_array(np.ascontiguousarray(value), name)
            )
        return name

    def linear(self, name: str, x: str, linears: Mapping[str, Linear]) -> str:
        """Multiply by the matrix of that name, noting where its input can be watched."""
        self.taps[name] = x
        return linears[name].write(self, name, x)

    def model(self, outputs: Mapping[str, Sequence[Any]]) -> onnx.ModelProto:
        """The finished model; outputs: name to shape."""
        inputs = [
            helper.make_tensor_value_info("ids", TensorProto.INT64, ["B", "T"]),
            helper.make_tensor_value_info("lengths", TensorProto.INT64, ["B"]),
        ]
        values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in outputs.items()]
        body = helper.make_graph(
            self.nodes, "filterd", inputs, values, initializer=list(self._constants.values())
        )
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(CONTRIB, 1)]
        return helper.make_model(body, opset_imports=opsets, ir_version=IR_VERSION, producer_name="filterd")


def linear_names(architecture: Architecture) -> list[str]:
    """The four matrices of each block, in the order of computation."""
    parts = ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")
    return [f"h.{i}.{part}" for i in range(architecture.layers) for part in parts]


def floats(weights: Weights, architecture: Architecture) -> dict[str, Linear]:
    """Every matrix of the blocks as it is."""
    return {
        name: Float(weights[f"{name}.weight"], weights[f"{name}.bias"]) for name in linear_names(architecture)
    }


def build(
    weights: Weights,
    architecture: Architecture,
    linears: Mapping[str, Linear] | None = None,
    *,
    external: Mapping[str, External] | None = None,
    taps: bool = False,
) -> onnx.ModelProto:
    """The model: ids int64 [B, T] and lengths int64 [B] to logits [B, n] and hidden [B, C].

    linears: how to multiply each matrix; all `Float` by default. weights[TABLE] is float32, or int8 with
    row scales weights[TABLE_SCALE] [V, 1]. external: constants whose bytes are in another file. taps: add one
    output for each linear's input, named as the linear, for calibration.
    """
    graph = Graph(external or {})
    multiply = linears or floats(weights, architecture)
    x = _embed(graph, weights)
    skip = ""
    for i in range(architecture.layers):
        last = i == architecture.layers - 1
        x, skip = _block(graph, weights, architecture, multiply, f"h.{i}", x, skip, last=last)
    _outputs(graph, weights, x, skip)
    outputs: dict[str, Sequence[Any]] = {
        "logits": ["B", len(weights[f"{HEAD}.bias"])],
        "hidden": ["B", architecture.width],
    }
    if taps:
        for name, tensor in graph.taps.items():
            graph.nodes.append(helper.make_node("Identity", [tensor], [name]))
            outputs[name] = _tap_shape(weights, name, architecture)
    return graph.model(outputs)


def _tap_shape(weights: Weights, name: str, architecture: Architecture) -> list[Any]:
    single = name.startswith(f"h.{architecture.layers - 1}.") and not name.endswith("c_attn")
    return ["B", *([] if single else ["T"]), weights[f"{name}.weight"].shape[0]]


def _embed(graph: Graph, weights: Weights) -> str:
    """Token plus position embedding, [B, T, C]."""
    tokens = graph.op("Gather", graph.constant(TABLE, weights[TABLE]), "ids")
    if weights[TABLE].dtype == np.int8:
        scale = graph.op("Gather", graph.constant(TABLE_SCALE, weights[TABLE_SCALE]), "ids")
        tokens = graph.op("Mul", graph.op("Cast", tokens, to=TensorProto.FLOAT), scale)
    length = graph.op("Slice", graph.op("Shape", "ids"), *_integers(graph, 1, 2))
    zero, axis = _integers(graph, 0, 0)
    positions = graph.constant("wpe.weight", weights["wpe.weight"])
    return graph.op("Add", tokens, graph.op("Slice", positions, zero, length, axis))


def _integers(graph: Graph, *values: int) -> list[str]:
    return [graph.constant(f"int.{v}", np.array([v], dtype=np.int64)) for v in values]


def _norm(graph: Graph, weights: Weights, name: str, x: str, skip: str) -> tuple[str, str]:
    """LayerNorm of x (+ skip) and that sum; skip "" is none."""
    gain = graph.constant(f"{name}.weight", weights[f"{name}.weight"])
    bias = graph.constant(f"{name}.bias", weights[f"{name}.bias"])
    if not skip:
        return graph.op("LayerNormalization", x, gain, bias, epsilon=EPSILON), x
    # Not SkipLayerNormalization: on a CPU it takes four times as long as these two (ONNX Runtime 1.32).
    total = graph.op("Add", x, skip)
    return graph.op("LayerNormalization", total, gain, bias, epsilon=EPSILON), total


def _block(
    graph: Graph,
    weights: Weights,
    architecture: Architecture,
    linears: Mapping[str, Linear],
    name: str,
    x: str,
    skip: str,
    *,
    last: bool,
) -> tuple[str, str]:
    """One transformer block. Takes and returns the residual stream as two tensors still to be added."""
    normed, x = _norm(graph, weights, f"{name}.ln_1", x, skip)
    mixed, x = _attention(graph, architecture, linears, name, normed, x, last=last)
    projected = graph.linear(f"{name}.attn.c_proj", mixed, linears)
    normed, x = _norm(graph, weights, f"{name}.ln_2", x, projected)
    raised = graph.linear(f"{name}.mlp.c_fc", normed, linears)
    active = graph.op("FastGelu", raised, domain=CONTRIB)
    return x, graph.linear(f"{name}.mlp.c_proj", active, linears)


def _attention(
    graph: Graph,
    architecture: Architecture,
    linears: Mapping[str, Linear],
    name: str,
    normed: str,
    x: str,
    *,
    last: bool,
) -> tuple[str, str]:
    """Heads mixed, before c_proj, and the residual stream: [B, T, C] each, or [B, C] in the last block."""
    qkv = graph.linear(f"{name}.attn.c_attn", normed, linears)
    q, k, v = (f"{name}.{part}" for part in "qkv")
    graph.nodes.append(helper.make_node("Split", [qkv], [q, k, v], axis=-1, name=f"{name}.split"))
    if not last:
        mixed = graph.op(
            "MultiHeadAttention", q, k, v, domain=CONTRIB, num_heads=architecture.heads, unidirectional=1
        )
        return mixed, x
    return _attend_from_last(graph, architecture, _take_last(graph, q), k, v), _take_last(graph, x)


def _take_last(graph: Graph, x: str) -> str:
    """The last real token's channels, [B, T, C] -> [B, C]."""
    one = graph.constant("one", np.array(1, dtype=np.int64))
    index = graph.op("Unsqueeze", graph.op("Sub", "lengths", one), *_integers(graph, 1))
    return graph.op("GatherND", x, index, batch_dims=1)


def _attend_from_last(graph: Graph, architecture: Architecture, q: str, k: str, v: str) -> str:
    """Attention of one query a message over its real tokens, [B, C]."""
    heads, size = architecture.heads, architecture.width // architecture.heads
    split = graph.constant("heads", np.array([0, -1, heads, size], dtype=np.int64))
    one_query = graph.constant("one_query", np.array([-1, heads, 1, size], dtype=np.int64))
    merged = graph.constant("merged", np.array([-1, architecture.width], dtype=np.int64))
    keys = graph.op("Transpose", graph.op("Reshape", k, split), perm=[0, 2, 3, 1])
    values = graph.op("Transpose", graph.op("Reshape", v, split), perm=[0, 2, 1, 3])
    root = graph.constant("root", np.array(size**-0.5, dtype=np.float32))
    scores = graph.op("MatMul", graph.op("Mul", graph.op("Reshape", q, one_query), root), keys)
    odds = graph.op("Softmax", graph.op("Add", scores, _mask(graph)), axis=-1)
    return graph.op("Reshape", graph.op("MatMul", odds, values), merged)


def _mask(graph: Graph) -> str:
    """0 for real tokens and MASKED for padding, [B, 1, 1, T]."""
    zero, one = (graph.constant(n, np.array(v, dtype=np.int64)) for n, v in (("zero", 0), ("one", 1)))
    width = graph.op("Gather", graph.op("Shape", "ids"), one)
    positions = graph.op("Range", zero, width, one)
    is_real = graph.op("Less", positions, graph.op("Unsqueeze", "lengths", *_integers(graph, 1)))
    keep, drop = (
        graph.constant(n, np.array(v, dtype=np.float32)) for n, v in (("keep", 0), ("drop", MASKED))
    )
    axes = graph.constant("mask_axes", np.array([1, 2], dtype=np.int64))
    return graph.op("Unsqueeze", graph.op("Where", is_real, keep, drop), axes)


def _outputs(graph: Graph, weights: Weights, x: str, skip: str) -> None:
    normed, _ = _norm(graph, weights, "ln_f", x, skip)
    graph.nodes.append(helper.make_node("Identity", [normed], ["hidden"]))
    matrix = graph.constant(f"{HEAD}.weight", weights[f"{HEAD}.weight"])
    bias = graph.constant(f"{HEAD}.bias", weights[f"{HEAD}.bias"])
    graph.nodes.append(helper.make_node("Gemm", [normed, matrix, bias], ["logits"], transB=1, name=HEAD))
