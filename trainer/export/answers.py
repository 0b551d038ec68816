"""A run that knows no spam to a bundle: its answers are the verdicts.

What is fitted, on the validation part, is the task's affair (`Task.fit`): a temperature, a threshold a label,
or nothing. No thresholds of spam, no wide half, no fast path, no exit.
"""

import tempfile
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from filterd.api import Kind
from filterd.errors import ConfigError
from filterd.scoring import bundle
from filterd.scoring.answers import Reader
from filterd.scoring.backend import Backend, open_backend
from filterd.scoring.bundle import Bundle, Manifest
from filterd.scoring.engine import Engine, by_message
from filterd.scoring.verdict import Calibration
from filterd_trainer.data.corpus import Dataset
from filterd_trainer.evaluation.intervals import ClassMetrics, evaluate_answers, evaluate_classes
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
from filterd_trainer.export.files import write_model
from filterd_trainer.export.texts import SplitTexts, compared, messages
from filterd_trainer.gpt2.model import SpamClassifier
from filterd_trainer.tasks.task import Task
from filterd_trainer.training.runs import RunConfig

Floats = NDArray[np.float64]


def export(
    request: ExportRequest, config: RunConfig, dataset: Dataset, model: SpamClassifier, report: Report
) -> Bundle:
    """Write the bundle. Raises BundleError where a check fails, and ConfigError."""
    if request.calibrate_on or request.wide_with or request.wide_of or model.exit:
        raise ConfigError(
            f"{request.run}: knows no ham, so --calibrate-on, --wide-with, --wide-of and exits mean nothing"
        )
    if config.recipe.way == "lecture":
        request = replace(request, max_tokens=0, max_windows=1)
    task, cells = dataset.task, dataset.split("validation")["Label"].tolist()
    validation = messages(dataset, "validation")
    with bundle.writing(request.out) as folder, tempfile.TemporaryDirectory() as scratch:
        manifest = manifest_of(request, config, model.gpt.architecture)
        report("writing the graph")
        tokenizer, shipped = write_model(
            request.quantization, config, dataset, model, manifest, Path(scratch), folder
        )
        report(f"judging {len(validation.texts):,} validation messages")
        rows = rows_of(engine_of(manifest, tokenizer, shipped), validation)
        fitted = task.fit(means(rows), cells)
        calibration = dict.fromkeys(Kind, Calibration(slope=fitted.slope))
        manifest = msgspec.structs.replace(manifest, calibration=calibration, cuts=fitted.cuts)
        report("comparing with PyTorch")
        reader = _reader(manifest)

        def judged(backend: Backend, of: SplitTexts) -> Floats:
            return reader.shares(means(rows_of(engine_of(manifest, tokenizer, backend), of)))

        checked = parity.check(
            manifest,
            tokenizer,
            model,
            compared(dataset, validation),
            shipped=shipped,
            floats=open_backend(Path(scratch)),
            judged=judged,
            changed=lambda one, other: task.changed(one, other, reader),
            max_flipped=request.max_flipped,
        )
        held = _held(manifest, rows, task, cells)
        figures = {name: found.value for name, found in held.estimates.items()}
        metrics = {
            "parity": msgspec.to_builtins(checked),
            "validation": msgspec.to_builtins(
                ClassResults(messages=held.messages, figures=figures, by_class=held.by_class)
            ),
            "data": provenance(config, dataset, request.origins),
        }
        manifest = msgspec.structs.replace(manifest, metrics=metrics)
        manifest = with_probes(manifest, tokenizer, shipped, None)
        report("measuring")
        finish(manifest, folder, validation)
    return bundle.read(request.out)


def rows_of(engine: Engine, of: SplitTexts) -> list[Floats]:
    """What the model says of each window of each message, [windows, outputs] a message."""
    cut = [engine.cut(one, kind) for one, kind in zip(of.texts, of.kinds, strict=True)]
    rows = engine.logits(list(chain.from_iterable(cut))).astype(np.float64)
    return list(by_message(rows, [len(windows) for windows in cut]))


def means(rows: list[Floats]) -> Floats:
    """The mean of each message's windows, [n, outputs]."""
    return np.array([own.mean(axis=0) for own in rows])


def _reader(manifest: Manifest) -> Reader:
    assert manifest.reader
    return manifest.reader


def _held(manifest: Manifest, rows: list[Floats], task: Task, cells: list[Any]) -> ClassMetrics:
    reader = _reader(manifest)
    if task.exclusive:
        return evaluate_classes(reader.shares(means(rows)), cells, task.labels)
    said = [reader.read(own).answer for own in rows]
    return evaluate_answers(task, said, [task.truth(cell) for cell in cells])
