"""From a run to a bundle: graph, quantisation, calibration, thresholds, parity, measurements, model card.

Strategy: everything is fitted and checked through `filterd.scoring.engine`, the path that will judge
messages. Three backends take turns in it: PyTorch (what was trained), the graph in floats, and the graph as
it is shipped. The bundle appears under its name only after all checks have passed.

model.safetensors is what retraining starts from. The graph refers to the bytes of its token table there (of
all its tensors, where nothing is quantised) instead of holding a second copy.
"""

import json
import shutil
import struct
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import numpy as np
import onnx
from numpy.typing import NDArray
from safetensors.numpy import load_file

from filterd.api import Kind, Label, Message
from filterd.errors import BadInput, ConfigError
from filterd.reading import text
from filterd.scoring import bundle, verdict
from filterd.scoring.backend import QUANTIZATION, Backend, OnnxBackend, open_backend
from filterd.scoring.bundle import Architecture, Bundle, FileEntry, Manifest, Probe
from filterd.scoring.engine import Engine, ModelLook
from filterd.scoring.linear import WideHalf
from filterd.scoring.linear import read as read_wide
from filterd.scoring.tokenizer import END_OF_TEXT_ID, Tokenizer
from filterd.scoring.verdict import MAX_LOG_ODDS, Calibration, Thresholds
from filterd_trainer.data.corpus import Dataset
from filterd_trainer.disguises.augment import surrounded
from filterd_trainer.evaluation import calibrate
from filterd_trainer.export import card, exits, fastpath, graph, linear, parity, probes, quantize
from filterd_trainer.export import left_out as left_outs
from filterd_trainer.export.graph import ExternalTensor
from filterd_trainer.gpt2.model import SpamClassifier, from_safetensors, to_safetensors
from filterd_trainer.training.runs import RunConfig, read_config, weights_of

QUANTIZATIONS = ("int8", "fp32")
OBSERVED = 256  # training messages that outlier channels are looked for in
COMPARED = 2000  # messages that the graph in floats judges as well; 0.3% of them are six
BY_PYTORCH = 300  # of them, which PyTorch judges too
CAUTION = 1.0  # nats above the highest held-out ham where there are fewer than card.FEW_HAM of it
MIN_PER_CLASS = 20  # of one kind in validation; a kind with fewer shares the other's calibration
TIMED = 500  # messages of each kind that throughput is measured on
MAX_PROBABILITY = verdict.sigmoid(MAX_LOG_ODDS)
WATCHED = "watched.onnx"  # in the scratch folder

GPT2 = "OpenAI's GPT-2 (modified MIT)"
Floats = NDArray[np.float64]
Report = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class ExportRequest:
    """What to export. max_tokens: of a window, 0 for the run's.

    fast_path: find where the wide half may settle messages; as long as judging the held-out parts twice.
    wide: fit a wide half; wide_of: a bundle whose wide half, or lack of one, is taken over instead;
    wide_with: a bundle with whose wide half the fitted one is averaged.
    calibrate_on: a split of sources that never trained, which calibration and thresholds are fitted to.
    max_flipped: share of the verdicts (`compared`) that the shipped arithmetic may change.
    origins: what the weights derive from besides the data, each with its licence; for the card.
    """

    run: Path
    data: Path
    out: Path
    name: str = ""
    quantization: str = "int8"
    max_tokens: int = 0
    max_windows: int = 3
    parent: str | None = None
    max_flipped: float = parity.MAX_FLIPPED
    fast_path: bool = True
    wide: bool = True
    wide_of: Path | None = None
    wide_with: Path | None = None
    calibrate_on: str = ""
    origins: tuple[str, ...] = ()


@dataclass(frozen=True)
class SplitTexts:
    """Canonical texts of a split, [n] each."""

    texts: list[str]
    is_spam: NDArray[np.bool_]
    kinds: list[Kind]

    def of(self, kind: Kind) -> NDArray[np.bool_]:
        """Which of them are of a kind, [n]."""
        return np.array([k == kind for k in self.kinds])

    def where(self, chosen: NDArray[np.bool_]) -> list[str]:
        """The texts of those that are chosen, [n]."""
        return [self.texts[i] for i in np.flatnonzero(chosen)]

    def some(self, count: int) -> "SplitTexts":
        """At most so many, evenly spread."""
        chosen = np.unique(np.linspace(0, len(self.texts) - 1, min(count, len(self.texts))).astype(int))
        return SplitTexts(
            [self.texts[i] for i in chosen], self.is_spam[chosen], [self.kinds[i] for i in chosen]
        )


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
        from filterd_trainer.export import classes  # built of this module's parts

        return classes.export(request, config, dataset, model, report)
    if config.recipe.way == "lecture":  # as it was trained: one window, and nothing beside the GPT-2
        request = replace(request, max_tokens=0, max_windows=1, wide=False, fast_path=False)
    earlier = _earlier(request)
    validation = messages(dataset, "validation")
    with bundle.writing(request.out) as folder, tempfile.TemporaryDirectory() as scratch:
        shutil.copy(bundle.DEFAULT / bundle.TOKENIZER, folder / bundle.TOKENIZER)
        tokenizer = Tokenizer.load(folder / bundle.TOKENIZER)
        manifest = manifest_of(request, config, model.gpt.architecture)
        report("writing the graph")
        write_graphs(request, config, dataset, model, manifest, Path(scratch), folder)
        shipped = open_backend(folder)
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
        checked = _check(
            manifest,
            tokenizer,
            shipped,
            open_backend(Path(scratch)),
            model,
            compared(dataset, validation),
            request.max_flipped,
            half,
        )
        metrics = {
            "parity": msgspec.to_builtins(checked),
            "validation": msgspec.to_builtins(_held(manifest, margins, validation)),
            "data": provenance(config, dataset, request.origins),
        }
        if left_out:
            metrics["left_out"] = msgspec.to_builtins(_held(manifest, unknown, left_out))
        if request.fast_path and half:
            report("measuring the fast path")
            manifest = _with_fast_path(manifest, tokenizer, shipped, dataset, half)
        if model.exit:
            report("measuring the exit")
            manifest = _with_exit(manifest, judging, dataset, folder, model.exit.after)
        manifest = with_probes(msgspec.structs.replace(manifest, metrics=metrics), tokenizer, shipped, half)
        report("measuring")
        finish(manifest, folder, validation)
    return bundle.read(request.out)


def _read(request: ExportRequest) -> tuple[RunConfig, Dataset, SpamClassifier]:
    if request.quantization not in QUANTIZATIONS:
        raise ConfigError(f"--quantization {request.quantization}: choose {' or '.join(QUANTIZATIONS)}")
    config, dataset = read_config(request.run), Dataset.load(request.data)
    if dataset.labels != config.labels or dataset.ham != config.ham:
        raise BadInput(
            f"{request.data}: its labels are {', '.join(dataset.labels)}, those of the run"
            f" {', '.join(config.labels)}"
        )
    return config, dataset, from_safetensors(weights_of(request.run))[0]


def messages(dataset: Dataset, split: str) -> SplitTexts:
    """A split as the model sees it. An SMS is kept as it was sent, a mail's text is canonical already."""
    frame = dataset.split(split)
    kinds = [Kind(kind) for kind in frame["Kind"]]
    texts = [
        text.of_sms(t).canonical if kind is Kind.SMS else t
        for t, kind in zip(frame["Text"], kinds, strict=True)
    ]
    return SplitTexts(texts, ~frame["Label"].isin(dataset.ham_indices).to_numpy(), kinds)


def compared(dataset: Dataset, validation: SplitTexts) -> SplitTexts:
    """What arithmetic is compared on: COMPARED of validation, and of training where that has fewer.

    A share of 0.3% cannot be seen on a few dozen messages.
    """
    some = validation.some(COMPARED)
    if not (missing := COMPARED - len(some.texts)):
        return some
    more = messages(dataset, "train").some(missing)
    return SplitTexts(
        some.texts + more.texts, np.concatenate([some.is_spam, more.is_spam]), some.kinds + more.kinds
    )


def manifest_of(request: ExportRequest, config: RunConfig, architecture: Architecture) -> Manifest:
    """All but what is fitted; calibration and thresholds are neutral until then."""
    return Manifest(
        format=1,
        name=request.name or request.out.name,
        created=bundle.now(),
        text_format=config.text_format,
        architecture=architecture,
        labels=config.labels,
        ham=config.ham,
        max_tokens=min(request.max_tokens or config.max_tokens, architecture.context),
        max_windows=request.max_windows,
        pad_token=END_OF_TEXT_ID,
        padded=config.recipe.way == "lecture",
        task="spam" if config.ham else "classes",
        quantization=request.quantization,
        calibration=dict.fromkeys(Kind, Calibration()),
        thresholds=dict.fromkeys(Kind, Thresholds(unsure=0.5, spam=0.5)),
        probes=(),
        metrics={},
        files={name: FileEntry(sha256="", bytes=0) for name in bundle.REQUIRED},
        parent=request.parent,
    )


# ---- The graph -------------------------------------------------------------------------------------------


def write_graphs(
    request: ExportRequest,
    config: RunConfig,
    dataset: Dataset,
    model: SpamClassifier,
    manifest: Manifest,
    scratch: Path,
    folder: Path,
) -> None:
    """The model in floats in one folder, and as it ships in another, which has the tokenizer already."""
    floats = write_floats(model, config, scratch)
    if request.quantization == "fp32":
        for name in (bundle.MODEL, bundle.WEIGHTS):
            shutil.copy(scratch / name, folder / name)
        where = locations(folder / bundle.WEIGHTS)
        exits.write(folder, model, load_file(folder / bundle.WEIGHTS), None, where, "fp32")
        return
    tokenizer = Tokenizer.load(folder / bundle.TOKENIZER)
    ids = [tokenizer.encode(t) for t in messages(dataset, "train").some(OBSERVED).texts]
    write_int8(model, config, floats, scratch / WATCHED, ids, manifest, folder)


def write_floats(model: SpamClassifier, config: RunConfig, folder: Path) -> dict[str, NDArray[Any]]:
    """model.safetensors in floats, the graph over it, and the same with `taps`; returns the weights."""
    to_safetensors(model, folder / bundle.WEIGHTS, config.labels)
    weights = load_file(folder / bundle.WEIGHTS)
    where = locations(folder / bundle.WEIGHTS)
    for name, taps in ((bundle.MODEL, False), (WATCHED, True)):
        built = graph.build(weights, model.gpt.architecture, external=where, taps=taps)
        _save(built, "fp32", folder / name)
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
    to_safetensors(model, folder / bundle.WEIGHTS, config.labels, compact=True)
    table = (graph.TABLE, graph.TABLE_SCALE)
    compact = load_file(folder / bundle.WEIGHTS)
    where = {name: at for name, at in locations(folder / bundle.WEIGHTS).items() if name in table}
    smoothed |= {name: compact[name] for name in table}
    _save(graph.build(smoothed, architecture, linears, external=where), "int8", folder / bundle.MODEL)
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


def _save(model: onnx.ModelProto, quantization: str, file: Path) -> None:
    model.metadata_props.add(key=QUANTIZATION, value=quantization)
    file.write_bytes(model.SerializeToString())


# ---- What is fitted --------------------------------------------------------------------------------------


def engine_of(
    manifest: Manifest, tokenizer: Tokenizer, backend: Backend, wide: WideHalf | None = None
) -> Engine:
    """An engine of what is being exported."""
    return Engine(Bundle(path=Path(), manifest=manifest, id=manifest.name), tokenizer, backend, wide)


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
    if request.wide_of:
        entry = bundle.read(request.wide_of).manifest.wide
        if entry:
            shutil.copy(request.wide_of / bundle.WIDE, folder / bundle.WIDE)
    elif request.wide:
        train = _learnt(judging, dataset)
        split = request.calibrate_on or "validation"
        held = messages(dataset, split)
        texts = [[judging.text_of(window) for window in look.windows] for look in looks]
        checked = linear.WindowTexts(texts, held.kinds, held.is_spam, _groups(dataset, split))
        entry = linear.write(train, checked, looks, folder, earlier)
    else:
        return manifest
    files = manifest.files | {bundle.WIDE: FileEntry(sha256="", bytes=0)} if entry else manifest.files
    return msgspec.structs.replace(manifest, wide=entry, files=files)


def _earlier(request: ExportRequest) -> NDArray[np.int8] | None:
    """The table to average with. Raises BundleError, and BadInput where there is not one table."""
    if not request.wide_with:
        return None
    other = bundle.read(request.wide_with)
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


def provenance(config: RunConfig, dataset: Dataset, origins: tuple[str, ...]) -> dict[str, Any]:
    """What the model was made from, for the card and the manifest."""
    counts = {name: f["rows"] for name, f in dataset.about.get("files", {}).items()}
    return {
        "dataset": dataset.folder.name,
        "dataset_recipe": dataset.recipe,
        "dataset_sha256": dataset.fingerprint,
        "trained_on_sha256": config.data_sha256,
        "messages": ", ".join(f"{name} {n:,}" for name, n in counts.items()),
        "base": config.recipe.base,
        "base_sha256": config.base_sha256,
        "epochs": config.recipe.epochs,
        "seed": config.seed,
        "sources": _sources(dataset),
        "origins": [*([GPT2] if Path(config.recipe.base).name.startswith("gpt2") else []), *origins],
    }


def _sources(dataset: Dataset) -> dict[str, int]:
    """Training messages by their input, the largest first; empty where the dataset does not say."""
    train = dataset.split("train")
    if "Source" not in train:
        return {}
    return {str(name): int(count) for name, count in train["Source"].value_counts().items()}


# ---- What is checked and measured ------------------------------------------------------------------------


def _check(
    manifest: Manifest,
    tokenizer: Tokenizer,
    shipped: Backend,
    floats: Backend,
    model: SpamClassifier,
    some: SplitTexts,
    max_flipped: float,
    half: WideHalf | None,
) -> parity.Parity:
    def judged(backend: Backend, of: SplitTexts) -> Floats:
        margins = engine_of(manifest, tokenizer, backend, half).margins(of.texts, of.kinds)
        return _probabilities(manifest, margins, of.kinds)

    few = some.some(BY_PYTORCH)
    by_floats, by_shipped = judged(floats, some), judged(shipped, some)
    windows = [list(manifest.filled(tokenizer.encode(t)[: manifest.max_tokens])) for t in some.texts]
    steepest = max(manifest.calibration.values(), key=lambda c: c.slope)
    return parity.Parity(
        fp32=parity.check_graph(judged(floats, few), judged(parity.TorchBackend(model), few)),
        alone=parity.check_neighbours(shipped, windows, manifest.ham_indices, steepest),
        shipped=float(np.abs(by_shipped - by_floats).max()),
        flipped=parity.check_flipped(
            parity.flipped(by_shipped, by_floats, some.kinds, manifest.thresholds), max_flipped
        ),
        messages=len(some.texts),
    )


def _with_fast_path(
    manifest: Manifest, tokenizer: Tokenizer, shipped: Backend, dataset: Dataset, half: WideHalf
) -> Manifest:
    """Where the wide half's answer is the shipped model's; measured on the test part at natural rates."""
    held, test = messages(dataset, "validation"), messages(dataset, _natural(dataset))
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


def _with_exit(manifest: Manifest, judging: Engine, dataset: Dataset, folder: Path, after: int) -> Manifest:
    """Where the first blocks' answer is the whole model's; without its files where that cannot be shown."""
    held, test = messages(dataset, "validation"), messages(dataset, _natural(dataset))
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


def with_probes(
    manifest: Manifest, tokenizer: Tokenizer, shipped: Backend, half: WideHalf | None
) -> Manifest:
    """The manifest with what the shipped arithmetic says of our probe messages."""
    asked = [Message(content.encode(), kind=kind) for kind, content in probes.MESSAGES]
    found = engine_of(manifest, tokenizer, shipped, half).judge(asked)
    scored = tuple(
        Probe(kind, content, v.probability) for (kind, content), v in zip(probes.MESSAGES, found, strict=True)
    )
    return msgspec.structs.replace(manifest, probes=scored)


def finish(manifest: Manifest, folder: Path, validation: SplitTexts) -> None:
    """Open the bundle as filterd will, time it, and write card and manifest."""
    (folder / bundle.CARD).write_text("", "utf-8")
    bundle.write_manifest(folder, msgspec.structs.replace(manifest, files=bundle.entries(folder)))
    speed = timed(folder, validation)
    entries = bundle.entries(folder)
    size = {name: round(entries[name].bytes / 1e6, 2) for name in sorted(entries) if name != bundle.CARD}
    metrics = manifest.metrics | {"speed": msgspec.to_builtins(speed), "megabytes": size}
    manifest = msgspec.structs.replace(manifest, metrics=metrics)
    (folder / bundle.CARD).write_text(card.write(manifest), "utf-8")
    bundle.write_manifest(folder, msgspec.structs.replace(manifest, files=bundle.entries(folder)))


def timed(folder: Path, texts: SplitTexts) -> card.Speed:
    """How quick a bundle is that is opened as filterd opens it; the GPT-2 judges all. Raises BundleError."""
    started = time.perf_counter()
    engine = Engine.open(folder)
    load_seconds = time.perf_counter() - started
    backend: OnnxBackend = open_backend(folder)
    return card.measure(backend, engine.bundle.manifest.max_tokens, load_seconds, _rates(engine, texts))


def _rates(engine: Engine, validation: SplitTexts) -> dict[str, float]:
    """Messages a second from text to verdict, by kind."""
    found = {}
    for kind in Kind:
        texts = [t for t, k in zip(validation.texts, validation.kinds, strict=True) if k is kind][:TIMED]
        if texts:
            kinds = [kind] * len(texts)
            taken = card.seconds(lambda t=texts, k=kinds: engine.margins(t, k), 3)  # type: ignore[misc]
            found[kind.value] = round(len(texts) / taken, 1)
    return found
