"""GPT-2 (Radford et al. 2019) in PyTorch, and the classifier on top of it. Read it from top to bottom.

Shapes: B messages, T tokens, C channels (width), H heads, D = C / H, V vocabulary.
Module names are those of OpenAI's release and the hub (`h.0.attn.c_attn`), so that a state dict needs no
table of names; only the layout differs: files hold a matrix as [in, out], `nn.Linear` as [out, in].
Messages are padded on the right. Attention is causal, so no token ever sees the padding after it: what
a classifier reads at the last real token does not depend on a message's neighbours in the batch.
"""

import json
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import msgspec
import torch
import torch.nn.functional as F  # noqa: N812 — everybody's name for it
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from filterd.errors import BadInput, ConfigError, NotFound
from filterd.scoring.bundle import Architecture
from filterd_trainer.gpt2 import half
from filterd_trainer.gpt2.adapters import Adapter
from filterd_trainer.gpt2.checkpoint import write_tensors
from filterd_trainer.tasks import tasks
from filterd_trainer.tasks.choice import Choice

VOCABULARY = 50257

PRESETS = {
    "gpt2": Architecture(vocabulary=VOCABULARY, context=1024, width=768, layers=12, heads=12),
    "gpt2-medium": Architecture(vocabulary=VOCABULARY, context=1024, width=1024, layers=24, heads=16),
    "gpt2-large": Architecture(vocabulary=VOCABULARY, context=1024, width=1280, layers=36, heads=20),
    "gpt2-xl": Architecture(vocabulary=VOCABULARY, context=1024, width=1600, layers=48, heads=25),
    "filterd-mini": Architecture(vocabulary=VOCABULARY, context=256, width=256, layers=6, heads=8),
}

EPSILON = 1e-5  # of every LayerNorm
INITIAL_STD = 0.02

Position = Literal["last_real", "last_padded"]


class Attention(nn.Module):
    """Causal multi-head self-attention; with `last`, of that position's query alone."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.c_attn = nn.Linear(width, 3 * width)  # queries, keys and values side by side
        self.c_proj = nn.Linear(width, width)

    def forward(self, x: Tensor, last: Tensor | None = None, past: Tensor | None = None) -> Tensor:
        """[B, T, C] -> [B, T, C], or [B, 1, C] with `last`.

        past: keys and values that every token sees before the message's own, [2, P, C]; see `GPT2.prefix`.
        """
        drop = self.dropout if self.training else 0.0
        if x.dtype is torch.bfloat16 and last is None and past is None:
            return F.dropout(self.c_proj(half.attend(self.c_attn(x), self.heads)), drop)
        if last is None:
            q, k, v = (self._split(part) for part in self.c_attn(x).chunk(3, dim=-1))  # [B, H, T, D] each
        else:
            (wq, wkv), (bq, bkv) = (
                p.tensor_split([x.shape[-1]]) for p in (self.c_attn.weight, self.c_attn.bias)
            )
            q = self._split(F.linear(at(x, last), wq, bq))  # [B, H, 1, D]
            k, v = (self._split(part) for part in F.linear(x, wkv, bkv).chunk(2, dim=-1))  # [B, H, T, D]
        before = 0
        if past is not None:
            before = past.shape[1]
            k, v = (self._behind(own, states) for own, states in zip((k, v), past, strict=True))
        if last is not None:
            seen = torch.arange(k.shape[2], device=x.device) <= before + last[:, None]  # [B, P + T]
            y = F.scaled_dot_product_attention(q, k, v, attn_mask=seen[:, None, None], dropout_p=drop)
        elif past is not None or (q.device.type == "cpu" and torch.is_grad_enabled()):
            y = _attend(q, k, v, drop)
        else:
            y = F.scaled_dot_product_attention(q, k, v, dropout_p=drop, is_causal=True)
        y = y.transpose(1, 2).flatten(2)  # [B, H, T, D] -> [B, T, C]
        return F.dropout(self.c_proj(y), self.dropout, self.training)

    def _behind(self, own: Tensor, states: Tensor) -> Tensor:
        """[B, H, T, D] behind [P, C]: [B, H, P + T, D]."""
        first = self._split(states[None]).to(own.dtype)
        return torch.cat([first.expand(len(own), -1, -1, -1), own], dim=2)

    def _split(self, x: Tensor) -> Tensor:
        b, t, c = x.shape
        return x.view(b, t, self.heads, c // self.heads).transpose(1, 2)  # [B, T, C] -> [B, H, T, D]


def _attend(q: Tensor, k: Tensor, v: Tensor, drop: float) -> Tensor:
    """Causal attention, q [B, H, T, D], k and v [B, H, P + T, D], as matrix products.

    On a CPU the backward pass of torch's fused kernel takes three times as long for texts of up to 100 tokens
    (forward and back, 40 x 96: 62 ms against 22).
    """
    queries, keys = q.shape[2], k.shape[2]
    seen = torch.ones(queries, keys, dtype=torch.bool, device=q.device).tril(keys - queries)
    scores = (q @ k.transpose(-1, -2)).float() * q.shape[3] ** -0.5  # [B, H, T, P + T]
    weights = scores.masked_fill(~seen, -math.inf).softmax(dim=-1).to(v.dtype)
    return F.dropout(weights, drop) @ v


class MLP(nn.Module):
    """Two layers with GPT-2's GELU (the tanh approximation) between them."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.dropout = dropout
        self.c_fc = nn.Linear(width, 4 * width)
        self.c_proj = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """[B, T, C] -> [B, T, C]."""
        y = self.c_fc(x)  # [B, T, 4C]
        y = half.gelu(y) if x.dtype is torch.bfloat16 else F.gelu(y, approximate="tanh")
        return F.dropout(self.c_proj(y), self.dropout, self.training)


class Block(nn.Module):
    """One transformer block, norms first.

    after_attn, after_mlp: adapters on what goes back into the residual stream; None where there are none.
    """

    def __init__(self, width: int, heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(width, eps=EPSILON)
        self.attn = Attention(width, heads, dropout)
        self.ln_2 = nn.LayerNorm(width, eps=EPSILON)
        self.mlp = MLP(width, dropout)
        self.after_attn: Adapter | None = None
        self.after_mlp: Adapter | None = None

    def adapt(self, size: int) -> None:
        """Put a fresh adapter of so many units behind the attention and behind the MLP."""
        width = self.mlp.c_fc.in_features
        self.after_attn, self.after_mlp = Adapter(width, size), Adapter(width, size)

    def forward(self, x: Tensor, last: Tensor | None = None, past: Tensor | None = None) -> Tensor:
        """[B, T, C] -> [B, T, C]; with `last`, int64 [B], the output at that position only: [B, 1, C].

        Keys and values are still those of every token, so result and gradients are the full pass's.
        """
        residual = x if last is None else at(x, last)
        mixed = self.attn(self.ln_1(x), last, past)
        y = residual + (self.after_attn(mixed) if self.after_attn else mixed)
        made = self.mlp(self.ln_2(y))
        out: Tensor = y + (self.after_mlp(made) if self.after_mlp else made)
        return out


class GPT2(nn.Module):
    """The language model. Weights are drawn as GPT-2's were, from torch's global generator (seed it).

    prefix: makes keys and values of every block that all tokens see before the message, [L, 2, P, C]; a
    message's positions do not move. None where there are none.
    """

    def __init__(self, architecture: Architecture, dropout: float = 0.0) -> None:
        super().__init__()
        a = architecture
        self.architecture, self.dropout = a, dropout
        self.stream = torch.float32  # what the residual stream is kept in while training; see `half`
        self.wte = nn.Embedding(a.vocabulary, a.width)
        self.wpe = nn.Embedding(a.context, a.width)
        self.h = nn.ModuleList(Block(a.width, a.heads, dropout) for _ in range(a.layers))
        self.ln_f = nn.LayerNorm(a.width, eps=EPSILON)
        self.prefix: nn.Module | None = None
        for name, parameter in self.named_parameters():
            _initialise(name, parameter, a.layers)

    def embed(self, ids: Tensor) -> Tensor:
        """Token ids [B, T], T at most the context -> [B, T, C]."""
        positions = torch.arange(ids.shape[1], device=ids.device)
        x = self.wte(ids) + self.wpe(positions)
        if self.training and torch.is_autocast_enabled(ids.device.type):
            x = x.to(self.stream)
        return F.dropout(x, self.dropout, self.training)

    def run(self, x: Tensor, first: int = 0, stop: int | None = None, last: Tensor | None = None) -> Tensor:
        """Blocks first … stop - 1, by default all: [B, T, C] -> [B, T, C].

        With `last`, int64 [B], the result is that position's alone, [B, 1, C], and the final block of the
        run computes nothing else.
        """
        stop = len(self.h) if stop is None else stop
        past = self.prefix(self) if self.prefix else [None] * len(self.h)
        for i in range(first, stop):
            x = self.h[i](x, last if i == stop - 1 else None, past[i])
        return x if last is None or first < stop else at(x, last)

    def forward(self, ids: Tensor, last: Tensor | None = None) -> Tensor:
        """Token ids [B, T] -> hidden states after the final norm, [B, T, C], or [B, 1, C] with `last`."""
        hidden: Tensor = self.ln_f(self.run(self.embed(ids), last=last))
        return hidden

    def logits(self, hidden: Tensor) -> Tensor:
        """Scores of the next token, [B, T, C] -> [B, T, V]; the head is the token embedding itself."""
        return F.linear(hidden, self.wte.weight)

    @torch.no_grad()
    def generate(
        self,
        ids: Tensor,
        n: int,
        temperature: float = 0.0,
        top_k: int = 0,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Continue [B, T] by n tokens: [B, T + n]. Greedy at temperature 0; top_k 0 keeps every token."""
        for _ in range(n):
            seen = ids[:, -self.architecture.context :]
            last = torch.full((len(seen),), seen.shape[1] - 1, device=ids.device)
            scores = self.logits(self(seen, last))[:, 0]  # [B, V]
            ids = torch.cat([ids, _choose(scores, temperature, top_k, generator)], dim=1)
        return ids


class Prefix(nn.Module):
    """Keys and values of every block, [L, 2, P, C], as they are; see `filterd_trainer.gpt2.prefix`."""

    def __init__(self, states: Tensor) -> None:
        super().__init__()
        self.states = nn.Parameter(states)

    def forward(self, _gpt: GPT2) -> Tensor:
        """[L, 2, P, C]."""
        return self.states


class ExitHead(nn.Module):
    """A classifier on what the first blocks make of a message's last token: a norm and a linear layer.

    after: so many blocks. It begins with the answer 0 for all classes, whatever the seed.
    """

    def __init__(self, width: int, classes: int, *, after: int) -> None:
        super().__init__()
        self.after = after
        self.ln = nn.LayerNorm(width, eps=EPSILON)
        self.head = nn.Linear(width, classes)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, x: Tensor, last: Tensor) -> Tensor:
        """The first blocks' output [B, T, C] -> logits [B, classes]."""
        logits: Tensor = self.head(self.ln(at(x, last).squeeze(1).float()))
        return logits


class SpamClassifier(nn.Module):
    """GPT-2 and one linear layer on what it makes of a message's last token.

    exit: judges by the first blocks alone; None where there is none.
    """

    def __init__(self, gpt: GPT2, classes: int) -> None:
        super().__init__()
        self.gpt = gpt
        self.head = nn.Linear(gpt.architecture.width, classes)
        self.exit: ExitHead | None = None

    def add_exit(self, after: int) -> None:
        """Put a fresh exit behind so many blocks. Raises ConfigError where there are not as many."""
        if not 1 <= after < len(self.gpt.h):
            raise ConfigError(f"exit after {after} blocks: the model has {len(self.gpt.h)}; name fewer")
        with torch.random.fork_rng():
            self.exit = ExitHead(self.head.in_features, self.head.out_features, after=after)

    def both(self, ids: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of the exit and of the whole model, [B, classes] each. Raises ConfigError without exit."""
        if self.exit is None:
            raise ConfigError("this model has no exit; train it with exit_after")
        last = lengths - 1
        x = self.gpt.run(self.gpt.embed(ids), stop=self.exit.after)
        early: Tensor = self.exit(x, last)
        hidden = self.gpt.ln_f(self.gpt.run(x, self.exit.after, last=last))
        return early, self.head(hidden.squeeze(1))

    def forward(self, ids: Tensor, lengths: Tensor, position: Position = "last_real") -> Tensor:
        """Token ids [B, T], padded on the right, and their numbers of real tokens [B] -> logits [B, classes].

        position `last_padded` is the lecture's way: it reads position T - 1, padding or not.
        """
        logits: Tensor = self.head(self.pooled(ids, lengths, position))
        return logits

    def pooled(self, ids: Tensor, lengths: Tensor, position: Position = "last_real") -> Tensor:
        """What the head reads: the hidden state of the last token after the final norm, [B, C]."""
        hidden: Tensor = self.gpt(ids, _last(ids, lengths, position))
        return hidden.squeeze(1)

    def suffix(self, x: Tensor, lengths: Tensor, first: int, position: Position = "last_real") -> Tensor:
        """Logits [B, classes] from the output of blocks 0 … first - 1, [B, T, C]; see `strategies`."""
        hidden = self.gpt.ln_f(self.gpt.run(x, first, last=_last(x, lengths, position)))
        logits: Tensor = self.head(hidden.squeeze(1))
        return logits


def at(x: Tensor, last: Tensor) -> Tensor:
    """Row b's position last[b]: [B, T, C] -> [B, 1, C]."""
    return x[torch.arange(x.shape[0], device=x.device), last].unsqueeze(1)


def _last(x: Tensor, lengths: Tensor, position: Position) -> Tensor:
    return lengths - 1 if position == "last_real" else torch.full_like(lengths, x.shape[1] - 1)


def _initialise(name: str, parameter: nn.Parameter, layers: int) -> None:
    """Radford et al. 2019, 2.3: projections onto the residual path shrink with the number of them."""
    if name.endswith("bias"):
        nn.init.zeros_(parameter)
    elif parameter.dim() == 1:
        nn.init.ones_(parameter)
    else:
        residual = name.endswith("c_proj.weight")
        nn.init.normal_(parameter, std=INITIAL_STD / math.sqrt(2 * layers) if residual else INITIAL_STD)


def _choose(scores: Tensor, temperature: float, top_k: int, generator: torch.Generator | None) -> Tensor:
    if temperature == 0.0:
        return scores.argmax(dim=-1, keepdim=True)  # [B, 1]
    if top_k:
        least = scores.topk(min(top_k, scores.shape[-1])).values[:, -1:]  # [B, 1]
        scores = scores.masked_fill(scores < least, -math.inf)
    return torch.multinomial((scores / temperature).softmax(dim=-1), 1, generator=generator)


# ---- One file: names and layout of the hub's, architecture and labels in the header ----------------------

_TRANSPOSED = ("c_attn.weight", "c_proj.weight", "c_fc.weight")  # [in, out] in files
_SCALE = "wte.scale"
INT8_MAX = 127


def gpt2_tensors(gpt: GPT2) -> dict[str, Tensor]:
    """The weights as files hold them, by OpenAI's names."""
    return {name: _turned(name, tensor).contiguous() for name, tensor in gpt.state_dict().items()}


def gpt2_from_tensors(architecture: Architecture, tensors: dict[str, Tensor], source: Path) -> GPT2:
    """The inverse, in fp32; takes `tensors` over. Raises BadInput that names the tensor which is wrong."""
    with torch.device("meta"):  # no memory and no random numbers for weights about to be replaced
        gpt = GPT2(architecture)
        _add(gpt, tensors)
    expected = {name: tuple(_turned(name, tensor).shape) for name, tensor in gpt.state_dict().items()}
    _check_shapes(expected, tensors, source)
    for name, tensor in tensors.items():
        if not tensor.is_floating_point():
            raise BadInput(f"{source}: tensor {name} holds integers without a scale; fetch or train it again")
    state = {name: _turned(name, tensors[name]).float().contiguous() for name in expected}
    gpt.load_state_dict(state, assign=True)
    return gpt


def _add(gpt: GPT2, tensors: dict[str, Tensor]) -> None:
    """The adapters and the prefix that a file of weights has; their shapes are checked with all others."""
    for i, block in enumerate(gpt.h):
        down = tensors.get(f"h.{i}.after_attn.down.weight")
        if down is not None and isinstance(block, Block):
            block.adapt(len(down) if down.dim() == 2 else 1)
    states = tensors.get("prefix.states")
    if states is not None:
        length = states.shape[2] if states.dim() == 4 else 1
        gpt.prefix = Prefix(torch.empty(len(gpt.h), 2, length, gpt.architecture.width))


def to_safetensors(
    model: SpamClassifier,
    file: Path,
    labels: Sequence[str],
    *,
    compact: bool = False,
    head: str = Choice.head,
) -> None:
    """Write a classifier. Raises Unwritable.

    head: what its outputs are (`filterd_trainer.tasks.task.Task.head`).
    compact: the token embedding as int8 with one scale a row, the other matrices as fp16.
    """
    tensors = gpt2_tensors(model.gpt)
    if compact:
        tensors = {
            name: t.half() if t.dim() == 2 else t for name, t in tensors.items() if name != "wte.weight"
        }
        tensors["wte.weight"], tensors[_SCALE] = _rows_to_int8(model.gpt.wte.weight.detach())
    tensors |= {f"head.{name}": tensor for name, tensor in model.head.state_dict().items()}
    architecture = msgspec.json.encode(model.gpt.architecture).decode()
    metadata = {"architecture": architecture, "labels": json.dumps(list(labels)), "head": head}
    if model.exit is not None:
        tensors |= {f"exit.{name}": tensor for name, tensor in model.exit.state_dict().items()}
        metadata["exit_after"] = str(model.exit.after)
    write_tensors(file, tensors, metadata)


def from_safetensors(file: Path) -> tuple[SpamClassifier, tuple[str, ...]]:
    """A classifier in fp32 and its labels. Raises NotFound, and BadInput that names what is wrong."""
    tensors, metadata = read_tensors(file)
    try:
        architecture = msgspec.json.decode(metadata["architecture"], type=Architecture)
        labels = msgspec.json.decode(metadata["labels"], type=tuple[str, ...])
        after = int(metadata.get("exit_after", 0))
        outputs = tasks.outputs(metadata.get("head", Choice.head), labels)
    except (KeyError, ValueError, ConfigError, msgspec.MsgspecError) as error:
        raise BadInput(f"{file}: its header is not a classifier's ({error}); train a new one") from error
    heads = {name: tensors.pop(name) for name in list(tensors) if name.startswith("head.")}
    of_exit = {name: tensors.pop(name) for name in list(tensors) if name.startswith("exit.")}
    width = architecture.width
    _check_shapes({"head.weight": (outputs, width), "head.bias": (outputs,)}, heads, file)
    if _SCALE in tensors:
        embedding = {name: tensors.pop(name) for name in ("wte.weight", _SCALE) if name in tensors}
        rows = architecture.vocabulary
        _check_shapes({"wte.weight": (rows, width), _SCALE: (rows, 1)}, embedding, file)
        tensors["wte.weight"] = embedding["wte.weight"].float() * embedding[_SCALE].float()
    model = SpamClassifier(gpt2_from_tensors(architecture, tensors, file), outputs)
    model.head.load_state_dict({name.removeprefix("head."): t.float() for name, t in heads.items()})
    if after:
        model.add_exit(after)
        shapes = {f"exit.{name}": tuple(t.shape) for name, t in model.exit.state_dict().items()}  # type: ignore[union-attr]
        _check_shapes(shapes, of_exit, file)
        model.exit.load_state_dict({name.removeprefix("exit."): t.float() for name, t in of_exit.items()})  # type: ignore[union-attr]
    return model.eval(), labels


def read_tensors(file: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """All tensors of a safetensors file, and its header. Raises NotFound and BadInput."""
    with _opened(file) as stream:
        return {name: stream.get_tensor(name) for name in stream.keys()}, stream.metadata() or {}  # noqa: SIM118


def read_header(file: Path) -> dict[str, str]:
    """The free text in a safetensors file's header. Raises NotFound and BadInput."""
    with _opened(file) as stream:
        return stream.metadata() or {}


@contextmanager
def _opened(file: Path) -> Iterator[Any]:
    try:
        with safe_open(file, framework="pt") as stream:
            yield stream
    except OSError as error:
        raise NotFound(f"{file}: cannot be read; name a safetensors file") from error
    except SafetensorError as error:
        raise BadInput(f"{file}: not a whole safetensors file ({error}); fetch or train it again") from error


def _turned(name: str, tensor: Tensor) -> Tensor:
    return tensor.T if name.endswith(_TRANSPOSED) else tensor


def _rows_to_int8(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """[V, C] -> int8 [V, C] and fp32 scales [V, 1]; symmetric, a row's largest magnitude is 127."""
    scale = matrix.abs().amax(dim=1, keepdim=True).clamp(min=torch.finfo(torch.float32).tiny) / INT8_MAX
    return (matrix / scale).round().to(torch.int8), scale


def _check_shapes(expected: dict[str, tuple[int, ...]], tensors: dict[str, Tensor], source: Path) -> None:
    for name in sorted(tensors.keys() - expected.keys()):
        raise BadInput(f"{source}: holds a tensor {name}, which this architecture has not")
    for name, shape in expected.items():
        if name not in tensors:
            raise BadInput(f"{source}: lacks tensor {name}; fetch or train it again")
        if tuple(tensors[name].shape) != shape:
            found = tuple(tensors[name].shape)
            raise BadInput(f"{source}: tensor {name} is of shape {found}, this architecture needs {shape}")
