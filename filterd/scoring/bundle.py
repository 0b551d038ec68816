"""The model bundle: a directory with all that a verdict depends on. The trainer writes it, filterd reads it.

Strategy: reading trusts nothing. Every file is hashed against the manifest before it is used, unknown keys
are refused, and what does not fit raises BundleError with one line that says which file and why, so that a
caller can keep the bundle it has. Writing goes to a temporary folder beside the target, is synced, and
becomes visible by one rename. A *store* is a folder of bundles with two links, `current` and `previous`.
"""

import hashlib
import re
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import msgspec

from filterd.api import Kind
from filterd.errors import BundleError
from filterd.kit.disk import sync
from filterd.scoring import answers
from filterd.scoring.answers import LabelFacts, Target, TaskName
from filterd.scoring.verdict import Calibration, Thresholds

FORMAT = 1
MANIFEST = "manifest.json"
MODEL = "model.onnx"
TOKENIZER = "tokenizer.tiktoken"
WEIGHTS = "model.safetensors"
CARD = "MODEL_CARD.md"
CURRENT, PREVIOUS, CHALLENGER = (
    "current",
    "previous",
    "challenger",
)  # links of a store; see `use`, `put_on_trial`
WIDE = "wide.int8"  # optional; see WideEntry
FIRST, REST = "first.onnx", "rest.onnx"  # optional; see Exit
REQUIRED = (MODEL, TOKENIZER, WEIGHTS, CARD)

MAX_MANIFEST_BYTES = 1 << 20  # a dozen probes and a page of metrics are 20 KB
MAX_PROBE_DIFFERENCE = 0.02  # |Δp| between CPUs' integer kernels; a wrong model differs by far more
LEFT_S = 3 * 3600.0  # nobody works at a folder that has not changed for so long: a fetch ends within an hour
DEFAULT = Path(__file__).parents[1] / "bundles" / "default"

_UNFINISHED = re.compile(r"\..+\.(old|[a-z0-9_]{8})")  # as `writing`, `_replace_folder` and mkdtemp name them


class Architecture(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """Sizes of a GPT-2; names as in the lecture. context and width in tokens and channels."""

    vocabulary: int
    context: int
    width: int
    layers: int
    heads: int


class Probe(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A message whose P(spam) is known; a runtime that gives another answer is not to be trusted."""

    kind: Kind
    text: str
    probability: float


class FileEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a bundle's file has to be."""

    sha256: str
    bytes: int


class FastPathSide(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """What the fast path settles on one side, in nats.

    limit: of the wide half's margin, beyond which it settles a message; scale, offset: the log-odds of spam
    that it then has, offset + scale * margin.
    """

    limit: float
    scale: float
    offset: float


class FastPathEntry(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """The fast path of one kind of message. See filterd/scoring/fastpath.py.

    ham, spam: what it settles as either; None for nothing. The rest was measured on `messages` held-out ones
    that nothing was fitted to. settled: share that the fast path answers; agrees: share of all whose label is
    the full model's; at_least: its lower 95% bound.
    """

    ham: FastPathSide | None = None
    spam: FastPathSide | None = None
    messages: int = 0
    settled: float = 0.0
    agrees: float = 1.0
    at_least: float = 0.0


class WideEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How `wide.int8` is read: tables of 2^19 weights. See filterd/scoring/linear.py.

    scale: nats of a weight's unit, by kind.
    apart: a table for mail, then one for SMS; else one for both.
    """

    scale: dict[Kind, float]
    apart: bool = False

    def __post_init__(self) -> None:
        if set(self.scale) != set(Kind):
            raise ValueError("wide has to name both mail and sms")


class Lineage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a retrained bundle was made from.

    store: which corrections store, by `filterd.promotion.champion.fingerprint`. revision: the last of its
    corrections that were read. strategy: how they were learned.
    """

    store: str
    revision: int
    strategy: str


class ExitStatistics(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """What an exit did with one kind of held-out messages, of those that the fast path leaves.

    settled: share of their windows that needed no more than the first blocks; agrees: share of messages with
    the whole model's label; at_least: its lower 95% bound.
    """

    messages: int
    settled: float
    agrees: float
    at_least: float


class ExitEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the GPT-2 may stop early: `first.onnx` is its first blocks with a head, `rest.onnx` the others.

    after: blocks. ham, spam: of the head's log-odds of one window, beyond which the whole model's are not
    computed but taken from the side's line; None where a side settles nothing. measured: by kind.
    """

    after: int
    ham: FastPathSide | None
    spam: FastPathSide | None
    measured: dict[Kind, ExitStatistics] = {}


class Manifest(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """`manifest.json`, format 1.

    labels: the model's classes in the order of its logits; ham: those of them that count as ham.
    max_tokens, max_windows: a longer message is judged in up to max_windows windows of max_tokens tokens.
    task: `spam`: ham against spam; else what `answers.py` reads, whose labels know no ham. Their calibration
    divides logits by a temperature (slope is 1 / temperature), their thresholds are not used.
    cuts: of `multilabel`, P from which each label is called. target: of `regression`.
    padded: a shorter window is filled up to max_tokens with pad_token and read at its end, as it was trained.
    calibration, thresholds: by kind of message.
    metrics: figures with the fingerprint of the data they were measured on; free form, for people.
    parent: id of the bundle that this one was retrained from. lineage: None where it was not retrained.
    wide: the linear half of the model; None where the GPT-2 judges alone.
    fast_path: where the wide half settles a message without the GPT-2, by kind; None where it never does.
    exit: where the GPT-2's first blocks settle a window; None where all blocks are always asked.
    reference: shares of scores, labels, lengths and scripts on held-out data, for `drift.py`.
    """

    format: Literal[1]
    name: str
    created: datetime
    text_format: int
    architecture: Architecture
    labels: tuple[str, ...]
    ham: tuple[str, ...]
    max_tokens: int
    max_windows: int
    pad_token: int
    quantization: str
    calibration: dict[Kind, Calibration]
    thresholds: dict[Kind, Thresholds]
    probes: tuple[Probe, ...]
    metrics: dict[str, Any]
    files: dict[str, FileEntry]
    parent: str | None = None
    lineage: Lineage | None = None
    reference: dict[Kind, dict[str, list[float]]] = {}
    fast_path: dict[Kind, FastPathEntry] | None = None
    wide: WideEntry | None = None
    exit: ExitEntry | None = None
    padded: bool = False
    task: TaskName = "spam"
    cuts: tuple[float, ...] = ()
    target: Target | None = None

    def __post_init__(self) -> None:
        if len(set(self.labels)) != len(self.labels):
            raise ValueError("labels have to be different names")
        if set(self.calibration) != set(Kind) or set(self.thresholds) != set(Kind):
            raise ValueError("calibration and thresholds have to name both mail and sms")
        if self.reader:
            if self.ham or self.wide or self.fast_path or self.exit:
                raise ValueError(f"task {self.task} has neither ham nor wide, fast_path or exit")
        elif not self.ham or not set(self.ham) < set(self.labels):
            raise ValueError("ham has to name some of the labels, not all")
        if not 1 <= self.max_tokens <= self.architecture.context or self.max_windows < 1:
            raise ValueError("max_tokens has to fit the context and max_windows be at least 1")
        if not set(REQUIRED) <= set(self.files):
            raise ValueError(f"files lack {', '.join(sorted(set(REQUIRED) - set(self.files)))}")
        if self.fast_path is not None and (set(self.fast_path) != set(Kind) or not self.wide):
            raise ValueError("fast_path has to name both mail and sms, and needs wide")
        if self.wide and WIDE not in self.files:
            raise ValueError(f"files lack {WIDE}, which wide describes")
        if self.exit and self.padded:
            raise ValueError("an exit reads the last real token, which padded does not")
        if self.exit and not {FIRST, REST} <= set(self.files):
            raise ValueError(f"files lack {FIRST} or {REST}, which exit describes")

    @property
    def reader(self) -> answers.Reader | None:
        """What reads the model's numbers, where it knows no spam."""
        slope = next(iter(self.calibration.values())).slope
        return answers.reader(self.task, LabelFacts(self.labels, slope, self.cuts, self.target))

    @property
    def ham_indices(self) -> tuple[int, ...]:
        """Positions of the ham classes among the logits."""
        return tuple(i for i, name in enumerate(self.labels) if name in self.ham)

    def filled(self, window: Sequence[int]) -> Sequence[int]:
        """A window as the model was trained to see it."""
        if not self.padded:
            return window
        return [*window, *[self.pad_token] * (self.max_tokens - len(window))]

    def fast_path_lines(self) -> list[str]:
        """What the fast path was measured to do, a line a kind of message."""
        if not self.fast_path:
            return ["no fast path"]
        return [
            f"fast path, {kind.value}: settles {fit.settled:.1%} of {fit.messages:,} held-out messages;"
            f" labels agree on {fit.agrees:.3%} of all (at least {fit.at_least:.3%} with 95% confidence)"
            if fit.ham or fit.spam
            else f"fast path, {kind.value}: settles none; its agreement could not be shown"
            for kind, fit in self.fast_path.items()
        ]

    def exit_lines(self) -> list[str]:
        """What the exit was measured to do, a line a kind of message; none without one."""
        return [
            f"exit after {self.exit.after} of {self.architecture.layers} blocks, {kind.value}: settles"
            f" {one.settled:.1%} of the windows of {one.messages:,} held-out messages; labels agree on"
            f" {one.agrees:.3%} (at least {one.at_least:.3%} with 95% confidence)"
            for kind, one in (self.exit.measured if self.exit else {}).items()
            if self.exit
        ]


class Bundle(msgspec.Struct, frozen=True):
    """A bundle whose files have been checked. id: its name and the beginning of its manifest's sha256."""

    path: Path
    manifest: Manifest
    id: str


def read(path: Path) -> Bundle:
    """Read and check a bundle. Raises BundleError; the probe scores are the engine's to check."""
    folder = path.resolve()
    raw = _read_manifest(folder)
    try:
        manifest = msgspec.json.decode(raw, type=Manifest)
    except msgspec.MsgspecError as error:
        raise BundleError(f"{folder / MANIFEST}: {error}; use another bundle or train a new one") from error
    for name, entry in manifest.files.items():
        _check_file(folder, name, entry)
    return Bundle(path=folder, manifest=manifest, id=_id(raw, manifest))


def id_of(path: Path) -> str:
    """The id of a bundle by its manifest alone, whatever its other files hold. Raises BundleError."""
    raw = _read_manifest(path.resolve())
    try:
        return _id(raw, msgspec.json.decode(raw, type=Manifest))
    except msgspec.MsgspecError as error:
        raise BundleError(f"{path / MANIFEST}: {error}; use another bundle or train a new one") from error


def _id(raw: bytes, manifest: Manifest) -> str:
    return f"{manifest.name}-{hashlib.sha256(raw).hexdigest()[:12]}"


def _read_manifest(folder: Path) -> bytes:
    file = folder / MANIFEST
    try:
        if file.stat().st_size > MAX_MANIFEST_BYTES:
            raise BundleError(f"{file}: larger than {MAX_MANIFEST_BYTES:,} bytes; not a manifest of ours")
        return file.read_bytes()
    except OSError as error:
        raise BundleError(f"{file}: {error.strerror}; name a folder that holds a bundle") from error


def _check_file(folder: Path, name: str, entry: FileEntry) -> None:
    file = folder / name
    if Path(name).name != name:
        raise BundleError(f"{folder / MANIFEST}: file name {name!r} leads out of the bundle")
    try:
        size, digest = file.stat().st_size, sha256(file)
    except OSError as error:
        raise BundleError(f"{file}: {error.strerror}; restore the bundle") from error
    if (size, digest) != (entry.bytes, entry.sha256):
        raise BundleError(f"{file}: does not match its hash in {MANIFEST}; restore the bundle")


def sha256(file: Path) -> str:
    """Hex SHA-256 of a file, read in pieces. Raises OSError."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def entries(folder: Path) -> dict[str, FileEntry]:
    """The `files` part of a manifest for all files in a folder but the manifest itself."""
    return {
        file.name: FileEntry(sha256=sha256(file), bytes=file.stat().st_size)
        for file in sorted(folder.iterdir())
        if file.is_file() and file.name != MANIFEST
    }


@contextmanager
def writing(target: Path) -> Iterator[Path]:
    """A temporary folder that becomes `target` when the block ends well, and vanishes when it does not.

    The caller puts every file in, the manifest last (`write_manifest`). An existing target is replaced.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        yield folder
        folder.chmod(0o755)
        for file in folder.iterdir():
            file.chmod(0o644)  # safetensors writes 0600, and a daemon's user is another than the trainer's
            sync(file)
        sync(folder)
        _replace_folder(folder, target)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write `manifest.json`, indented so that a change of it can be reviewed."""
    (folder / MANIFEST).write_bytes(_encoded(manifest))


def _encoded(manifest: Manifest) -> bytes:
    return msgspec.json.format(msgspec.json.encode(manifest), indent=1) + b"\n"


def rewrite_manifest(folder: Path, manifest: Manifest) -> None:
    """Replace a bundle's manifest by one rename. Its id changes with it."""
    temporary = folder / f".{MANIFEST}.new"
    temporary.write_bytes(_encoded(manifest))
    temporary.chmod(0o644)
    sync(temporary)
    temporary.replace(folder / MANIFEST)
    sync(folder)


def now() -> datetime:
    """The time for a manifest's `created`: UTC, whole seconds."""
    return datetime.now(UTC).replace(microsecond=0)


def _replace_folder(folder: Path, target: Path) -> None:
    old = target.with_name(f".{target.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if target.exists():
        target.rename(old)
    folder.rename(target)
    sync(target.parent)
    shutil.rmtree(old, ignore_errors=True)


def tidy(store: Path) -> None:
    """Remove folders that were being fetched or copied into a store when their command was killed."""
    for left in store.iterdir() if store.is_dir() else ():
        if not _UNFINISHED.fullmatch(left.name) or left.is_symlink():
            continue
        try:
            if time.time() - left.stat().st_mtime > LEFT_S:
                shutil.rmtree(left, ignore_errors=True)  # it may be another user's
        except OSError:  # its command has just ended
            continue


def install(opened: Bundle, store: Path) -> str:
    """Copy a checked bundle into a store, under its id; returns that name. Raises OSError without space."""
    try:
        there = read(store / opened.id).id == opened.id
    except BundleError:
        there = False
    tidy(store)
    if not there:
        with writing(store / opened.id) as folder:
            for file in opened.path.iterdir():
                shutil.copy2(file, folder / file.name)
    return opened.id


def in_use(store: Path) -> Path:
    """The bundle of a store that judges: its current one, else the one that ships."""
    current = store / CURRENT
    return current if current.exists() else DEFAULT


def use(store: Path, name: str) -> None:
    """Make `name` the store's current bundle and the one before it `previous`; each link swaps atomically."""
    current = store / CURRENT
    if current.is_symlink() and str(current.readlink()) != name:
        _link(store / PREVIOUS, str(current.readlink()))
    _link(current, name)


def promote(opened: Bundle, store: Path, before: Path = DEFAULT) -> None:
    """Make `opened` the store's current bundle, and the one that judged before what a rollback goes to.

    before: what judged where the store has no current bundle yet. Raises OSError without space; until the
    last step the store's current bundle is what it was.
    """
    name = install(opened, store)
    _give_current(store, before)
    use(store, name)


def put_on_trial(opened: Bundle, store: Path, before: Path = DEFAULT) -> None:
    """Install a challenger and link `challenger` to it: a daemon runs it beside its own."""
    name = install(opened, store)
    _give_current(store, before)
    _link(store / CHALLENGER, name)


def _give_current(store: Path, before: Path) -> None:
    if not (store / CURRENT).is_symlink():
        _link(store / CURRENT, install(read(before), store))


def end_trial(store: Path) -> None:
    """Nobody is on trial any more; the bundle itself stays for inspection."""
    (store / CHALLENGER).unlink(missing_ok=True)
    sync(store)


def rollback(store: Path) -> str:
    """Swap `current` and `previous`; returns the name now current. Raises BundleError without a previous."""
    previous = store / PREVIOUS
    if not previous.is_symlink() or not previous.exists():
        raise BundleError(f"{store}: no previous bundle to go back to")
    name = str(previous.readlink())
    use(store, name)
    return name


def _link(link: Path, target: str) -> None:
    temporary = link.with_name(f".{link.name}.new")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(target)
    temporary.replace(link)
    sync(link.parent)
