"""Does what is shipped answer as what was trained? The three checks that an export has to pass.

All three compare calibrated probabilities, or standardised numbers, message by message, through the engine's
own path.
"""

from collections.abc import Callable, Sequence

import msgspec
import numpy as np
import numpy.typing as npt
import torch

from filterd.api import Kind
from filterd.errors import BundleError
from filterd.scoring import verdict
from filterd.scoring.backend import Backend, Scores
from filterd.scoring.bundle import Manifest
from filterd.scoring.tokenizer import END_OF_TEXT_ID, Tokenizer
from filterd.scoring.verdict import Thresholds
from filterd_trainer.export.texts import SplitTexts
from filterd_trainer.gpt2.model import SpamClassifier
from filterd_trainer.training.batches import Rows, sorted_batches

MAX_DIFFERENCE = 1e-4  # |Δp| of the ONNX graph from PyTorch, and of a message alone from the same in a batch
MAX_FLIPPED = 0.003  # share of verdicts that the shipped arithmetic may change
MESSAGES_A_PASS = 16
BY_PYTORCH = 300  # messages that PyTorch judges too
NEIGHBOURS = 48  # messages that are scored alone and in company, from the shortest to the longest

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


class Parity(msgspec.Struct, frozen=True, kw_only=True):
    """What was found, for the manifest.

    fp32: largest |Δp| of the graph in floats from PyTorch; alone: of a message alone from the same in a
    batch; shipped: of the shipped arithmetic from floats. flipped: verdicts it changes, of so many messages.
    """

    fp32: float
    alone: float
    shipped: float
    flipped: int
    messages: int


class TorchBackend:
    """A classifier in PyTorch behind the engine's protocol."""

    def __init__(self, model: SpamClassifier) -> None:
        self._model = model.eval()

    def score(self, ids: Sequence[Sequence[int]]) -> Scores:
        """See `filterd.scoring.backend.Backend`."""
        rows = Rows.of([list(row) or [END_OF_TEXT_ID] for row in ids])
        logits = np.empty((len(ids), self._model.head.out_features), np.float32)
        hidden = np.empty((len(ids), self._model.head.in_features), np.float32)
        with torch.inference_mode():
            for batch in sorted_batches(rows.lengths(), MESSAGES_A_PASS):
                padded, lengths = rows.batch(batch, END_OF_TEXT_ID)
                pooled = self._model.pooled(padded.long(), lengths)
                hidden[batch], logits[batch] = pooled.numpy(), self._model.head(pooled).numpy()
        return Scores(logits, hidden)


def check(
    manifest: Manifest,
    tokenizer: Tokenizer,
    model: SpamClassifier,
    some: SplitTexts,
    *,
    shipped: Backend,
    floats: Backend,
    judged: Callable[[Backend, SplitTexts], Floats],
    changed: Callable[[Floats, Floats], Flags],
    max_flipped: float = MAX_FLIPPED,
) -> Parity:
    """All three on some messages, [n]. Raises BundleError where one fails.

    judged: what `unit` measures, [n] or [n, classes], by a backend; changed: which verdicts two of them
    disagree on.
    """
    few = some.some(BY_PYTORCH)
    by_floats, by_shipped = judged(floats, some), judged(shipped, some)
    windows = [list(manifest.filled(tokenizer.encode(t)[: manifest.max_tokens])) for t in some.texts]
    return Parity(
        fp32=check_graph(judged(floats, few), judged(TorchBackend(model), few), unit(manifest)),
        alone=check_neighbours(shipped, windows, _meaning(manifest), unit(manifest)),
        shipped=float(np.abs(by_shipped - by_floats).max()),
        flipped=check_flipped(changed(by_shipped, by_floats), max_flipped),
        messages=len(some.texts),
    )


def _meaning(manifest: Manifest) -> Callable[[Floats], Floats]:
    """What a model's numbers [n, outputs] mean: P(spam), or what the reader of its task makes of them."""
    if manifest.reader:
        return manifest.reader.shares
    steepest = max(manifest.calibration.values(), key=lambda line: line.slope)

    def spam(rows: Floats) -> Floats:
        margins = [verdict.margin(row, manifest.ham_indices) for row in rows.tolist()]
        return np.array([verdict.probability(one, steepest) for one in margins])

    return spam


def unit(manifest: Manifest) -> str:
    """What a difference of two answers is measured in."""
    return "standard deviations" if manifest.task == "regression" else "probability"


def check_graph(onnx: Floats, pytorch: Floats, of: str = "probability") -> float:
    """Largest difference of two arrays. Raises BundleError where it is too large. of: their unit."""
    difference = float(np.abs(onnx - pytorch).max(initial=0))
    if difference > MAX_DIFFERENCE:
        raise BundleError(
            f"export: the ONNX graph differs from PyTorch by {difference:.2g} in {of},"
            f" {MAX_DIFFERENCE} is allowed; this is a fault of trainer/export/graph.py, report it"
        )
    return difference


def flipped(
    shipped: Floats, floats: Floats, kinds: Sequence[Kind], thresholds: dict[Kind, Thresholds]
) -> Flags:
    """Which verdicts two arrays of probabilities disagree on, [n]."""
    pairs = zip(shipped, floats, kinds, strict=True)
    return np.array([verdict.label(a, thresholds[k]) != verdict.label(b, thresholds[k]) for a, b, k in pairs])


def check_flipped(changed: Flags, allowed: float = MAX_FLIPPED) -> int:
    """How many verdicts the shipped arithmetic changes, of [n]. Raises BundleError for too many."""
    count = int(changed.sum())
    if count > allowed * len(changed):
        raise BundleError(
            f"export: quantisation changes {count} of {len(changed)} verdicts, {allowed:.1%} are allowed;"
            " export with --quantization fp32"
        )
    return count


def check_neighbours(
    backend: Backend,
    windows: Sequence[list[int]],
    p: Callable[[Floats], Floats],
    of: str = "probability",
) -> float:
    """Largest |Δp| between messages alone and in company. Raises BundleError where company matters.

    p: what the model's numbers [n, outputs] mean; of: in which unit.
    """
    ordered = sorted(windows, key=len)
    some = [ordered[i] for i in np.linspace(0, len(ordered) - 1, min(NEIGHBOURS, len(ordered))).astype(int)]

    alone = p(np.concatenate([backend.score([window]).logits for window in some]).astype(np.float64))
    found = [p(rows.astype(np.float64)) for rows in _in_company(backend.score, some)]
    difference = max(float(np.abs(alone - one).max()) for one in found)
    if difference > MAX_DIFFERENCE:
        raise BundleError(
            f"export: what a message is answered changes by {difference:.2g} in {of} with its batch,"
            f" {MAX_DIFFERENCE} is allowed; export with --quantization fp32"
        )
    return difference


def _in_company(
    score: Callable[[Sequence[Sequence[int]]], Scores], some: list[list[int]]
) -> list[npt.NDArray[np.float32]]:
    """Logits of the same messages in other batches, at other positions, with more padding."""
    longest = some[-1]
    pairs = [score([window, longest]).logits[:1] for window in some]
    threes = [score(some[max(0, i - 2) : i + 1]).logits[-1:] for i in range(len(some))]
    return [
        score(some).logits,
        score(some[::-1]).logits[::-1],
        np.concatenate(pairs),
        np.concatenate(threes),
    ]
