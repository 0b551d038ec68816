"""Judging with GPT-2 124M on a CPU: the lecture's own way against a bundle's model.

The lecture's way is PyTorch in fp32, batches of 8, each message padded to the longest of its training part
(120 tokens), all positions of all blocks; attention is PyTorch's fused kernel, faster than the lecture's own.
Ours is `filterd.scoring.backend` over the graph in 8 bits: unpadded, similar lengths together. Both take UCI
messages in their natural mix, in turns, so that whatever else the machine does slows both. Weights are
random: speed does not depend on them. The second table holds the figures of docs/bundle.md, for any `.onnx`
file named: `python -m tests.bench.inference /path/to/bundle`.
"""

import csv
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from rich.console import Console, Group
from rich.table import Table
from safetensors.numpy import load_file

from filterd.api import Kind
from filterd.scoring import bundle
from filterd.scoring.backend import Backend, open_backend
from filterd.scoring.engine import Engine
from filterd.scoring.tokenizer import END_OF_TEXT_ID, Tokenizer
from filterd_trainer.export import card, graph, quantize
from filterd_trainer.gpt2.model import GPT2, PRESETS, SpamClassifier, to_safetensors

UCI = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "sms_uci" / "SMSSpamCollection"
LONGEST = 120  # tokens of the lecture's longest training message
BATCH = 8
MESSAGES = 192  # evenly spread over the UCI file, in our turn
ROUNDS = 3
OBSERVED = 32  # messages that ranges are measured on; how good they are does not matter here
MAIL = 120  # tokens of a short mail; encoding it again may give some more, and 128 is a window
SEED = 123


def uci() -> list[str]:
    """Texts in the natural mix, or made-up ones of about their lengths."""
    if not UCI.is_file():
        return [" ".join(["meet me there at seven"] * (1 + i * i % 11)) for i in range(5574)]
    with UCI.open(encoding="utf-8", newline="") as stream:
        return [line[1] for line in csv.reader(stream, delimiter="\t", quoting=csv.QUOTE_NONE)]


def classifier(preset: str = "gpt2") -> SpamClassifier:
    """Random weights, with outlier channels in the norms as trained GPT-2s have them."""
    torch.manual_seed(SEED)
    model = SpamClassifier(GPT2(PRESETS[preset]), 2).eval()
    with torch.no_grad():
        for name, parameter in model.gpt.named_parameters():
            if "ln_1.weight" in name or "ln_2.weight" in name:
                parameter[:: parameter.shape[0] // 6].mul_(8.0)
    return model


def write(model: SpamClassifier, folder: Path, ids: list[list[int]]) -> None:
    """float.onnx and model.onnx, in 8 bits; each whole by itself."""
    architecture = model.gpt.architecture
    to_safetensors(model, folder / "float.safetensors", ("ham", "spam"))
    weights = load_file(folder / "float.safetensors")
    (folder / "float.onnx").write_bytes(graph.build(weights, architecture).SerializeToString())
    watched = graph.build(weights, architecture, taps=True)
    (folder / "watched.onnx").write_bytes(watched.SerializeToString())
    ranges = quantize.observe(folder / "watched.onnx", graph.linear_names(architecture), ids)
    smoothed, linears = quantize.int8(weights, architecture, ranges)
    to_safetensors(model, folder / "compact.safetensors", ("ham", "spam"), compact=True)
    compact = load_file(folder / "compact.safetensors")
    smoothed |= {name: compact[name] for name in (graph.TABLE, graph.TABLE_SCALE)}
    (folder / "model.onnx").write_bytes(graph.build(smoothed, architecture, linears).SerializeToString())


def lecture(model: SpamClassifier, ids: list[list[int]]) -> Callable[[], object]:
    """One batch, padded to LONGEST, read at the last position."""
    padded = torch.full((len(ids), LONGEST), END_OF_TEXT_ID)
    for row, message in zip(padded, ids, strict=True):
        row[: len(message)] = torch.tensor(message[:LONGEST])

    def judge() -> object:
        with torch.inference_mode():
            return model.head(model.gpt(padded))[:, -1].softmax(dim=-1)

    return judge


def timed(call: Callable[[], object]) -> float:
    """Seconds of one call."""
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def shapes(backend: Backend, name: str, table: Table) -> None:
    """A row of messages a second by `card.SHAPES`, and the largest logit difference alone against batched."""
    speed = card.measure(backend, 1024, 0.0, {})
    rows = [np.random.default_rng(n).integers(0, END_OF_TEXT_ID, n).tolist() for n in (1, 7, 16, 33, 60, 128)]
    alone = np.concatenate([backend.score([row]).logits for row in rows])
    difference = np.abs(backend.score(rows).logits - alone).max()
    table.add_row(name, *(f"{rate:.1f}" for rate in speed.messages_per_second.values()), f"{difference:.1g}")


def run() -> Group:
    """The ratio, and messages a second by shape."""
    tokenizer = Tokenizer.load(bundle.DEFAULT / bundle.TOKENIZER)
    texts = uci()
    texts = texts[:: len(texts) // MESSAGES][:MESSAGES]
    ids = [tokenizer.encode(text) for text in texts]
    model = classifier()
    ratio = Table(title="GPT-2 124M, UCI messages: medians of turns")
    for column in ("way", "messages/s", "times"):
        ratio.add_column(column, justify="right")
    by_shape = Table(title="messages/s by messages x tokens", caption=f"{card.cpu()}, threads: all")
    for column in ("model", *(f"{m}x{t}" for m, t in card.SHAPES), "alone - batched"):
        by_shape.add_column(column, justify="right")
    with tempfile.TemporaryDirectory() as folder:
        write(model, Path(folder), ids[:OBSERVED])
        ours, floats = (open_backend(Path(folder) / name) for name in ("model.onnx", "float.onnx"))
        slow, fast = [], []
        judge = lecture(model, ids[:BATCH])
        for turn in range(ROUNDS + 1):
            seconds = timed(judge), timed(lambda: ours.score(ids))
            if turn:  # the first warms up
                slow.append(BATCH / seconds[0])
                fast.append(len(ids) / seconds[1])
        times = [b / a for a, b in zip(slow, fast, strict=True)]
        ratio.add_row("the lecture's: fp32, batch 8, padded to 120", f"{statistics.median(slow):.1f}", "1.0")
        ratio.add_row("ours: 8 bits", f"{statistics.median(fast):.1f}", f"{statistics.median(times):.1f}")
        shapes(floats, "124M fp32", by_shape)
        shapes(ours, "124M int8", by_shape)
    parts: list[Table] = [ratio, by_shape]
    if (bundle.DEFAULT / bundle.MANIFEST).is_file():
        shapes(open_backend(bundle.DEFAULT), "default bundle", by_shape)
        parts.append(default_bundle(texts))
    return Group(*parts)


def default_bundle(texts: list[str]) -> Table:
    """The engine from text to verdict, with the default bundle."""
    engine = Engine.open(bundle.DEFAULT)
    tokenizer = Tokenizer.load(bundle.DEFAULT / bundle.TOKENIZER)
    stream = tokenizer.encode("\n".join(texts))
    mails = [
        tokenizer.decode(stream[start : start + MAIL]) for start in range(0, len(stream) - MAIL, MAIL // 2)
    ]
    table = Table(title=f"engine with {engine.bundle.id}")
    for column in ("messages", "per second"):
        table.add_column(column, justify="right")
    for name, some, kind in (("SMS (UCI)", texts, Kind.SMS), (f"texts of {MAIL} tokens", mails, Kind.MAIL)):
        kinds = [kind] * len(some)
        taken = card.seconds(lambda some=some, kinds=kinds: engine.margins(some, kinds), 5)  # type: ignore[misc]
        table.add_row(name, f"{len(some) / taken:,.0f}")
    return table


def compare(paths: list[Path]) -> Table:
    """Messages a second by shape of models that are there already."""
    table = Table(caption=card.cpu())
    for column in ("model", *(f"{m}x{t}" for m, t in card.SHAPES), "alone - batched"):
        table.add_column(column, justify="right")
    for path in paths:
        shapes(open_backend(path), str(path), table)
    return table


if __name__ == "__main__":
    Console().print(compare([Path(name) for name in sys.argv[1:]]) if sys.argv[1:] else run())
