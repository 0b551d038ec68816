"""Fits the wide half of a bundle (scoring/linear.py): logistic regression on hashed n-grams and labels.

Strategy: one table for mail and SMS, so that what is known of one kind helps with the other. Every source,
kind and label weighs the same, or the largest corpus would decide; within a message its windows share its
weight. Every fourth message is there once more with ham around it, or good words behind a spam would outvote
it. How far the table is to be trusted beside the GPT-2 is found on texts that neither has trained on, of
sources left out where there are such (on known ones a table of their wordings looks better than it is): a
logistic regression on both margins of the window that decides, by kind, gives the ratio; calibration and
thresholds are fitted afterwards to the sum.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import csr_matrix  # type: ignore[import-untyped]
from sklearn.linear_model import LogisticRegression

from filterd.api import Kind
from filterd.scoring.bundle import WIDE, WideEntry
from filterd.scoring.engine import ModelLook
from filterd.scoring.linear import TABLE, WideHalf, features
from filterd_trainer.evaluation.calibrate import fit_platt

MAX_FITTED: Final = 6_000  # messages of one source, kind and label; a minute for all
INVERSE_REGULARISATION: Final = 100.0  # scikit-learn's C, for rows of length 1
SURROUNDED_EVERY: Final = 4  # of so many messages one is there again with ham around it
MAX_RATIO: Final = 2.0  # of the wide half's nats to the GPT-2's; beyond, wordings would decide alone
LARGEST: Final = 0.9995  # of the weights; the few beyond are cut, or one would take all others' steps
SEED: Final = 123

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class WindowTexts:
    """Messages, [n]: their windows' texts, kinds, truth, and group (source, kind, label), which weighs 1."""

    windows: Sequence[Sequence[str]]
    kinds: Sequence[Kind]
    is_spam: NDArray[np.bool_]
    groups: Sequence[str]


def write(
    train: WindowTexts,
    held: WindowTexts,
    looks: Sequence[ModelLook],
    folder: Path,
    earlier: NDArray[np.int8] | None = None,
) -> WideEntry:
    """Fit, weigh against how the held-out messages look to the GPT-2 alone, write `wide.int8`.

    earlier: another bundle's table, [TABLE]; it and the fitted one are then averaged.
    """
    table, unit = fit(train)
    if earlier is not None:
        table, unit = mean(table, earlier, unit)
    (folder / WIDE).write_bytes(table.tobytes())
    return weigh(dict.fromkeys(Kind, table), unit, held, looks)


def weigh(
    tables: dict[Kind, NDArray[np.int8]], unit: float | None, held: WindowTexts, looks: Sequence[ModelLook]
) -> WideEntry:
    """How far tables, [TABLE] each, are to be trusted beside how the held-out messages look to the GPT-2.

    unit: the nats of one unit of them; None: found on the held-out messages.
    """
    half = WideHalf(tables, WideEntry(dict.fromkeys(Kind, unit or 1.0)))
    both = [
        look._replace(wide=[half.margin(window, kind) for window in windows])
        for look, windows, kind in zip(looks, held.windows, held.kinds, strict=True)
    ]
    found = np.array([(look.deep[look.deciding], look.wide[look.deciding]) for look in both])
    scale = {}
    for kind in Kind:
        of_kind = np.array([one is kind for one in held.kinds])
        if len(set(held.is_spam[of_kind].tolist())) < 2:
            of_kind[:] = True
        deep, wide, spam = found[of_kind, 0], found[of_kind, 1], held.is_spam[of_kind]
        nats = unit or max(fit_platt(wide, spam).slope, 0.0)
        scale[kind] = nats * ratio(deep, wide * (1.0 if unit else nats), spam) if nats else 0.0
    return WideEntry(scale)


def fit(train: WindowTexts) -> tuple[NDArray[np.int8], float]:
    """Weights in 8 bits, and the nats of one unit of them."""
    messages = _some(train.groups)
    share = {group: 1 / n for group, n in Counter(train.groups[i] for i in messages).items()}
    chosen = [(i, features(window)) for i in messages for window in train.windows[i]]
    rows = [row for _, row in chosen]
    ends = np.cumsum([0, *map(len, rows)])
    values = np.concatenate([np.full(len(row), len(row) ** -0.5, np.float32) for row in rows])
    matrix = csr_matrix((values, np.concatenate(rows).astype(np.int32), ends), shape=(len(rows), TABLE))
    weight = np.array([share[train.groups[i]] / len(train.windows[i]) for i, _ in chosen])
    model = LogisticRegression(C=INVERSE_REGULARISATION, solver="liblinear", random_state=SEED)
    model.fit(matrix, train.is_spam[[i for i, _ in chosen]], sample_weight=weight / weight.mean())
    return _in_bytes(model.coef_[0])


def mean(one: NDArray[np.int8], other: NDArray[np.int8], unit: float) -> tuple[NDArray[np.int8], float]:
    """Of two tables that fill their bytes alike, as `fit` leaves them, and the nats of one unit of it.

    unit: the nats of one of theirs. Both are noisy: fitted to samples that overlap they correlate by half.
    """
    table, step = _in_bytes((one.astype(np.float64) + other) / 2)
    return table, unit * step


def _in_bytes(weights: Floats) -> tuple[NDArray[np.int8], float]:
    used = np.abs(weights[weights != 0])
    unit = float(np.quantile(used, LARGEST)) / 127 if len(used) else 1.0
    return np.clip(np.round(weights / unit), -127, 127).astype(np.int8), unit


def ratio(deep: Floats, wide: Floats, is_spam: NDArray[np.bool_]) -> float:
    """Nats of the wide half for one of the GPT-2's, in [0, MAX_RATIO]; 0 where nothing can be told."""
    if is_spam.all() or not is_spam.any():
        return 0.0
    model = LogisticRegression(C=100.0).fit(np.stack([deep, wide], axis=1), is_spam)
    of_deep, of_wide = model.coef_[0]
    return float(np.clip(of_wide / max(of_deep, 1e-6), 0.0, MAX_RATIO))


def _some(groups: Sequence[str]) -> NDArray[np.int64]:
    """Places of at most MAX_FITTED messages of each group, drawn by SEED."""
    frame = pd.Series(np.arange(len(groups)), index=list(groups))
    parts = [part.sample(min(len(part), MAX_FITTED), random_state=SEED) for _, part in frame.groupby(level=0)]
    found: NDArray[np.int64] = np.sort(pd.concat(parts).to_numpy(dtype=np.int64))
    return found
