"""Refits the wide half of a champion (scoring/linear.py) to corrections; its GPT-2 stays, byte for byte.

Strategy: logistic regression for what is to be added to the table, with the champion's own margin as the
offset. As in `trainer.retraining.loss` the loss is taken at the bundle's thresholds, where corrections count:
a spam teaches by its most spam-like window, a ham by all of them. The sum is held near 0 (L2), so a word that
nobody corrected keeps its weight, and a message that the champion labels rightly pulls hardly at all. Our own
everyday messages (`trainer.retraining.anchors`) teach nothing: the champion's margins of them are held.

Mail and SMS are fitted apart and into a table each, a kind of which nothing was corrected not at all: the
verdicts of SMS stay as they are, to the digit, however much mail was corrected.

A fit takes a second, so what was corrected need not be split into a part to learn from and one to judge by:
every message is judged by a fit that saw none of its near-duplicates (cross-fitting; Stone 1974), and the
challenger learns from all of them.
"""

import shutil
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import minimize  # type: ignore[import-untyped]
from scipy.sparse import csr_matrix, hstack  # type: ignore[import-untyped]

from filterd.api import Kind, Message
from filterd.reading import text
from filterd.scoring import bundle, linear, verdict
from filterd.scoring.bundle import Bundle, FastPathEntry, FileEntry, Manifest, WideEntry
from filterd.scoring.engine import Engine
from filterd.scoring.grams import Grams
from filterd.scoring.linear import KINDS, TABLE, features
from filterd.scoring.verdict import Calibration
from filterd_trainer.export.linear import LARGEST

# Chosen on Enron mail and a model that knew SMS alone, never on the stream that docs/retraining.md reports;
# half or twice changed little there (docs/decisions.md).
PULL: Final = 0.02  # of L2, in nats
BEYOND: Final = 3.0  # nats past its threshold that a message is to reach
HAM: Final = 3.0  # what a ham weighs beside a spam: lost mail is worse than a spam in the inbox
HOLD: Final = 3.0  # a squared nat off the champion's margin costs this much, where it is held
STEPS: Final = 150  # of L-BFGS; some 40 are needed
FOLDS: Final = 5
SEED: Final = 123
INT8_MAX: Final = 127

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]


@dataclass(frozen=True)
class RefitInput:
    """Messages [n] as the champion sees them: their windows' n-grams, and both halves' margins of each.

    held: those whose margins are to stay; of the others is_spam is to be learned.
    """

    windows: Sequence[Sequence[Grams]]
    margins: Sequence[Sequence[float]]
    kinds: Sequence[Kind]
    is_spam: NDArray[np.bool_]
    held: NDArray[np.bool_]

    def some(self, places: Sequence[int] | Indices) -> "RefitInput":
        """Those at these places."""
        return RefitInput(
            [self.windows[i] for i in places],
            [self.margins[i] for i in places],
            [self.kinds[i] for i in places],
            self.is_spam[list(places)],
            self.held[list(places)],
        )


@dataclass(frozen=True)
class WideDelta:
    """What a fit adds, by kind, in nats: to the weights [TABLE], and to every margin."""

    weights: dict[Kind, Floats]
    nats: dict[Kind, float]

    @classmethod
    def nothing(cls) -> "WideDelta":
        """To no kind."""
        return cls({kind: np.zeros(TABLE) for kind in Kind}, dict.fromkeys(Kind, 0.0))


@dataclass(frozen=True)
class WideWeights:
    """A wide half in floats, by kind.

    weights [TABLE]: nats; unit: nats of one step in 8 bits, 0 where none is there yet.
    """

    weights: dict[Kind, Floats]
    unit: dict[Kind, float]

    @classmethod
    def of(cls, champion: Bundle) -> "WideWeights":
        """The champion's; an empty one where it has none. Raises BundleError."""
        entry = champion.manifest.wide
        if not entry:
            return cls(WideDelta.nothing().weights, dict.fromkeys(Kind, 0.0))
        tables = linear.read(champion.path, entry)
        weights = {kind: tables[kind].astype(np.float64) * scale for kind, scale in entry.scale.items()}
        return cls(weights, dict(entry.scale))

    def write(self, added: WideDelta, folder: Path) -> WideEntry:
        """The sums in 8 bits, in the champion's own steps where they reach far enough."""
        tables, scale = [], {}
        for kind in KINDS:
            weights = self.weights[kind] + added.weights[kind]
            used = np.abs(weights[weights != 0])
            needed = float(np.quantile(used, LARGEST)) / INT8_MAX if len(used) else 0.0
            scale[kind] = max(self.unit[kind], needed) or 1.0
            steps = np.clip(np.round(weights / scale[kind]), -INT8_MAX, INT8_MAX)
            tables.append(steps.astype(np.int8).tobytes())
        (folder / bundle.WIDE).write_bytes(b"".join(tables))
        return WideEntry(scale, apart=True)


def ask(champion: Engine, frame: pd.DataFrame, is_spam: NDArray[np.bool_]) -> RefitInput:
    """What the champion sees in a dataset's rows (Text, Kind, Role). Anchors are held."""
    kinds = [Kind(kind) for kind in frame["Kind"]]
    texts = [
        text.of_sms(one).canonical if kind is Kind.SMS else one
        for one, kind in zip(frame["Text"].astype(str), kinds, strict=True)
    ]
    looks = champion.looks(texts, kinds)
    seen = [[features(champion.text_of(window)) for window in look.windows] for look in looks]
    return RefitInput(
        seen,
        [look.margins for look in looks],
        kinds,
        is_spam,
        (frame["Role"] == "anchor").to_numpy(dtype=bool),
    )


def fit(champion: Manifest, of: RefitInput, corrected: Collection[Kind] = KINDS) -> WideDelta:
    """What is to be added to the kinds that were corrected."""
    added = WideDelta.nothing()
    for kind in corrected:
        rows = [row for i, one in enumerate(of.kinds) if one is kind for row in _rows(champion, of, i)]
        if rows:
            added.weights[kind], added.nats[kind] = _fit(rows)
    return added


def _fit(rows: Sequence["_Row"]) -> tuple[Floats, float]:
    """Weights [TABLE] and nats to add to one kind. What moves all of it alike is a number of its own, or the
    commonest words would carry it."""
    columns, places = np.unique(np.concatenate([row.grams for row in rows]), return_inverse=True)
    ends = np.cumsum([0, *(len(row.grams) for row in rows)])
    values = np.concatenate([np.full(len(row.grams), row.value) for row in rows])
    grams = csr_matrix((values, places, ends), shape=(len(rows), len(columns)))
    matrix = hstack([grams, csr_matrix([[row.each] for row in rows])], format="csr")
    start = np.array([row.start for row in rows])
    weight = np.array([0.0 if row.held else row.weight for row in rows])
    hold = np.array([HOLD * row.weight if row.held else 0.0 for row in rows])

    def loss(x: Floats) -> tuple[float, Floats]:
        moved = matrix @ x
        short = BEYOND - start - moved
        slope = hold * moved - weight / (1.0 + np.exp(-np.clip(short, -50, 50)))
        total = weight @ np.logaddexp(0.0, short) + 0.5 * hold @ moved**2 + 0.5 * PULL * (x @ x)
        return float(total), matrix.T @ slope + PULL * x

    zero, options = np.zeros(matrix.shape[1]), {"maxiter": STEPS}
    found = minimize(loss, zero, jac=True, method="L-BFGS-B", options=options).x
    weights = np.zeros(TABLE)
    weights[columns] = found[:-1]
    return weights, float(found[-1])


@dataclass(frozen=True, kw_only=True)
class _Row:
    """One window. start: nats past the threshold, on its right side; value: of each n-gram there; each: of
    what is added to all of its kind."""

    grams: Grams
    value: float
    each: float
    start: float
    weight: float
    held: bool


def _rows(champion: Manifest, of: RefitInput, i: int) -> list[_Row]:
    kind, spam = of.kinds[i], bool(of.is_spam[i])
    line, cut = champion.calibration[kind], champion.thresholds[kind]
    threshold, sign = verdict.log_odds(cut.spam if spam else cut.unsure), 1.0 if spam else -1.0
    chosen = [int(np.argmax(of.margins[i]))] if spam else range(len(of.margins[i]))
    return [
        _Row(
            grams=of.windows[i][k],
            value=sign * line.slope / float(np.sqrt(len(of.windows[i][k]))),
            each=sign * line.slope,
            start=sign * (line.slope * of.margins[i][k] + line.offset - threshold),
            weight=1.0 if spam else HAM / len(chosen),
            held=bool(of.held[i]),
        )
        for k in chosen
    ]


def margins(added: WideDelta, of: RefitInput) -> Floats:
    """Of messages [n], each by its highest window, with what was added."""
    return np.array(
        [
            added.nats[kind]
            + max(
                nats + float(added.weights[kind][grams].sum()) / float(np.sqrt(len(grams)))
                for nats, grams in zip(nats_of, windows, strict=True)
            )
            for nats_of, windows, kind in zip(of.margins, of.windows, of.kinds, strict=True)
        ]
    )


def folds(groups: Sequence[int] | Indices) -> Indices:
    """A number below FOLDS for each message [n]; near-duplicates share it."""
    names, place = np.unique(np.asarray(groups, dtype=np.int64), return_inverse=True)
    order = np.random.default_rng(SEED).permutation(len(names))
    found: Indices = (order % FOLDS)[place].astype(np.int64)
    return found


def crossed(champion: Manifest, known: RefitInput, new: RefitInput, fold: Indices) -> Floats:
    """Margins of new messages [n], each by a fit to the known ones and to the new ones of other folds."""
    found = np.zeros(len(new.kinds))
    for number in np.unique(fold):
        inside, outside = (np.flatnonzero(which) for which in (fold == number, fold != number))
        others = new.some(outside)
        added = fit(champion, together(known, others), set(others.kinds))
        found[inside] = margins(added, new.some(inside))
    return found


def together(one: RefitInput, other: RefitInput) -> RefitInput:
    """Both."""
    return RefitInput(
        [*one.windows, *other.windows],
        [*one.margins, *other.margins],
        [*one.kinds, *other.kinds],
        np.concatenate([one.is_spam, other.is_spam]),
        np.concatenate([one.held, other.held]),
    )


def write(champion: Bundle, out: Path, added: WideDelta, manifest: Manifest) -> Bundle:
    """A bundle: the champion's files, another wide half. manifest: the champion's with what else changes.

    What is added to all of a kind goes into its calibration. Raises BundleError, Unwritable.
    """
    with bundle.writing(out) as folder:
        for name in bundle.REQUIRED:
            shutil.copy(champion.path / name, folder / name)
        with (folder / bundle.CARD).open("a", encoding="utf-8") as card:
            card.write(f"\nSince then its wide half was refitted to corrections, from {champion.id}.\n")
        entry = WideWeights.of(champion).write(added, folder)
        files = {name: FileEntry(sha256="", bytes=0) for name in (*bundle.REQUIRED, bundle.WIDE)}
        manifest = msgspec.structs.replace(
            manifest,
            created=bundle.now(),
            calibration={
                kind: Calibration(line.slope, line.offset + line.slope * added.nats[kind])
                for kind, line in manifest.calibration.items()
            },
            parent=champion.id,
            wide=entry,
            files=files,
            fast_path=_fast_path(champion.manifest, manifest, added),
            probes=(),
        )
        bundle.write_manifest(folder, msgspec.structs.replace(manifest, files=bundle.entries(folder)))
        probes = _probed(Engine.open(folder), champion.manifest)
        manifest = msgspec.structs.replace(manifest, probes=probes, files=bundle.entries(folder))
        bundle.write_manifest(folder, manifest)
    return bundle.read(out)


def _fast_path(champion: Manifest, made: Manifest, added: WideDelta) -> dict[Kind, FastPathEntry] | None:
    """The champion's for a kind that is judged as before, to the digit; for others it may not hold."""
    if not champion.fast_path:
        return None
    kept = {
        kind: fit
        for kind, fit in champion.fast_path.items()
        if not (added.nats[kind] or added.weights[kind].any())
        and made.calibration[kind] == champion.calibration[kind]
        and made.thresholds[kind] == champion.thresholds[kind]
    }
    return {kind: kept.get(kind, FastPathEntry()) for kind in Kind} if kept else None


def _probed(made: Engine, champion: Manifest) -> tuple[bundle.Probe, ...]:
    """The champion's probes with what the new bundle says of them."""
    asked = [Message(one.text.encode(), kind=one.kind) for one in champion.probes]
    return tuple(
        msgspec.structs.replace(one, probability=found.probability)
        for one, found in zip(champion.probes, made.judge(asked), strict=True)
    )
