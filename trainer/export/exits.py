"""Where the first blocks of a bundle's GPT-2 may settle a window (filterd/scoring/exits.py).

Strategy: as `fastpath`: two limits, as far out as the worst disagreement of labels on validation texts, plain
and changed, and further by a margin; one pair for mail and SMS, as a window does not know whose it is. Two
lines give what is settled the whole model's log-odds on average. What then holds is measured on texts that
neither has seen; where AGREEMENT cannot be shown for both kinds a wider margin is tried, and with the widest
there is no exit.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
from numpy.typing import NDArray

from filterd.api import Kind, Label
from filterd.scoring import exits, verdict
from filterd.scoring.backend import StagedBackend, open_staged
from filterd.scoring.bundle import FIRST, MODEL, REST, ExitEntry, ExitStatistics, FastPathSide, Manifest
from filterd.scoring.engine import Engine, ModelLook, batches
from filterd.scoring.fastpath import beyond
from filterd_trainer.evaluation.calibrate import rate_bound
from filterd_trainer.export import fastpath, graph
from filterd_trainer.export.graph import ExternalTensor, Matrix, Weights
from filterd_trainer.gpt2.model import SpamClassifier

SHARED_BYTES = 1024  # constants from this size on lie once in the bundle, in the whole model's file

Floats = NDArray[np.float64]


def write(
    folder: Path,
    model: SpamClassifier,
    weights: Weights,
    linears: dict[str, Matrix] | None,
    external: dict[str, ExternalTensor],
    quantization: str,
) -> None:
    """`first.onnx` and `rest.onnx` beside the whole graph, whose bytes they share; none without an exit."""
    if model.exit is None:
        return
    shared = _places(folder / MODEL) | external
    multiply = linears or graph.floats(weights, model.gpt.architecture)
    for name, build in ((FIRST, graph.build_first), (REST, graph.build_rest)):
        made = build(weights, model.gpt.architecture, model.exit.after, multiply, shared)
        made.metadata_props.add(key="quantization", value=quantization)
        (folder / name).write_bytes(made.SerializeToString())


def _places(file: Path) -> dict[str, ExternalTensor]:
    """Where a model's larger constants lie in its own file."""
    data = file.read_bytes()
    found = {}
    for tensor in onnx.load_from_string(data).graph.initializer:
        if len(tensor.raw_data) >= SHARED_BYTES:
            found[tensor.name] = ExternalTensor(file.name, data.index(tensor.raw_data), len(tensor.raw_data))
    return found


@dataclass(frozen=True)
class ExitSample:
    """Messages of one kind, [n]: window by window how they look to the model, and the exit's margins."""

    looks: Sequence[ModelLook]
    early: Sequence[Floats]

    def labels(self, manifest: Manifest, kind: Kind, fit: ExitEntry | None = None) -> list[Label]:
        """The whole model's, or those with an exit."""
        found = []
        for look, early in zip(self.looks, self.early, strict=True):
            deep = np.array(look.deep)
            if fit:
                estimated = exits.estimates(early, fit)
                deep = np.where(np.isnan(estimated), deep, estimated)
            p = verdict.probability(float((deep + look.wide).max()), manifest.calibration[kind])
            found.append(verdict.label(p, manifest.thresholds[kind]))
        return found

    def flat(self) -> tuple[Floats, Floats]:
        """The exit's and the whole model's margins of all windows."""
        return np.concatenate(self.early), np.array([d for look in self.looks for d in look.deep])

    def settled(self, fit: ExitEntry, kind: Kind, manifest: Manifest) -> float:
        """Share of the windows that stop at the exit, of messages that the fast path leaves."""
        certainty = (manifest.fast_path or {}).get(kind)
        left = [
            early
            for look, early in zip(self.looks, self.early, strict=True)
            if certainty is None or beyond(look.wide_margin, certainty) is None
        ]
        windows = np.concatenate(left) if left else np.zeros(0)
        return float((~np.isnan(exits.estimates(windows, fit))).mean()) if len(windows) else 0.0


def look(engine: Engine, staged: StagedBackend, texts: Sequence[str], kind: Kind) -> ExitSample:
    """How texts look to the whole model and to the exit. staged: its `early` gives the exit's logits."""
    looks = engine.looks(texts, [kind] * len(texts))
    windows = [window for one in looks for window in one.windows]
    early = np.zeros(len(windows))
    for batch in batches([len(window) for window in windows]):
        logits = staged.early([windows[i] for i in batch]).logits
        early[batch] = exits.margins(logits, engine.bundle.manifest.ham_indices)
    ends = np.cumsum([len(one.windows) for one in looks])[:-1]
    return ExitSample(looks, np.split(early, ends))


def fit(
    manifest: Manifest,
    engine: Engine,
    folder: Path,
    *,
    after: int,
    known: dict[Kind, list[str]],
    ham: dict[Kind, list[str]],
    unknown: dict[Kind, list[str]],
) -> ExitEntry | None:
    """Choose the limits on validation texts, `known`, and measure them on test texts, `unknown`."""
    staged = open_staged(folder, _all)
    kinds = [kind for kind in Kind if known[kind] and unknown[kind]]
    held = {
        kind: look(engine, staged, known[kind] + fastpath.changed(known[kind], kind, ham[kind]), kind)
        for kind in kinds
    }
    new = {kind: look(engine, staged, unknown[kind], kind) for kind in kinds}
    for margin in fastpath.MARGINS:
        found = _within(manifest, held, after, margin)
        measured = {kind: _measured(manifest, kind, seen, found) for kind, seen in new.items()}
        if measured and all(one.at_least >= fastpath.AGREEMENT for one in measured.values()):
            return msgspec.structs.replace(found, measured=measured)
    return None


def _all(early: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    return early, np.ones(len(early), dtype=bool)


def _within(manifest: Manifest, held: dict[Kind, ExitSample], after: int, margin: float) -> ExitEntry:
    """Limits that hold for both kinds, and the lines of what lies beyond them."""
    of_kinds = [
        fastpath.limits(np.array([early.max() for early in seen.early]), seen.labels(manifest, kind), margin)
        for kind, seen in held.items()
    ]
    below, above = min(low for low, _ in of_kinds), max(high for _, high in of_kinds)
    both = [seen.flat() for seen in held.values()]
    early, deep = (np.concatenate(parts) for parts in zip(*both, strict=True))
    return ExitEntry(after, _side(early, deep, below, -1), _side(early, deep, above, 1))


def _side(early: Floats, deep: Floats, limit: float, sign: int) -> FastPathSide | None:
    settled = sign * early >= sign * limit
    if not settled.any():
        return None
    scale, offset = fastpath.FastPathSample(deep, early).line(settled)
    return FastPathSide(limit=limit, scale=scale, offset=offset)


def _measured(manifest: Manifest, kind: Kind, seen: ExitSample, fit: ExitEntry) -> ExitStatistics:
    pairs = zip(seen.labels(manifest, kind), seen.labels(manifest, kind, fit), strict=True)
    wrong, total = sum(one is not other for one, other in pairs), len(seen.looks)
    return ExitStatistics(
        messages=total,
        settled=seen.settled(fit, kind, manifest),
        agrees=1.0 - wrong / total,
        at_least=1.0 - rate_bound(wrong, total, fastpath.CONFIDENCE),
    )
