"""Sources left out whole: what a recipe is worth on mail and SMS of places that it never saw.

For each source a cheap model is fitted to all others, without the source's near-duplicates, and judges it. A
source with one label alone is paired with a partner of the other label, left out with it. The cheap model is
logistic regression on what a reader makes of a text (`readers.py`). Thresholds of a source are chosen on all
the others, each judged as unknown, so nothing of a source has a part in its figures.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd
from rich.console import Console
from rich.table import Table

from filterd.api import Label
from filterd.errors import BadInput, ConfigError
from filterd.reading import text
from filterd.scoring.verdict import Thresholds
from filterd_trainer.data.corpus import CALIBRATION, Dataset
from filterd_trainer.evaluation import calibrate, readers
from filterd_trainer.evaluation.metrics import ranked, ranking

Floats = npt.NDArray[np.float64]

SEED: Final = 5
PER_STRATUM: Final = 400  # messages of a source, kind and label; a table of 40 sources in minutes
LEAST: Final = 100  # messages of a label that a source or its partner has to have
UNSURE: Final = 0.03  # of unknown ham, as trainer.export.left_out
# The partner of a source without this label: mail and SMS of many senders.
PARTNERS: Final = {
    ("mail", "ham"): "mail_fixtures",
    ("mail", "spam"): "mail_list_spam",
    ("sms", "ham"): "sms_mz",
    ("sms", "spam"): "sms_mz",
}
BALANCES: Final = ("source", "label", "none")

Fit = Callable[[Any, npt.NDArray[np.int64], Floats], Any]


@dataclass(frozen=True, kw_only=True)
class LeftOutMetrics:
    """One source, left out: how many, ranking, and labels at thresholds chosen on the other sources."""

    source: str
    kind: str
    partner: str
    ham: int
    spam: int
    auc: float
    recall_01: float
    recall_1: float
    ham_unsure: float
    ham_spam: float
    spam_ham: float
    spam_unsure: float


@dataclass(frozen=True, kw_only=True)
class LeftOutFold:
    """One source's messages and its partner's, as rows of a sample, and how the rest judges them."""

    source: str
    kind: str
    partner: str
    rows: npt.NDArray[np.int64]
    margins: Floats


def sample(dataset: Dataset, per_stratum: int = PER_STRATUM) -> pd.DataFrame:
    """At most so many messages of each source, kind and label, of all parts. Raises BadInput, NotFound."""
    names = ["train", "validation", "test_natural"]
    names += [CALIBRATION] if CALIBRATION in dataset.about["files"] else []
    frame = pd.concat([dataset.split(name) for name in names], ignore_index=True)
    if "Source" not in frame or frame["Source"].nunique() < 3:
        raise BadInput(f"{dataset.folder}: fewer than three sources; give `data prepare` more --input")
    mixed = frame.sample(frac=1, random_state=SEED).groupby(["Source", "Kind", "Label"]).head(per_stratum)
    return mixed.sort_index().reset_index(drop=True)


def fold_rows(frame: pd.DataFrame) -> list[tuple[str, str, str, npt.NDArray[np.int64]]]:
    """Source, kind, partner and rows of each that can be judged: enough of both labels, or of a partner's."""
    counted = Counter(frame[["Source", "Kind", "Label"]].itertuples(index=False, name=None))
    enough = {key for key, count in counted.items() if count >= LEAST}
    found = []
    for source, kind in sorted({(str(key[0]), str(key[1])) for key in enough}):
        mine = frame["Source"].eq(source) & frame["Kind"].eq(kind)
        missing = [label for label in (0, 1) if (source, kind, label) not in enough]
        partner = PARTNERS[kind, ("ham", "spam")[missing[0]]] if missing else ""
        if partner == source or (partner and (partner, kind, missing[0]) not in enough):
            continue
        rows = mine & ~frame["Label"].isin(missing)
        if partner:
            rows |= frame["Source"].eq(partner) & frame["Kind"].eq(kind) & frame["Label"].eq(missing[0])
        found.append((source, kind, partner, np.flatnonzero(rows)))
    return found


def weights(frame: pd.DataFrame, balance: str) -> Floats:
    """The weight of each message: equal shares of each source, kind and label, of each label, or one each."""
    columns = {"source": ["Source", "Kind", "Label"], "label": ["Label"], "none": []}[balance]
    if not columns:
        return np.ones(len(frame))
    sizes = frame.groupby(columns)["Text"].transform("size").to_numpy(np.float64)
    found: Floats = 1 / sizes
    if balance == "source":  # as much ham as spam of each kind, whatever number of sources has it
        total = (
            pd.Series(found, frame.index).groupby([frame["Kind"], frame["Label"]]).transform("sum").to_numpy()
        )
        found = found / total
    return np.asarray(found * len(frame) / found.sum())


def judge(frame: pd.DataFrame, features: Any, fit: Fit, balance: str = "source") -> list[LeftOutFold]:
    """Each source judged by a model of the others. features: [n, d], a row a message of the frame."""
    labels, found = frame["Label"].to_numpy(np.int64), []
    for source, kind, partner, rows in fold_rows(frame):
        near = frame["Group"].isin(set(frame["Group"].to_numpy()[rows]))
        known = np.flatnonzero(~(near | frame["Source"].isin([source, partner])))
        model = fit(features[known], labels[known], weights(frame.iloc[known], balance))
        margins = np.asarray(model.decision_function(features[rows]), np.float64)
        found.append(LeftOutFold(source=source, kind=kind, partner=partner, rows=rows, margins=margins))
    return found


def figures(frame: pd.DataFrame, folds: Sequence[LeftOutFold]) -> list[LeftOutMetrics]:
    """What the table shows of each fold."""
    spam = frame["Label"].to_numpy() == 1
    return [_figures(fold, spam[fold.rows], _thresholds(fold, folds, spam)) for fold in folds]


def called(p: Floats, cut: Thresholds) -> npt.NDArray[np.str_]:
    """The label of each probability."""
    return np.select(
        [p >= cut.spam, p >= cut.unsure], [Label.SPAM.value, Label.UNSURE.value], Label.HAM.value
    )


def run(
    dataset: Dataset, reader: str, balance: str, per_stratum: int = PER_STRATUM, *, head: bool = True
) -> list[LeftOutMetrics]:
    """The table. head: whether the reader sees who sent a mail. Raises BadInput, ConfigError, NotFound."""
    if balance not in BALANCES:
        raise ConfigError(f"--balance {balance}: choose {', '.join(BALANCES)}")
    frame = sample(dataset, per_stratum)
    seen = frame["Text"] if head else frame["Text"].map(text.without_head)
    return figures(frame, judge(frame, *readers.read(reader, seen.tolist()), balance))


def show(console: Console, found: Sequence[LeftOutMetrics]) -> None:
    """The table, and the mean of each kind."""
    table = Table()
    names = ("source", "partner", "ham", "spam", "AUC", "at 0.1%", "at 1%")
    for name in (*names, "ham unsure", "ham spam", "spam ham", "spam unsure"):
        table.add_column(name, justify="left" if name in {"source", "partner"} else "right")
    for one in found:
        table.add_row(one.source, one.partner, f"{one.ham:,}", f"{one.spam:,}", *_shares([one]))
    for kind in sorted({one.kind for one in found}):
        of_kind = [one for one in found if one.kind == kind]
        table.add_row(f"mean of {kind}", "", str(len(of_kind)), "", *_shares(of_kind))
    console.print(table)


def _shares(found: Sequence[LeftOutMetrics]) -> list[str]:
    rates = ("recall_01", "recall_1", "ham_unsure", "ham_spam", "spam_ham", "spam_unsure")
    auc = np.mean([one.auc for one in found])
    return [f"{auc:.3f}", *(f"{np.mean([getattr(one, name) for one in found]):.1%}" for name in rates)]


def _thresholds(fold: LeftOutFold, folds: Sequence[LeftOutFold], spam: npt.NDArray[np.bool_]) -> Thresholds:
    """On the margins' own scale (through the logistic function), from the other sources of the kind."""
    others = [one for one in folds if one.kind == fold.kind and not {one.source, one.partner} & {fold.source}]
    margins = np.concatenate([one.margins for one in others] or [fold.margins])
    truth = np.concatenate([spam[one.rows] for one in others] or [spam[fold.rows]])
    return calibrate.choose_thresholds(_sigmoid(margins), truth, max_unsure=UNSURE)


def _figures(fold: LeftOutFold, spam: npt.NDArray[np.bool_], cut: Thresholds) -> LeftOutMetrics:
    p = _sigmoid(fold.margins)
    rank = {name: float(value[0]) for name, value in ranking(*ranked(p, spam, np.ones((1, len(p))))).items()}
    labels = called(p, cut)
    ham_labels, spam_labels = labels[~spam], labels[spam]
    return LeftOutMetrics(
        source=fold.source,
        kind=fold.kind,
        partner=fold.partner,
        ham=int((~spam).sum()),
        spam=int(spam.sum()),
        auc=rank["roc_auc"],
        recall_01=rank["recall_at_fpr_0.1"],
        recall_1=rank["recall_at_fpr_1"],
        ham_unsure=float((ham_labels == Label.UNSURE).mean()),
        ham_spam=float((ham_labels == Label.SPAM).mean()),
        spam_ham=float((spam_labels == Label.HAM).mean()),
        spam_unsure=float((spam_labels == Label.UNSURE).mean()),
    )


def _sigmoid(margins: Floats) -> Floats:
    """Margins as probabilities, far enough apart to tell the highest ones from each other."""
    return np.asarray(1 / (1 + np.exp(-np.clip(margins / 4, -30, 30))))
