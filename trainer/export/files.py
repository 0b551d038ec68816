"""The files of a model: its tensors and the graph over them, in floats and as they ship.

model.safetensors is what retraining starts from. The graph refers to the bytes of its token table there (of
all its tensors, where nothing is quantised) instead of holding a second copy.
"""

import json
import shutil
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from safetensors.numpy import load_file

from filterd.reading import text
from filterd.scoring import bundle
from filterd.scoring.backend import QUANTIZATION, Backend, open_backend
from filterd.scoring.bundle import Manifest
from filterd.scoring.tokenizer import Tokenizer
from filterd_trainer.data.corpus import Dataset
from filterd_trainer.export import exits, graph, quantize
from filterd_trainer.export.graph import ExternalTensor
from filterd_trainer.export.texts import messages
from filterd_trainer.gpt2.model import SpamClassifier, to_safetensors
from filterd_trainer.training.runs import RunConfig

OBSERVED = 256  # training messages that outlier channels are looked for in
WATCHED = "watched.onnx"  # in the scratch folder


def write_model(
    quantization: str,
    config: RunConfig,
    dataset: Dataset,
    model: SpamClassifier,
    manifest: Manifest,
    scratch: Path,
    folder: Path,
) -> tuple[Tokenizer, Backend]:
    """The model in floats in one folder, as it ships in another with the tokenizer; those two, opened."""
    shutil.copy(bundle.DEFAULT / bundle.TOKENIZER, folder / bundle.TOKENIZER)
    tokenizer = Tokenizer.load(folder / bundle.TOKENIZER)
    floats = write_floats(model, config, scratch)
    if quantization == "fp32":
        for name in (bundle.MODEL, bundle.WEIGHTS):
            shutil.copy(scratch / name, folder / name)
        where = locations(folder / bundle.WEIGHTS)
        exits.write(folder, model, load_file(folder / bundle.WEIGHTS), None, where, "fp32")
    else:
        ids = [tokenizer.encode(t) for t in messages(dataset, "train").some(OBSERVED).texts]
        write_int8(model, config, floats, scratch / WATCHED, ids, manifest, folder)
    return tokenizer, open_backend(folder)


def write_floats(model: SpamClassifier, config: RunConfig, folder: Path) -> dict[str, NDArray[Any]]:
    """model.safetensors in floats, the graph over it, and the same with `taps`; returns the weights."""
    to_safetensors(model, folder / bundle.WEIGHTS, config.labels, head=config.learns.head)
    weights = load_file(folder / bundle.WEIGHTS)
    where = locations(folder / bundle.WEIGHTS)
    for name, taps in ((bundle.MODEL, False), (WATCHED, True)):
        built = graph.build(weights, model.gpt.architecture, external=where, taps=taps)
        save(built, "fp32", folder / name)
    return dict(weights)


def write_int8(
    model: SpamClassifier,
    config: RunConfig,
    floats: dict[str, NDArray[Any]],
    watched: Path,
    sample: Sequence[list[int]],
    manifest: Manifest,
    folder: Path,
) -> None:
    """A compact model.safetensors and the graph in 8 bits.

    watched: the graph in floats that shows its linears' inputs; sample: messages to measure ranges on.
    """
    architecture = manifest.architecture
    windows = [w for ids in sample for w in text.windows(ids, manifest.max_tokens, manifest.max_windows) if w]
    ranges = quantize.observe(watched, graph.linear_names(architecture), map(manifest.filled, windows))
    smoothed, linears = quantize.int8(floats, architecture, ranges)
    to_safetensors(model, folder / bundle.WEIGHTS, config.labels, compact=True, head=config.learns.head)
    table = (graph.TABLE, graph.TABLE_SCALE)
    compact = load_file(folder / bundle.WEIGHTS)
    where = {name: at for name, at in locations(folder / bundle.WEIGHTS).items() if name in table}
    smoothed |= {name: compact[name] for name in table}
    save(graph.build(smoothed, architecture, linears, external=where), "int8", folder / bundle.MODEL)
    exits.write(folder, model, smoothed, linears, where, "int8")


def locations(file: Path) -> dict[str, ExternalTensor]:
    """Where each tensor of a safetensors file lies: 8 bytes of length, a JSON header, the tensors."""
    with file.open("rb") as stream:
        (length,) = struct.unpack("<Q", stream.read(8))
        header = json.loads(stream.read(length))
    header.pop("__metadata__", None)
    start = 8 + length
    return {
        name: ExternalTensor(
            file.name, start + entry["data_offsets"][0], int(np.diff(entry["data_offsets"])[0])
        )
        for name, entry in header.items()
    }


def save(model: onnx.ModelProto, quantization: str, file: Path) -> None:
    """Write a graph that says what it is quantised to."""
    model.metadata_props.add(key=QUANTIZATION, value=quantization)
    file.write_bytes(model.SerializeToString())
