"""From a run to a bundle: graph, quantisation, calibration, thresholds, parity, measurements, model card.

Strategy: everything is fitted and checked through `filterd.scoring.engine`, the path that will judge
messages. Three backends take turns in it: PyTorch (what was trained), the graph in floats, and the graph as
it is shipped. The bundle appears under its name only after all checks have passed.
"""

import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random

import msgspec
import numpy as np
from numpy.typing import NDArray

from filterd.api import Kind, Label
from filterd.errors import BadInput, ConfigError
from filterd.reading import text
from filterd.scoring import bundle, verdict
from filterd.scoring.backend import Backend, open_backend
from filterd.scoring.bundle import Bundle, FileEntry, Manifest
from filterd.scoring.engine import Engine, ModelLook
from filterd.scoring.linear import WideHalf
from filterd.scoring.linear import read as read_wide
from filterd.scoring.tokenizer import Tokenizer
from filterd.scoring.verdict import MAX_LOG_ODDS, Thresholds
from filterd_trainer.data.corpus import Dataset
from filterd_trainer.disguises.augment import surrounded
from filterd_trainer.evaluation import calibrate
from filterd_trainer.export import answers, card, exits, fastpath, linear, parity
from filterd_trainer.export import left_out as left_outs
from filterd_trainer.export.assembly import (
    ExportRequest,
    Report,
    engine_of,
    finish,
    manifest_of,
    provenance,
    with_probes,
)
from filterd_trainer.export.files import write_model
from filterd_trainer.export.texts import SplitTexts, compared, messages
from filterd_trainer.gpt2 import weights
from filterd_trainer.gpt2.model import SpamClassifier, from_safetensors
from filterd_trainer.training.runs import RunConfig, read_config, weights_of

QUANTIZATIONS = ("int8", "fp32")
CAUTION = 1.0  # nats above the highest held-out ham where there are fewer than card.FEW_HAM of it
MIN_PER_CLASS = 20  # of one kind in validation; a kind with fewer shares the other's calibration
MAX_PROBABILITY = verdict.sigmoid(MAX_LOG_ODDS)

Floats = NDArray[np.float64]


# From margins of messages to a manifest with calibration and thresholds.
Decide = Callable[[Manifest, Floats, SplitTexts], Manifest]


def export(
    request: ExportRequest, report: Report = lambda _: None, *, decide: Decide | None = None
) -> Bundle:
    """Write a bundle. Raises BundleError where a check fails, NotFound, BadInput, ConfigError.

    decide: sets calibration and thresholds; without it they are fitted on the validation part.
    """
    config, dataset, model = _read(request)
    if not config.ham:
        return answers.export(request, config, dataset, model, report)
    if config.recipe.way == "lecture":  # as it was trained: one window, and nothing beside the GPT-2
        request = replace(request, max_tokens=0, max_windows=1, wide=False, fast_path=False)
    earlier = _earlier(request)
    validation = messages(dataset, "validation")
    with bundle.writing(request.out) as folder, tempfile.TemporaryDirectory() as scratch:
        manifest = manifest_of(request, config, model.gpt.architecture)
        report("writing the graph")
        tokenizer, shipped = write_model(
            request.quantization, config, dataset, model, manifest, Path(scratch), folder
        )
        judging = engine_of(manifest, tokenizer, shipped)
        left_out = messages(dataset, request.calibrate_on) if request.calibrate_on else None
        report(f"judging {len(validation.texts):,} validation messages")
        looks = judging.looks(validation.texts, validation.kinds)
        apart = judging.looks(left_out.texts, left_out.kinds) if left_out else looks
        if request.wide:
            report("fitting the wide half")
        manifest = _with_wide(request, judging, dataset, apart, folder, earlier)
        judging.wide = half = WideHalf.load(folder, manifest.wide) if manifest.wide else None
        margins = _margins(judging, looks, validation.kinds)
        manifest = (decide or _decide)(manifest, margins, validation)
        if left_out:
            unknown = _margins(judging, apart, left_out.kinds)
            manifest = left_outs.decide(
                manifest,
                left_outs.LeftOutScores(margins, validation.is_spam, validation.kinds),
                left_outs.LeftOutScores(unknown, left_out.is_spam, left_out.kinds),
            )
        report("comparing with PyTorch")
        some = compared(dataset, validation)

        def judged(backend: Backend, of: SplitTexts) -> Floats:
            nats = engine_of(manifest, tokenizer, backend, half).margins(of.texts, of.kinds)
            return _probabilities(manifest, nats, of.kinds)

        checked = parity.check(
            manifest,
            tokenizer,
            model,
            some,
            shipped=shipped,
            floats=open_backend(Path(scratch)),
            judged=judged,
            changed=lambda a, b: parity.flipped(a, b, some.kinds, manifest.thresholds),
            max_flipped=request.max_flipped,
        )
        metrics = {
            "parity": msgspec.to_builtins(checked),
            "validation": msgspec.to_builtins(_held(manifest, margins, validation)),
            "data": provenance(config, dataset, request.origins),
        }
        if left_out:
            metrics["left_out"] = msgspec.to_builtins(_held(manifest, unknown, left_out))
        known = validation + left_out if left_out else validation
        if request.fast_path and half:
            report("measuring the fast path")
            manifest = _with_fast_path(manifest, tokenizer, shipped, dataset, half, known)
        if model.exit:
            report("measuring the exit")
            manifest = _with_exit(manifest, judging, dataset, folder, model.exit.after, known)
        manifest = with_probes(msgspec.structs.replace(manifest, metrics=metrics), tokenizer, shipped, half)
        report("measuring")
        finish(manifest, folder, validation)
    return bundle.read(request.out)


def _read(request: ExportRequest) -> tuple[RunConfig, Dataset, SpamClassifier]:
    if request.quantization not in QUANTIZATIONS:
        raise ConfigError(f"--quantization {request.quantization}: choose {' or '.join(QUANTIZATIONS)}")
    if request.wide_of and request.wide_with:
        raise ConfigError(
            "--wide-of takes a linear half as it is, --wide-with averages one: give one of them"
        )
    config, dataset = read_config(request.run), Dataset.load(request.data)
    if (dataset.labels, dataset.ham, dataset.task.name) != (config.labels, config.ham, config.learns.name):
        raise BadInput(
            f"{request.data}: its labels are {', '.join(dataset.labels)}, those of the run"
            f" {', '.join(config.labels)}"
        )
    return config, dataset, from_safetensors(weights_of(request.run))[0]


def _margins(judging: Engine, looks: Sequence[ModelLook], kinds: Sequence[Kind]) -> Floats:
    """Margins of messages [n] that the GPT-2 has seen already, by both halves."""
    wide = [judging.wide_of(look.windows, kind) for look, kind in zip(looks, kinds, strict=True)]
    return np.array(
        [look._replace(wide=nats or look.wide).margin for look, nats in zip(looks, wide, strict=True)]
    )


def _with_wide(
    request: ExportRequest,
    judging: Engine,
    dataset: Dataset,
    looks: Sequence[ModelLook],
    folder: Path,
    earlier: NDArray[np.int8] | None,
) -> Manifest:
    """The manifest with a wide half: another bundle's, or one that is fitted.

    looks: of the part that says how far it is to be trusted: sources left out, or else validation.
    """
    manifest = judging.bundle.manifest
    split = request.calibrate_on or "validation"
    if request.wide_of:
        other = _other(request.wide_of)
        if entry := other.manifest.wide:
            shutil.copy(other.path / bundle.WIDE, folder / bundle.WIDE)
            if request.calibrate_on:
                apart = _windows(judging, dataset, split, looks)
                entry = msgspec.structs.replace(
                    entry, scale=linear.weigh(read_wide(other.path, entry), None, apart, looks).scale
                )
    elif request.wide:
        train = _learnt(judging, dataset)
        entry = linear.write(train, _windows(judging, dataset, split, looks), looks, folder, earlier)
    else:
        return manifest
    files = manifest.files | {bundle.WIDE: FileEntry(sha256="", bytes=0)} if entry else manifest.files
    return msgspec.structs.replace(manifest, wide=entry, files=files)


def _other(named: Path) -> Bundle:
    """A bundle by its folder, or the one that ships by the name that `--base` has for it."""
    shipped = str(named) == weights.SHIPPED and not named.is_dir()
    return bundle.read(bundle.DEFAULT if shipped else named)


def _windows(judging: Engine, dataset: Dataset, split: str, looks: Sequence[ModelLook]) -> linear.WindowTexts:
    """The windows that a part was looked at in, as the wide half wants them."""
    held = messages(dataset, split)
    texts = [[judging.text_of(window) for window in look.windows] for look in looks]
    return linear.WindowTexts(texts, held.kinds, held.is_spam, _groups(dataset, split))


def _earlier(request: ExportRequest) -> NDArray[np.int8] | None:
    """The table to average with. Raises BundleError, and BadInput where there is not one table."""
    if not request.wide_with:
        return None
    other = _other(request.wide_with)
    entry = other.manifest.wide
    if not entry or entry.apart:
        raise BadInput(
            f"{request.wide_with}: has no linear half for mail and SMS together; name a bundle of"
            " `trainer export`, or leave --wide-with out"
        )
    return read_wide(other.path, entry)[Kind.MAIL]


def _learnt(judging: Engine, dataset: Dataset) -> linear.WindowTexts:
    """The training part, and some of its messages once more with ham of their kind around them."""
    learnt, groups = messages(dataset, "train"), _groups(dataset, "train")
    again = slice(None, None, linear.SURROUNDED_EVERY)
    texts = learnt.texts + _surrounded(learnt, again)
    kinds = learnt.kinds + learnt.kinds[again]
    windows = [
        [judging.text_of(window) for window in judging.cut(one, kind)]
        for one, kind in zip(texts, kinds, strict=True)
    ]
    is_spam = np.concatenate([learnt.is_spam, learnt.is_spam[again]])
    return linear.WindowTexts(windows, kinds, is_spam, groups + groups[again])


def _surrounded(learnt: SplitTexts, which: slice) -> list[str]:
    rng = Random(linear.SEED)  # noqa: S311 (no secret)
    ham = {kind: learnt.where(learnt.of(kind) & ~learnt.is_spam) for kind in Kind}
    return [
        text.again(surrounded(one, rng, ham[kind]), kind)
        for one, kind in zip(learnt.texts[which], learnt.kinds[which], strict=True)
    ]


def _groups(dataset: Dataset, split: str) -> list[str]:
    """Source, kind and label of each message of a split."""
    frame = dataset.split(split)
    columns = [name for name in ("Source", "Kind", "Label") if name in frame]
    found: list[str] = frame[columns].astype(str).agg("/".join, axis=1).tolist()
    return found


def _decide(manifest: Manifest, margins: Floats, held: SplitTexts) -> Manifest:
    """With calibration and thresholds, by kind where a kind has enough of both classes, else shared."""
    everything = np.ones(len(held.texts), dtype=bool)
    calibration, thresholds = {}, {}
    for kind in Kind:
        chosen = held.of(kind) if _enough(held.is_spam[held.of(kind)]) else everything
        calibration[kind] = calibrate.fit_platt(margins[chosen], held.is_spam[chosen])
        p = calibrate.apply(margins[chosen], calibration[kind])
        thresholds[kind] = _thresholds(p, held.is_spam[chosen])
    return msgspec.structs.replace(manifest, calibration=calibration, thresholds=thresholds)


def _enough(is_spam: NDArray[np.bool_]) -> bool:
    return min(int(is_spam.sum()), int((~is_spam).sum())) >= MIN_PER_CLASS


def _thresholds(p: Floats, is_spam: NDArray[np.bool_]) -> Thresholds:
    """`calibrate.choose_thresholds`, and with few ham at least CAUTION above all of it."""
    chosen = calibrate.choose_thresholds(p, is_spam)
    ham = p[~is_spam]
    if len(ham) >= card.FEW_HAM:
        return chosen
    cautious = min(verdict.sigmoid(verdict.log_odds(float(ham.max())) + CAUTION), MAX_PROBABILITY)
    return Thresholds(unsure=chosen.unsure, spam=max(chosen.spam, cautious))


def _probabilities(manifest: Manifest, margins: Sequence[float] | Floats, kinds: Sequence[Kind]) -> Floats:
    return np.array(
        [verdict.probability(float(m), manifest.calibration[k]) for m, k in zip(margins, kinds, strict=True)]
    )


def _held(manifest: Manifest, margins: Floats, held: SplitTexts) -> dict[str, card.HeldOutCounts]:
    p = _probabilities(manifest, margins, held.kinds)
    found = {}
    for kind in Kind:
        if not (chosen := held.of(kind)).any():
            continue
        called = np.array([verdict.label(float(x), manifest.thresholds[kind]) for x in p[chosen]])
        spam = held.is_spam[chosen]
        found[kind.value] = card.HeldOutCounts(
            ham=int((~spam).sum()),
            ham_called_spam=int((called[~spam] == Label.SPAM).sum()),
            ham_unsure=int((called[~spam] == Label.UNSURE).sum()),
            spam=int(spam.sum()),
            spam_called_spam=int((called[spam] == Label.SPAM).sum()),
            spam_unsure=int((called[spam] == Label.UNSURE).sum()),
        )
    return found


def _with_fast_path(
    manifest: Manifest,
    tokenizer: Tokenizer,
    shipped: Backend,
    dataset: Dataset,
    half: WideHalf,
    held: SplitTexts,
) -> Manifest:
    """Where the wide half's answer is the shipped model's; measured on the test part at natural rates.

    held: what the limits have to hold on: validation, and sources left out where there are some.
    """
    test = messages(dataset, _natural(dataset))
    engine = engine_of(manifest, tokenizer, shipped, half)

    def look(texts: Sequence[str], kinds: Sequence[Kind]) -> list[tuple[float, float]]:
        return [(one.margin, one.wide_margin) for one in engine.looks(texts, kinds)]

    fits = {
        kind: fastpath.fit(
            manifest,
            look,
            kind,
            known=held.where(held.of(kind)),
            is_spam=held.is_spam[held.of(kind)],
            unknown=test.where(test.of(kind)),
        )
        for kind in Kind
    }
    return msgspec.structs.replace(manifest, fast_path=fits)


def _with_exit(
    manifest: Manifest, judging: Engine, dataset: Dataset, folder: Path, after: int, held: SplitTexts
) -> Manifest:
    """Where the first blocks' answer is the whole model's; without its files where that cannot be shown.

    held: what the limits have to hold on.
    """
    test = messages(dataset, _natural(dataset))
    known, unknown = ({kind: of.where(of.of(kind)) for kind in Kind} for of in (held, test))
    ham = {kind: held.where(held.of(kind) & ~held.is_spam) for kind in Kind}
    found = exits.fit(manifest, judging, folder, after=after, known=known, ham=ham, unknown=unknown)
    if found is None:
        for name in (bundle.FIRST, bundle.REST):
            (folder / name).unlink()
        return manifest
    files = manifest.files | {name: FileEntry(sha256="", bytes=0) for name in (bundle.FIRST, bundle.REST)}
    return msgspec.structs.replace(manifest, exit=found, files=files)


def _natural(dataset: Dataset) -> str:
    """The test part at natural rates, where there is one."""
    return "test_natural" if (dataset.folder / "test_natural.csv").exists() else "test"
