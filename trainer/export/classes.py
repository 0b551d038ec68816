"""A run whose labels know no ham to a bundle: its most probable class is the verdict.

What is fitted is one number, the temperature (Guo et al. 2017, On Calibration of Modern Neural Networks,
arXiv:1706.04599), on the validation part. No thresholds, no wide half, no fast path, no exit.
"""

import shutil
import tempfile
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar  # type: ignore[import-untyped]

from filterd.api import Kind
from filterd.errors import ConfigError
from filterd.scoring import bundle
from filterd.scoring.backend import Backend, open_backend
from filterd.scoring.bundle import Bundle
from filterd.scoring.engine import Engine, by_message
from filterd.scoring.tokenizer import Tokenizer
from filterd.scoring.verdict import Calibration
from filterd_trainer.data.corpus import Dataset
from filterd_trainer.evaluation.intervals import evaluate_classes
from filterd_trainer.export import parity
from filterd_trainer.export.assembly import (
    ExportRequest,
    Report,
    engine_of,
    finish,
    manifest_of,
    provenance,
    with_probes,
)
from filterd_trainer.export.card import ClassResults
from filterd_trainer.export.files import write_graphs
from filterd_trainer.export.texts import SplitTexts, compared, messages
from filterd_trainer.gpt2.model import SpamClassifier
from filterd_trainer.training.runs import RunConfig

SLOPES: Final = (0.05, 20.0)  # of 1 / temperature; beyond, the validation part says nothing of it

Floats = NDArray[np.float64]


def export(
    request: ExportRequest, config: RunConfig, dataset: Dataset, model: SpamClassifier, report: Report
) -> Bundle:
    """Write the bundle. Raises BundleError where a check fails, and ConfigError."""
    if request.calibrate_on or request.wide_with or model.exit:
        raise ConfigError(
            f"{request.run}: knows no ham, so --calibrate-on, --wide-with and exits mean nothing"
        )
    if config.recipe.way == "lecture":
        request = replace(request, max_tokens=0, max_windows=1)
    validation, truth = messages(dataset, "validation"), dataset.split("validation")["Label"].to_numpy()
    with bundle.writing(request.out) as folder, tempfile.TemporaryDirectory() as scratch:
        shutil.copy(bundle.DEFAULT / bundle.TOKENIZER, folder / bundle.TOKENIZER)
        tokenizer = Tokenizer.load(folder / bundle.TOKENIZER)
        manifest = manifest_of(request, config, model.gpt.architecture)
        report("writing the graph")
        write_graphs(request.quantization, config, dataset, model, manifest, Path(scratch), folder)
        shipped = open_backend(folder)
        judging = engine_of(manifest, tokenizer, shipped)
        report(f"judging {len(validation.texts):,} validation messages")
        logits = logits_of(judging, validation)
        line = Calibration(slope=fit_slope(logits, truth))
        manifest = msgspec.structs.replace(manifest, calibration=dict.fromkeys(Kind, line))
        report("comparing with PyTorch")

        def judged(backend: Backend, of: SplitTexts) -> Floats:
            return shares(logits_of(engine_of(manifest, tokenizer, backend), of), line.slope)

        checked = parity.check(
            manifest,
            tokenizer,
            model,
            compared(dataset, validation),
            shipped=shipped,
            floats=open_backend(Path(scratch)),
            judged=judged,
            changed=lambda a, b: a.argmax(axis=1) != b.argmax(axis=1),
            max_flipped=request.max_flipped,
        )
        held = evaluate_classes(shares(logits, line.slope), truth, config.labels)
        metrics = {
            "parity": msgspec.to_builtins(checked),
            "validation": msgspec.to_builtins(
                ClassResults(
                    messages=held.messages,
                    accuracy=held["accuracy"] or 0.0,
                    macro_f1=held["macro_f1"] or 0.0,
                    by_class=held.by_class,
                )
            ),
            "data": provenance(config, dataset, request.origins),
        }
        manifest = msgspec.structs.replace(manifest, metrics=metrics)
        manifest = with_probes(manifest, tokenizer, shipped, None)
        report("measuring")
        finish(manifest, folder, validation)
    return bundle.read(request.out)


def logits_of(engine: Engine, of: SplitTexts) -> Floats:
    """The mean of each message's windows, [n, k]."""
    cut = [engine.cut(one, kind) for one, kind in zip(of.texts, of.kinds, strict=True)]
    rows = engine.logits(list(chain.from_iterable(cut))).astype(np.float64)
    return np.array([own.mean(axis=0) for own in by_message(rows, [len(windows) for windows in cut])])


def shares(logits: Floats, slope: float) -> Floats:
    """P of each class, [n, k]."""
    scaled = slope * logits
    powers = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    found: Floats = powers / powers.sum(axis=1, keepdims=True)
    return found


def fit_slope(logits: Floats, truth: NDArray[np.int64]) -> float:
    """1 / temperature with the least cross entropy, as if one more message of so many were another class.

    Without that a validation part that is told apart perfectly would ask for certainty (Platt 1999, 2.2).
    """
    n, k = logits.shape
    wanted = np.full((n, k), 1 / (n + 2) / (k - 1))
    wanted[np.arange(n), truth] = 1 - 1 / (n + 2)

    def loss(log_slope: float) -> float:
        p = shares(logits, float(np.exp(log_slope)))
        return float(-(wanted * np.log(np.maximum(p, 1e-12))).sum(axis=1).mean())

    found = minimize_scalar(loss, bounds=tuple(np.log(SLOPES)), method="bounded")
    return float(np.exp(found.x))
