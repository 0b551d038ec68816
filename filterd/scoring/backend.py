"""Running the model: ONNX Runtime behind a protocol of one method.

Strategy: a call is cut into chunks of similar length. One chunk is spread over all threads, so that a lone
message is answered soonest; several chunks run beside one another, each on one thread, which does more
messages a second than spreading each of them (nothing waits inside an operator, and an operator that has no
parallel form keeps no core idle). Both sessions map the same weights file. Chunks are small, so what the
runtime keeps of its working memory stays small too, whatever a caller sends.

The runtime is imported when a backend is opened: it costs 0.2 s, which `filterd --help` should not pay.
"""

import ctypes
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from filterd.errors import BundleError, ModelUnavailable, RuntimeMissing
from filterd.kit.hush import hushed
from filterd.scoring.bundle import FIRST, REST
from filterd.scoring.tokenizer import END_OF_TEXT_ID

# Tokens of a chunk, padding included: activations stay in the cache, and 512 rows fill the matrix kernels.
TOKENS_PER_CHUNK = 512
MAX_THREADS = 64  # beyond this the runtime's own overhead outweighs another core
SILENT = 4  # ONNX Runtime's "fatal": errors reach us as exceptions, the rest alarms people for nothing
QUANTIZATION = "quantization"  # key of the model's metadata that names its arithmetic; set by the trainer
CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
ON_GPU = ("fp32",)  # the runtime has no CUDA kernels for the integer forms


class Scores(NamedTuple):
    """What the model says of B messages. logits: float32 [B, n]; hidden: float32 [B, C].

    hidden is the last real token's state after the final norm, of which logits are a linear function.
    """

    logits: NDArray[np.float32]
    hidden: NDArray[np.float32]


Job = Callable[[Sequence[Sequence[int]]], Scores]
Settle = Callable[[NDArray[np.float32]], tuple[NDArray[np.float32], NDArray[np.bool_]]]


class Backend(Protocol):
    """Runs a model. May be called from several threads."""

    def score(self, ids: Sequence[Sequence[int]]) -> Scores:
        """Score B messages of any lengths up to the model's context, in the order given.

        A message's numbers do not depend on its neighbours. An empty message is one padding token.
        Raises ModelUnavailable where the runtime fails.
        """


def open_backend(model: Path, *, threads: int | None = None) -> "OnnxBackend":
    """Load a model: a bundle's folder, or the .onnx file in it.

    threads: cores to use, None for all that this process may use. CUDA is used where onnxruntime-gpu is
    installed, a device answers and the model is of floats. Raises RuntimeMissing, BundleError.
    """
    file = model / "model.onnx" if model.is_dir() else model
    return OnnxBackend(file, _threads(threads))


def open_staged(folder: Path, settle: Settle, *, threads: int | None = None) -> "StagedBackend":
    """Load the two files of a bundle with an exit; the rest as `open_backend`."""
    return StagedBackend(folder, _threads(threads), settle)


def _threads(threads: int | None) -> int:
    return max(1, min(threads or len(os.sched_getaffinity(0)), MAX_THREADS))


class OnnxBackend:
    """A model in ONNX Runtime. threads: cores that one call may use."""

    def __init__(self, file: Path, threads: int) -> None:
        self._file, self._threads = file, threads
        self._alone = _session(file, threads)
        self.device = "cpu"
        quantization = self._alone.get_modelmeta().custom_metadata_map.get(QUANTIZATION, "")
        if quantization in ON_GPU and _has_cuda():
            self._alone, self.device = _session(file, threads, CUDA), "cuda"

    def score(self, ids: Sequence[Sequence[int]]) -> Scores:
        """See `Backend.score`."""
        return self._spread(ids, lambda rows: _run(self._single, rows), lambda rows: _run(self._alone, rows))

    def _spread(self, ids: Sequence[Sequence[int]], beside: Job, alone: Job) -> Scores:
        """Chunk by chunk; beside: runs a chunk on one thread, alone: on all of them."""
        filled = [row if len(row) else (END_OF_TEXT_ID,) for row in ids]
        parts = list(chunks([len(row) for row in filled]))
        jobs = [[filled[i] for i in part] for part in parts]
        if len(jobs) > 1 and self._threads > 1 and self.device == "cpu":
            found = list(self._workers.map(beside, jobs))
        else:
            found = [alone(rows) for rows in jobs]
        return self._in_order(parts, found, len(filled))

    def _in_order(self, parts: list[list[int]], found: list[Scores], total: int) -> Scores:
        classes, width = (output.shape[1] for output in self._alone.get_outputs())
        scores = Scores(np.empty((total, classes), np.float32), np.empty((total, width), np.float32))
        for part, of_part in zip(parts, found, strict=True):
            for whole, rows in zip(scores, of_part, strict=True):
                whole[part] = rows
        return scores

    @cached_property
    def _single(self) -> Any:
        return self._alone if self._threads == 1 else _session(self._file, 1)

    @cached_property
    def _workers(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self._threads, thread_name_prefix="filterd-model")


class StagedBackend(OnnxBackend):
    """A model in two files: the blocks before an exit, with its head, and those behind it.

    settle: from the exit's logits [B, n] what stands for the whole model's, and which rows that settles, [B].
    """

    def __init__(self, folder: Path, threads: int, settle: Settle) -> None:
        super().__init__(folder / REST, threads)
        self._settle = settle
        self._first_file = folder / FIRST
        self._first_alone = _session(self._first_file, threads)

    def score(self, ids: Sequence[Sequence[int]]) -> Scores:
        """All blocks for every message; see `Backend.score`."""
        return self._staged(ids, settle=None)

    def early(self, ids: Sequence[Sequence[int]]) -> Scores:
        """The same, but what the exit settles goes no further; hidden is 0 there. Alone as in company."""
        return self._staged(ids, settle=self._settle)

    def _staged(self, ids: Sequence[Sequence[int]], settle: Settle | None) -> Scores:
        return self._spread(
            ids,
            lambda rows: _in_stages(self._first_single, self._single, rows, settle),
            lambda rows: _in_stages(self._first_alone, self._alone, rows, settle),
        )

    @cached_property
    def _first_single(self) -> Any:
        return self._first_alone if self._threads == 1 else _session(self._first_file, 1)


def chunks(lengths: Sequence[int], budget: int = TOKENS_PER_CHUNK) -> Iterator[list[int]]:
    """Indices in chunks of similar length, each at most `budget` tokens with padding (or one message)."""
    chunk: list[int] = []
    for i in sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True):
        if chunk and (len(chunk) + 1) * lengths[chunk[0]] > budget:
            yield chunk
            chunk = []
        chunk.append(i)
    if chunk:
        yield chunk


def _run(session: Any, rows: Sequence[Sequence[int]]) -> Scores:
    return Scores(*_call(session, ["logits", "hidden"], _padded(rows)))


def _in_stages(first: Any, rest: Any, rows: Sequence[Sequence[int]], settle: Settle | None) -> Scores:
    feed = _padded(rows)
    early, states = _call(first, ["early", "states"], feed)
    if settle is None:
        return Scores(*_call(rest, ["logits", "hidden"], feed | {"states": states}))
    logits, settled = settle(early)
    hidden = np.zeros((len(rows), states.shape[1]), np.float32)
    left = np.flatnonzero(~settled)
    if len(left):
        # As wide as the longest that is left: what was padding for the others alone is cut off.
        lengths = feed["lengths"][left]
        width = int(lengths.max())
        of_left = states.reshape(len(rows), -1, states.shape[1])[left, :width].reshape(-1, states.shape[1])
        fed = {"ids": feed["ids"][left, :width], "lengths": lengths, "states": of_left}
        logits[left], hidden[left] = _call(rest, ["logits", "hidden"], fed)
    return Scores(logits, hidden)


def _padded(rows: Sequence[Sequence[int]]) -> dict[str, NDArray[Any]]:
    lengths = np.array([len(row) for row in rows], dtype=np.int64)
    ids = np.full((len(rows), int(lengths.max())), END_OF_TEXT_ID, dtype=np.int64)
    for padded, row in zip(ids, rows, strict=True):
        padded[: len(row)] = row
    return {"ids": ids, "lengths": lengths}


def _call(session: Any, outputs: list[str], feed: dict[str, NDArray[Any]]) -> list[NDArray[np.float32]]:
    try:
        found: list[NDArray[np.float32]] = session.run(outputs, feed)
        return found
    except Exception as error:  # the runtime's exceptions have no root of their own
        raise ModelUnavailable(f"the model cannot be run: {_first_line(error)}") from error


def _session(file: Path, threads: int, provider: str = CPU) -> Any:
    runtime = _runtime()
    options = runtime.SessionOptions()
    options.log_severity_level = SILENT
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # The trainer wrote the graph as it is to be run; "extended" would fuse Add and LayerNorm, slower.
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.enable_mem_pattern = False  # it keeps a plan for every shape it has ever seen
    # Idle threads would otherwise burn a core waiting for the next message.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return runtime.InferenceSession(
            file, options, providers=[CPU] if provider == CPU else [provider, CPU]
        )
    except Exception as error:  # as above
        raise BundleError(
            f"{file}: cannot be loaded ({_first_line(error)}); export the model again"
        ) from error


def _runtime() -> Any:
    try:
        with nullcontext() if "onnxruntime" in sys.modules else hushed():
            import onnxruntime
    except ImportError as error:
        raise RuntimeMissing(
            "no ONNX Runtime is installed; pip install 'filterd[cpu]', or 'filterd[gpu]' for CUDA"
        ) from error
    onnxruntime.set_default_logger_severity(SILENT)
    return onnxruntime


def _has_cuda() -> bool:
    """Whether the runtime was built for CUDA and the driver knows a device; asked so, neither complains."""
    if CUDA not in _runtime().get_available_providers():
        return False
    count = ctypes.c_int(0)
    try:
        driver = ctypes.CDLL("libcuda.so.1")
        return driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0 and count.value > 0
    except (OSError, AttributeError):
        return False


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
