"""What every export does, whatever its labels are: the manifest, its probes, the measurements, the card."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from filterd.api import Kind, Message
from filterd.scoring import bundle
from filterd.scoring.backend import Backend, OnnxBackend, open_backend
from filterd.scoring.bundle import Architecture, Bundle, FileEntry, Manifest, Probe
from filterd.scoring.engine import Engine
from filterd.scoring.linear import WideHalf
from filterd.scoring.tokenizer import END_OF_TEXT_ID, Tokenizer
from filterd.scoring.verdict import Calibration, Thresholds
from filterd_trainer.data.corpus import Dataset
from filterd_trainer.export import card, parity, probes
from filterd_trainer.export.texts import SplitTexts
from filterd_trainer.training.runs import RunConfig

TIMED = 500  # messages of each kind that throughput is measured on
GPT2 = "OpenAI's GPT-2 (modified MIT)"

Report = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class ExportRequest:
    """What to export. max_tokens: of a window, 0 for the run's.

    fast_path: find where the wide half may settle messages; as long as judging the held-out parts twice.
    wide: fit a wide half; wide_of: a bundle whose wide half, or lack of one, is taken over instead, and
    weighed anew where calibrate_on says on what;
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
        task=config.learns.name,
        target=config.target,
        quantization=request.quantization,
        calibration=dict.fromkeys(Kind, Calibration()),
        thresholds=dict.fromkeys(Kind, Thresholds(unsure=0.5, spam=0.5)),
        probes=(),
        metrics={},
        files={name: FileEntry(sha256="", bytes=0) for name in bundle.REQUIRED},
        parent=request.parent,
    )


def engine_of(
    manifest: Manifest, tokenizer: Tokenizer, backend: Backend, wide: WideHalf | None = None
) -> Engine:
    """An engine of what is being exported."""
    return Engine(Bundle(path=Path(), manifest=manifest, id=manifest.name), tokenizer, backend, wide)


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
