"""OpenAI's own GPT-2 checkpoints, read without TensorFlow: `hparams.json` and `model.ckpt.{index,data-…}`.

Strategy: the index is a sorted table in LevelDB's format (github.com/google/leveldb, doc/table_format.md)
whose values are `BundleEntryProto` (tensorflow/core/protobuf/tensor_bundle.proto); the data file holds the
tensors' bytes at the offsets that it names. Only what OpenAI's files use is read: one shard, float32, blocks
without compression. Nothing is trusted: every offset, length and shape is checked against the file before it
is used.
"""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import msgspec
import numpy as np
import torch
from torch import Tensor

from filterd.errors import BadInput, NotFound
from filterd.scoring.bundle import Architecture

HPARAMS: Final = "hparams.json"
INDEX: Final = "model.ckpt.index"
DATA: Final = "model.ckpt.data-00000-of-00001"
FILES: Final = (HPARAMS, INDEX, DATA)

MAX_INDEX: Final = 16 << 20  # bytes; that of GPT-2 XL, the largest, has some 20 KB
MAX_DIMENSIONS: Final = 4  # GPT-2's tensors have up to three
FOOTER: Final = 48  # two handles, padding, magic number
MAGIC: Final = 0xDB4775248B80FB57
BLOCK_TRAILER: Final = 5  # the kind of compression, a checksum
FLOAT32: Final = 1  # DT_FLOAT (tensorflow/core/framework/types.proto)
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5  # wire types of protocol buffers


class Hparams(msgspec.Struct, frozen=True, kw_only=True):
    """`hparams.json`: the sizes of a model, by OpenAI's names."""

    n_vocab: int
    n_ctx: int
    n_embd: int
    n_head: int
    n_layer: int

    def architecture(self) -> Architecture:
        """The same in filterd's words."""
        return Architecture(
            vocabulary=self.n_vocab,
            context=self.n_ctx,
            width=self.n_embd,
            layers=self.n_layer,
            heads=self.n_head,
        )


class TensorEntry(NamedTuple):
    """Where a tensor lies in the data file. offset, size: bytes."""

    dtype: int
    shape: tuple[int, ...]
    shard: int
    offset: int
    size: int


def is_one(folder: Path) -> bool:
    """Whether a folder holds such a checkpoint."""
    return (folder / INDEX).is_file()


def read(folder: Path) -> tuple[Architecture, dict[str, Tensor]]:
    """Sizes and tensors (fp32), named as in the hub's files: `h.0.attn.c_attn.weight` is [in, out].

    Raises NotFound where a file is missing, and BadInput that says what is wrong in which.
    """
    try:
        sizes = msgspec.json.decode((folder / HPARAMS).read_bytes(), type=Hparams)
        with (folder / INDEX).open("rb") as file:
            index = file.read(MAX_INDEX + 1)
        data: np.memmap[tuple[int], np.dtype[np.uint8]] = np.memmap(folder / DATA, np.uint8, "r")
    except OSError as error:
        name = error.filename or folder
        raise NotFound(f"{name}: {error.strerror}; an OpenAI checkpoint has {', '.join(FILES)}") from error
    except (msgspec.MsgspecError, ValueError) as error:
        raise BadInput(f"{folder}: {error}; copy the checkpoint again") from error
    try:
        entries = {name: entry for name, entry in _entries(index) if name.startswith("model/")}
        return sizes.architecture(), {_hub_name(name): _tensor(data, e) for name, e in entries.items()}
    except (ValueError, IndexError, struct.error) as error:
        raise BadInput(f"{folder / INDEX}: not an index of OpenAI's ({error}); copy it again") from error


def _tensor(data: "np.memmap[tuple[int], np.dtype[np.uint8]]", entry: TensorEntry) -> Tensor:
    count = int(np.prod(entry.shape, dtype=np.int64))
    if entry.dtype != FLOAT32 or entry.shard or entry.size != 4 * count:
        raise ValueError("a tensor that is not float32 in one shard")
    if entry.offset + entry.size > len(data):
        raise ValueError("a tensor beyond the end of the data file")
    values = np.array(data[entry.offset : entry.offset + entry.size]).view("<f4")
    # A matrix was the kernel of a convolution of width 1: [1, in, out].
    return torch.from_numpy(values.reshape(entry.shape[1:] if len(entry.shape) == 3 else entry.shape))


def _hub_name(name: str) -> str:
    """`model/h0/attn/c_attn/w` as `h.0.attn.c_attn.weight`."""
    parts = name.removeprefix("model/").split("/")
    if parts[0][:1] == "h" and parts[0][1:].isdigit():
        parts[:1] = ["h", parts[0][1:]]
    last = {"w": "weight", "b": "bias", "g": "weight"}.get(parts[-1])
    return ".".join([*parts[:-1], last] if last else [*parts, "weight"])


# ---- the table ---------------------------------------------------------------------------------------------


def _entries(index: bytes) -> Iterator[tuple[str, TensorEntry]]:
    """Names and places of the tensors; the entry with the empty name is the bundle's header."""
    if len(index) > MAX_INDEX or len(index) < FOOTER:
        raise ValueError("its length")
    footer = index[-FOOTER:]
    if struct.unpack("<Q", footer[-8:])[0] != MAGIC:
        raise ValueError("its magic number")
    _, at = _handle(footer, 0)  # of the meta index, which is empty
    top, _ = _handle(footer, at)
    for _, handle in _block(index, *top):
        (offset, size), _ = _handle(handle, 0)
        for key, value in _block(index, offset, size):
            if key:
                yield key.decode("ascii"), _entry(value)


def _handle(data: bytes, at: int) -> tuple[tuple[int, int], int]:
    """Offset and size of a block, and where the next begins."""
    offset, at = _varint(data, at)
    size, at = _varint(data, at)
    return (offset, size), at


def _block(index: bytes, offset: int, size: int) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values of a block; keys are cut by what they share with the one before."""
    if offset + size + BLOCK_TRAILER > len(index) or size < 4:
        raise ValueError("a block beyond its end")
    if index[offset + size]:
        raise ValueError("a compressed block")
    block = index[offset : offset + size]
    restarts = struct.unpack("<I", block[-4:])[0]
    end = size - 4 - 4 * restarts
    key, at = b"", 0
    while at < end:
        shared, at = _varint(block, at)
        fresh, at = _varint(block, at)
        length, at = _varint(block, at)
        if at + fresh + length > end:
            raise ValueError("an entry beyond its block")
        key = key[:shared] + block[at : at + fresh]
        yield key, block[at + fresh : at + fresh + length]
        at += fresh + length


# ---- protocol buffers --------------------------------------------------------------------------------------


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """A number of seven bits a byte, lowest first, and where the next begins."""
    number = 0
    for shift in range(0, 70, 7):
        byte = data[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, at
    raise ValueError("a number without an end")


def _fields(message: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Field number, value of a number (else 0), and bytes of what is none."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        kind, number, length = tag & 7, 0, 0
        if kind == VARINT:
            number, at = _varint(message, at)
        elif kind == BYTES:
            length, at = _varint(message, at)
        elif kind in (FIXED64, FIXED32):
            length = 8 if kind == FIXED64 else 4
        else:
            raise ValueError("an unknown wire type")
        if at + length > len(message):
            raise ValueError("a field beyond its message")
        yield tag >> 3, number, message[at : at + length]
        at += length


def _entry(message: bytes) -> TensorEntry:
    """`BundleEntryProto`: dtype 1, shape 2, shard_id 3, offset 4, size 5."""
    numbers, shape = {1: 0, 3: 0, 4: 0, 5: 0}, b""
    for field, number, data in _fields(message):
        if field == 2:
            shape = data
        elif field in numbers:
            numbers[field] = number
    return TensorEntry(
        dtype=numbers[1], shape=_shape(shape), shard=numbers[3], offset=numbers[4], size=numbers[5]
    )


def _shape(message: bytes) -> tuple[int, ...]:
    """`TensorShapeProto`: dim 2, each with its size 1."""
    dimensions = [data for field, _, data in _fields(message) if field == 2]
    if len(dimensions) > MAX_DIMENSIONS:
        raise ValueError("a shape of too many dimensions")
    return tuple(next((number for field, number, _ in _fields(d) if field == 1), 0) for d in dimensions)
