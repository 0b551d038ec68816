"""What the frozen blocks make of each message, computed once.

GPT-2 is causal and its frozen blocks never change, so their output at a token is the same in every epoch, in
every batch and with any padding after it. It is computed here without padding waste, and an epoch then costs
only the blocks that train (in the last of them only the last position, see `filterd_trainer.gpt2.model`).
"""

import math
import os
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from filterd.errors import Unwritable
from filterd_trainer.gpt2.device import autocast
from filterd_trainer.gpt2.model import SpamClassifier
from filterd_trainer.training.batches import Batch, Rows, sorted_batches

# Kept in memory up to here, in a file of the run folder beyond: a quarter of a small machine's 4 GB.
MAX_MEMORY_BYTES = 1 << 30
# Tokens in one pass over the frozen blocks: enough to keep matrix products efficient, and 12 MB of float32
# for each of GPT-2's activations.
TOKENS_A_PASS = 4096


def compute(model: SpamClassifier, ids: Rows, first: int, folder: Path, precision: str = "auto") -> Rows:
    """The input of block `first` for every message: rows [T, width] float32.

    With all blocks frozen only the last position counts, so rows are [1, width].
    folder: where a large result is memory-mapped; its file has no name and goes with the process.
    precision: fp32, bf16 or auto.
    """
    device = next(model.parameters()).device
    last_only = first == model.gpt.architecture.layers
    lengths = [1] * len(ids) if last_only else ids.lengths()
    offsets = np.concatenate([[0], np.cumsum(lengths)]).tolist()
    rows = Rows(_allocate((offsets[-1], model.gpt.architecture.width), folder), offsets)
    model.eval()
    for batch in _passes(ids.lengths()):
        padded, real = ids.batch(batch)
        with torch.inference_mode(), autocast(device, precision):
            hidden = model.gpt.run(model.gpt.embed(padded.to(device)), stop=first)
        for i, row, length in zip(batch, hidden.float().cpu(), real.tolist(), strict=True):
            rows.row(i).copy_(row[length - 1 : length] if last_only else row[:length])
    return rows


def _passes(lengths: list[int]) -> list[Batch]:
    batches: list[Batch] = []
    for i in (i for batch in sorted_batches(lengths, len(lengths)) for i in batch):
        if batches and (len(batches[-1]) + 1) * lengths[i] <= TOKENS_A_PASS:
            batches[-1].append(i)  # sorted, so lengths[i] is the longest of its batch
        else:
            batches.append([i])
    return batches


def _allocate(shape: tuple[int, int], folder: Path) -> Tensor:
    if 4 * math.prod(shape) <= MAX_MEMORY_BYTES:
        return torch.empty(shape, dtype=torch.float32)
    file = folder / f"prefix.{os.getpid()}.f32"
    try:
        mapped = np.memmap(file, dtype=np.float32, mode="w+", shape=shape)
        file.unlink()
    except OSError as error:
        size = f"{4 * math.prod(shape) / 2**30:.1f} GiB"
        raise Unwritable(
            f"{file}: {error.strerror}; the frozen blocks' output takes {size}: "
            "free some space or lower --max-tokens"
        ) from error
    return torch.from_numpy(mapped)
