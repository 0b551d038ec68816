"""The ONNX graph of a GPT-2 classifier, written node by node: ids and lengths in, logits and hidden out.

Strategy: messages are padded on the right and attention looks only left, so padding never reaches the last
real token and needs no mask. That token is all a verdict needs: the last block multiplies matrices for one
token a message. Attention, LayerNorm and GELU are ONNX Runtime's own fused operators (domain com.microsoft);
how a matrix is multiplied is decided by what `linears` holds for it (`FloatMatrix` here, the integer forms in
`quantize.py`).

Shapes: B messages, T tokens, C channels, H heads of D channels. Names of weights are OpenAI's.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from filterd.scoring.bundle import Architecture

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
PREFIX = "prefix.states"  # keys and values before every message, [L, 2, P, C]
EXIT = "exit"  # its norm and head, behind the first blocks
STATES = "states"  # what the first blocks hand on, [B * T, C]


class Matrix(Protocol):
    """One matrix of the model, as it is to be multiplied."""

    @property
    def bias(self) -> Array | None:
        """float32 [out], to be added to the product; None where `write` has done so."""

    def write(self, graph: "Graph", name: str, x: str) -> str:
        """Add the nodes for x [rows, in] @ matrix and return the output's name; float32 in and out."""


class ExternalTensor(NamedTuple):
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


class FloatMatrix(NamedTuple):
    """A matrix [in, out] multiplied as it is, and its bias [out]."""

    weight: Array
    bias: Array

    def write(self, graph: "Graph", name: str, x: str) -> str:
        """See `Matrix`."""
        return graph.op("MatMul", x, graph.constant(f"{name}.weight", self.weight))


class Graph:
    """Nodes and constants under construction; names are made here."""

    def __init__(self, external: Mapping[str, "ExternalTensor"]) -> None:
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
                else numpy_helper.from_array(np.asarray(value, order="C"), name)
            )
        return name

    def linear(self, name: str, x: str, linears: Mapping[str, Matrix], *, gelu: bool = False) -> str:
        """x @ matrix + bias by the matrix of that name, noting where its input can be watched; its GELU."""
        self.taps[name] = x
        product, bias = linears[name].write(self, name, x), linears[name].bias
        added = [] if bias is None else [self.constant(f"{name}.bias", bias)]
        if gelu:
            return self.op("FastGelu", product, *added, domain=CONTRIB)
        return self.op("Add", product, *added) if added else product

    def model(self, outputs: Mapping[str, Sequence[Any]], states: int = 0) -> onnx.ModelProto:
        """The finished model; outputs: name to shape; states: channels of a third input, 0 for none."""
        inputs = [
            helper.make_tensor_value_info("ids", TensorProto.INT64, ["B", "T"]),
            helper.make_tensor_value_info("lengths", TensorProto.INT64, ["B"]),
        ]
        if states:
            inputs.append(helper.make_tensor_value_info(STATES, TensorProto.FLOAT, ["rows", states]))
        values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in outputs.items()]
        body = helper.make_graph(
            self.nodes, "filterd", inputs, values, initializer=list(self._constants.values())
        )
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(CONTRIB, 1)]
        return helper.make_model(body, opset_imports=opsets, ir_version=IR_VERSION, producer_name="filterd")


def linear_names(architecture: Architecture) -> list[str]:
    """The four matrices of each block, in the order of computation; not `last_attention`."""
    parts = ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")
    names = [f"h.{i}.{part}" for i in range(architecture.layers) for part in parts]
    return [name for name in names if name != last_attention(architecture)]


def last_attention(architecture: Architecture) -> str:
    """Queries, keys and values of the last block: multiplied in floats, with a row a message."""
    return f"h.{architecture.layers - 1}.attn.c_attn"


def floats(weights: Weights, architecture: Architecture) -> dict[str, Matrix]:
    """Every matrix of the blocks as it is."""
    return {
        name: FloatMatrix(weights[f"{name}.weight"], weights[f"{name}.bias"])
        for name in linear_names(architecture)
    }


def build(
    weights: Weights,
    architecture: Architecture,
    linears: Mapping[str, Matrix] | None = None,
    *,
    external: Mapping[str, ExternalTensor] | None = None,
    taps: bool = False,
) -> onnx.ModelProto:
    """The model: ids int64 [B, T] and lengths int64 [B] to logits [B, n] and hidden [B, C].

    linears: how to multiply each matrix; all `FloatMatrix` by default. weights[TABLE] is float32, or int8
    with row scales weights[TABLE_SCALE] [V, 1]. external: constants whose bytes are in another file. taps:
    add one output for each linear's input, named as the linear, for calibration.
    """
    graph = Graph(external or {})
    multiply = linears or floats(weights, architecture)
    x, skip = _embed(graph, weights, architecture), ""
    for i in range(architecture.layers):
        x, skip = _block(graph, weights, architecture, multiply, i, x, skip)
    _outputs(graph, weights, x, skip)
    outputs: dict[str, Sequence[Any]] = {
        "logits": ["B", len(weights[f"{HEAD}.bias"])],
        "hidden": ["B", architecture.width],
    }
    if taps:
        for name, tensor in graph.taps.items():
            graph.nodes.append(helper.make_node("Identity", [tensor], [name]))
            outputs[name] = ["rows", weights[f"{name}.weight"].shape[0]]
    return graph.model(outputs)


def build_first(
    weights: Weights,
    architecture: Architecture,
    after: int,
    linears: Mapping[str, Matrix],
    external: Mapping[str, ExternalTensor],
) -> onnx.ModelProto:
    """The blocks before the exit and the exit itself: ids and lengths to `early` [B, n] and `states`."""
    graph = Graph(external)
    x, skip = _embed(graph, weights, architecture), ""
    for i in range(after):
        x, skip = _block(graph, weights, architecture, linears, i, x, skip)
    total = graph.op("Add", x, skip)
    normed, _ = _norm(graph, weights, f"{EXIT}.ln", _take_last(graph, total), "")
    parts = [graph.constant(f"{EXIT}.head.{p}", weights[f"{EXIT}.head.{p}"]) for p in ("weight", "bias")]
    graph.nodes.append(helper.make_node("Gemm", [normed, *parts], ["early"], transB=1, name=EXIT))
    graph.nodes.append(helper.make_node("Identity", [total], [STATES]))
    classes = len(weights[f"{EXIT}.head.bias"])
    return graph.model({"early": ["B", classes], STATES: ["rows", architecture.width]})


def build_rest(
    weights: Weights,
    architecture: Architecture,
    after: int,
    linears: Mapping[str, Matrix],
    external: Mapping[str, ExternalTensor],
) -> onnx.ModelProto:
    """The blocks behind the exit: `states` to logits and hidden; of `ids` only the shape counts."""
    graph = Graph(external)
    x, skip = STATES, ""
    for i in range(after, architecture.layers):
        x, skip = _block(graph, weights, architecture, linears, i, x, skip)
    _outputs(graph, weights, x, skip)
    outputs = {"logits": ["B", len(weights[f"{HEAD}.bias"])], "hidden": ["B", architecture.width]}
    return graph.model(outputs, states=architecture.width)


def _embed(graph: Graph, weights: Weights, architecture: Architecture) -> str:
    """Token plus position embedding, a row a token, [B * T, C]."""
    tokens = graph.op("Gather", graph.constant(TABLE, weights[TABLE]), "ids")
    if weights[TABLE].dtype == np.int8:
        scale = graph.op("Gather", graph.constant(TABLE_SCALE, weights[TABLE_SCALE]), "ids")
        tokens = graph.op("Mul", graph.op("Cast", tokens, to=TensorProto.FLOAT), scale)
    length = graph.op("Slice", graph.op("Shape", "ids"), *_integers(graph, 1, 2))
    zero, axis = _integers(graph, 0, 0)
    positions = graph.constant("wpe.weight", weights["wpe.weight"])
    embedded = graph.op("Add", tokens, graph.op("Slice", positions, zero, length, axis))
    return _as(graph, embedded, -1, architecture.width)


def _integers(graph: Graph, *values: int) -> list[str]:
    return [graph.constant(f"int.{v}", np.array([v], dtype=np.int64)) for v in values]


def _as(graph: Graph, x: str, *shape: int) -> str:
    """x in another shape; one -1 is what is left."""
    named = graph.constant(f"shape.{'.'.join(map(str, shape))}", np.array(shape, dtype=np.int64))
    return graph.op("Reshape", x, named)


def _by_message(graph: Graph, rows: str, channels: int) -> str:
    """[B * T, channels] -> [B, T, channels]."""
    shape = graph.op("Concat", graph.op("Shape", "ids"), *_integers(graph, channels), axis=0)
    return graph.op("Reshape", rows, shape)


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
    linears: Mapping[str, Matrix],
    number: int,
    x: str,
    skip: str,
) -> tuple[str, str]:
    """One transformer block. Takes and returns the residual stream as two tensors still to be added.

    A row a token goes in, and out of the last block a row a message.
    """
    name = f"h.{number}"
    normed, x = _norm(graph, weights, f"{name}.ln_1", x, skip)
    if f"{name}.attn.c_attn" == last_attention(architecture):
        mixed, x = _attend_from_last(graph, weights, architecture, normed), _take_last(graph, x)
    else:
        qkv = graph.linear(f"{name}.attn.c_attn", normed, linears)
        if PREFIX in weights:
            mixed = _attend_behind(graph, weights, architecture, number, qkv)
        else:
            on_gpu = isinstance(linears[f"{name}.attn.c_attn"], FloatMatrix)
            mixed = _attend(graph, architecture, qkv, on_gpu=on_gpu)
    projected = graph.linear(f"{name}.attn.c_proj", mixed, linears)
    projected = _adapted(graph, weights, f"{name}.after_attn", projected)
    normed, x = _norm(graph, weights, f"{name}.ln_2", x, projected)
    active = graph.linear(f"{name}.mlp.c_fc", normed, linears, gelu=True)
    made = graph.linear(f"{name}.mlp.c_proj", active, linears)
    return x, _adapted(graph, weights, f"{name}.after_mlp", made)


def _adapted(graph: Graph, weights: Weights, name: str, x: str) -> str:
    """x [rows, C] and what an adapter adds to it, in floats; x where the model has none of that name."""
    if f"{name}.down.weight" not in weights:
        return x
    (down, first), (up, last) = (
        [graph.constant(f"{name}.{of}.{part}", weights[f"{name}.{of}.{part}"]) for part in ("weight", "bias")]
        for of in ("down", "up")
    )
    active = graph.op("FastGelu", graph.op("Gemm", x, down, first, transB=1), domain=CONTRIB)
    return graph.op("Add", x, graph.op("Gemm", active, up, last, transB=1))


def _attend(graph: Graph, architecture: Architecture, qkv: str, *, on_gpu: bool) -> str:
    """Heads mixed, before c_proj: [B * T, 3 C] -> [B * T, C].

    GroupQueryAttention takes 0.7 times as long as MultiHeadAttention, but not without its outputs for a cache
    before ONNX Runtime 1.27, and not in fp32 on CUDA.
    """
    together = _by_message(graph, qkv, 3 * architecture.width)
    mix = _attend_on_gpu if on_gpu else _attend_on_cpu
    return _as(graph, mix(graph, together, architecture.heads), -1, architecture.width)


def _attend_on_gpu(graph: Graph, qkv: str, heads: int) -> str:
    parts = [f"{qkv}.{part}" for part in "qkv"]
    graph.nodes.append(helper.make_node("Split", [qkv], parts, axis=-1, name=f"{qkv}.split"))
    return graph.op("MultiHeadAttention", *parts, domain=CONTRIB, num_heads=heads, unidirectional=1)


def _attend_on_cpu(graph: Graph, qkv: str, heads: int) -> str:
    one = graph.constant("one", np.array(1, dtype=np.int64))
    tokens = graph.op("Cast", graph.op("Gather", graph.op("Shape", "ids"), one), to=TensorProto.INT32)
    before = graph.op("Sub", tokens, graph.constant("one.int32", np.array(1, np.int32)))
    each = graph.op("Expand", before, graph.op("Shape", "lengths"))
    inputs = (qkv, "", "", "", "", each, tokens)
    return graph.op("GroupQueryAttention", *inputs, domain=CONTRIB, num_heads=heads, kv_num_heads=heads)


def _attend_behind(graph: Graph, weights: Weights, architecture: Architecture, number: int, qkv: str) -> str:
    """The same where P keys and values stand before every message's own.

    In plain products: GroupQueryAttention takes a past of one message a call only (ONNX Runtime 1.32).
    """
    heads, width = architecture.heads, architecture.width
    root = (width // heads) ** -0.5
    parts = [f"{qkv}.{part}" for part in "qkv"]
    together = _by_message(graph, qkv, 3 * width)
    graph.nodes.append(helper.make_node("Split", [together], parts, axis=-1, name=f"{qkv}.split"))
    q, k, v = (
        graph.op("Transpose", _as(graph, part, 0, 0, heads, -1), perm=[0, 2, 1, 3]) for part in parts
    )  # [B, H, T, D]
    keys, values = _prefix(graph, weights, architecture, number)
    own = graph.op("FusedMatMul", q, k, domain=CONTRIB, transB=1, alpha=root)  # [B, H, T, T]
    both = [graph.op("MatMul", q, keys), graph.op("Add", own, _causal(graph))]
    before, after = _odds(graph, both, len(weights[PREFIX][number, 0]), axis=3)
    mixed = graph.op("Add", graph.op("MatMul", before, values), graph.op("MatMul", after, v))
    return _as(graph, graph.op("Transpose", mixed, perm=[0, 2, 1, 3]), -1, width)


def _prefix(
    graph: Graph,
    weights: Weights,
    architecture: Architecture,
    number: int,
    bias: tuple[Array | float, Array | float] = (0.0, 0.0),
) -> tuple[str, str]:
    """A block's keys before the message, [H, D, P], divided by the root of D, and its values, [H, P, D].

    bias: of keys and of values, [C] each, taken off them.
    """
    heads, width = architecture.heads, architecture.width
    key, value = (
        (states - off).reshape(len(states), heads, -1).transpose(1, 0, 2)
        for states, off in zip(weights[PREFIX][number], bias, strict=True)
    )
    root = (width // heads) ** -0.5
    name = f"h.{number}.prefix"
    keys = graph.constant(f"{name}.keys", (key * root).transpose(0, 2, 1).astype(np.float32))
    return keys, graph.constant(f"{name}.values", value.astype(np.float32))


def _odds(graph: Graph, scores: list[str], before: int, axis: int) -> tuple[str, str]:
    """Softmax over two tensors of scores together: of the first `before` columns, and of the rest."""
    odds = graph.op("Softmax", graph.op("Concat", *scores, axis=axis), axis=axis)
    start, split, end, along = _integers(graph, 0, before, np.iinfo(np.int64).max, axis)
    return graph.op("Slice", odds, start, split, along), graph.op("Slice", odds, split, end, along)


def _causal(graph: Graph) -> str:
    """0 for a token and those before it, MASKED for those behind, [T, T]."""
    zero, one = (graph.constant(n, np.array(v, dtype=np.int64)) for n, v in (("zero", 0), ("one", 1)))
    positions = graph.op("Range", zero, graph.op("Gather", graph.op("Shape", "ids"), one), one)
    seen = graph.op("LessOrEqual", positions, graph.op("Unsqueeze", positions, *_integers(graph, 1)))
    keep, drop = (
        graph.constant(n, np.array(v, dtype=np.float32)) for n, v in (("keep", 0), ("drop", MASKED))
    )
    return graph.op("Where", seen, keep, drop)


def _take_last(graph: Graph, rows: str) -> str:
    """The last real token's row, [B * T, C] -> [B, C]."""
    zero, one = (graph.constant(n, np.array(v, dtype=np.int64)) for n, v in (("zero", 0), ("one", 1)))
    messages, tokens = (graph.op("Gather", graph.op("Shape", "ids"), of) for of in (zero, one))
    first = graph.op("Mul", graph.op("Range", zero, messages, one), tokens)
    return graph.op("Gather", rows, graph.op("Add", first, graph.op("Sub", "lengths", one)), axis=0)


def _attend_from_last(graph: Graph, weights: Weights, architecture: Architecture, normed: str) -> str:
    """Attention of a message's last real token over its tokens, [B * T, C] -> [B, C].

    With one query q, (x K) q = x (K q), and the tokens' values mixed are the value of the tokens mixed: so
    neither keys nor values are computed token by token. A key's bias adds the same to every score of q,
    which the softmax takes away again.
    """
    heads, width = architecture.heads, architecture.width
    (query, key, value), (query_bias, _, value_bias) = _last_matrices(graph, weights, architecture)
    tokens = _by_message(graph, normed, width)
    asking = graph.op("Add", graph.op("MatMul", _take_last(graph, normed), query), query_bias)  # [H, B, D]
    root = (width // heads) ** -0.5
    asked = graph.op("FusedMatMul", asking, key, domain=CONTRIB, transB=1, alpha=root)  # [H, B, C]
    asked = graph.op("Transpose", asked, perm=[1, 0, 2])
    scores = graph.op("FusedMatMul", asked, tokens, domain=CONTRIB, transB=1)  # [B, H, T]
    scores = graph.op("Add", scores, _mask(graph))
    if PREFIX in weights:
        values = _values_behind(graph, weights, architecture, asking, scores, tokens, value)
    else:
        mixed = graph.op("MatMul", graph.op("Softmax", scores, axis=-1), tokens)
        values = graph.op("MatMul", graph.op("Transpose", mixed, perm=[1, 0, 2]), value)  # [H, B, D]
    values = graph.op("Add", values, value_bias)
    return _as(graph, graph.op("Transpose", values, perm=[1, 0, 2]), -1, width)


def _values_behind(
    graph: Graph,
    weights: Weights,
    architecture: Architecture,
    asking: str,
    scores: str,
    tokens: str,
    value: str,
) -> str:
    """The values that queries [H, B, D] find before the message and in it, without their bias: [H, B, D].

    scores: of the tokens, [B, H, T], which lack the key's bias; so it is taken off the keys before them, and
    the value's bias, which is added to all, off the values.
    """
    name, number = last_attention(architecture), architecture.layers - 1
    _, of_keys, of_values = np.split(np.asarray(weights[f"{name}.bias"]), 3)
    keys, values = _prefix(graph, weights, architecture, number, (of_keys, of_values))
    first = graph.op("Transpose", graph.op("MatMul", asking, keys), perm=[1, 0, 2])  # [B, H, P]
    before, after = _odds(graph, [first, scores], len(weights[PREFIX][number, 0]), axis=2)
    mixed = graph.op("Transpose", graph.op("MatMul", after, tokens), perm=[1, 0, 2])  # [H, B, C]
    there = graph.op("MatMul", graph.op("Transpose", before, perm=[1, 0, 2]), values)
    return graph.op("Add", graph.op("MatMul", mixed, value), there)


def _last_matrices(graph: Graph, weights: Weights, architecture: Architecture) -> tuple[list[str], list[str]]:
    """Queries', keys' and values' matrices [H, C, D] and biases [H, 1, D]; all folded when it is loaded."""
    name, heads = last_attention(architecture), architecture.heads
    matrix, bias = (
        graph.constant(f"{name}.{part}", weights[f"{name}.{part}"]) for part in ("weight", "bias")
    )
    matrix = _as(graph, matrix, architecture.width, 3, heads, -1)
    matrix = graph.op("Transpose", matrix, perm=[1, 2, 0, 3])
    numbers = [graph.constant(f"number.{i}", np.array(i, dtype=np.int64)) for i in range(3)]
    matrices = [graph.op("Gather", matrix, i, axis=0) for i in numbers]
    bias = _as(graph, bias, 3, heads, 1, -1)
    return matrices, [graph.op("Gather", bias, i, axis=0) for i in numbers]


def _mask(graph: Graph) -> str:
    """0 for real tokens and MASKED for padding, [B, 1, T]."""
    zero, one = (graph.constant(n, np.array(v, dtype=np.int64)) for n, v in (("zero", 0), ("one", 1)))
    width = graph.op("Gather", graph.op("Shape", "ids"), one)
    positions = graph.op("Range", zero, width, one)
    is_real = graph.op("Less", positions, graph.op("Unsqueeze", "lengths", *_integers(graph, 1)))
    keep, drop = (
        graph.constant(n, np.array(v, dtype=np.float32)) for n, v in (("keep", 0), ("drop", MASKED))
    )
    return graph.op("Unsqueeze", graph.op("Where", is_real, keep, drop), *_integers(graph, 1))


def _outputs(graph: Graph, weights: Weights, x: str, skip: str) -> None:
    normed, _ = _norm(graph, weights, "ln_f", x, skip)
    graph.nodes.append(helper.make_node("Identity", [normed], ["hidden"]))
    matrix = graph.constant(f"{HEAD}.weight", weights[f"{HEAD}.weight"])
    bias = graph.constant(f"{HEAD}.bias", weights[f"{HEAD}.bias"])
    graph.nodes.append(helper.make_node("Gemm", [normed, matrix, bias], ["logits"], transB=1, name=HEAD))
