"""Where a bundle errs: its labels by language, length, kind, source or year of the messages.

A mean hides who pays for it. Each stratum has its ham and spam by label, and AUC where it has both.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import pandas as pd
from rich.console import Console
from rich.table import Column, Table

from filterd.api import Label
from filterd.errors import BadInput, ConfigError
from filterd_trainer.evaluation.metrics import ranked, ranking
from filterd_trainer.evaluation.scores import SplitScores

COLUMNS: Final = {"language": "Lang", "kind": "Kind", "source": "Source", "year": "Year", "length": "Text"}
LENGTHS: Final = (60, 160, 500, 2000, 8000)  # characters; an SMS, a few lines, a screen, a long mail
LEAST: Final = 20  # messages of a label; of fewer no rate is shown


@dataclass(frozen=True, kw_only=True)
class Stratum:
    """One part of the messages. Shares of its ham and of its spam; not-a-number where there are too few."""

    name: str
    ham: int
    spam: int
    auc: float
    ham_unsure: float
    ham_spam: float
    spam_ham: float
    spam_unsure: float


def by(scored: SplitScores, frame: pd.DataFrame, what: str) -> list[Stratum]:
    """The strata of a bundle's verdicts, largest first. frame: the messages that were judged, [n].

    Raises ConfigError for an unknown stratum, BadInput where verdicts or the column are missing.
    """
    if what not in COLUMNS:
        raise ConfigError(f"--by {what}: choose {', '.join(COLUMNS)}")
    if COLUMNS[what] not in frame:
        raise BadInput(f"--by {what}: the dataset has no column {COLUMNS[what]}; prepare it again")
    if scored.verdicts is None:
        raise BadInput(f"--by {what}: {scored.name} gives no labels; name a bundle")
    column = frame[COLUMNS[what]]
    names = (
        column.map(_length)
        if what == "length"
        else column.astype(str).replace({"": "unknown", "0": "unknown"})
    )
    names = names.where(names.map(names.value_counts()) >= LEAST, "others")
    labels = np.array([label.value for label in scored.verdicts])
    found = [_stratum(str(name), scored, labels, names.to_numpy() == name) for name in names.unique()]
    return sorted(found, key=lambda one: -one.ham - one.spam)


def _length(message: str) -> str:
    at = int(np.searchsorted(LENGTHS, len(message), side="right"))
    if at == len(LENGTHS):
        return f"from {LENGTHS[-1]:,} characters"
    return f"{LENGTHS[at - 1] if at else 0:,} to {LENGTHS[at] - 1:,} characters"


def _stratum(
    name: str, scored: SplitScores, labels: npt.NDArray[np.str_], mine: npt.NDArray[np.bool_]
) -> Stratum:
    spam, p, label = scored.spam[mine], scored.probability[mine], labels[mine]
    few = min(int(spam.sum()), int((~spam).sum())) < LEAST
    auc = float("nan") if few else float(ranking(*ranked(p, spam, np.ones((1, len(p)))))["roc_auc"][0])
    return Stratum(
        name=name,
        ham=int((~spam).sum()),
        spam=int(spam.sum()),
        auc=auc,
        ham_unsure=_share(label[~spam], Label.UNSURE),
        ham_spam=_share(label[~spam], Label.SPAM),
        spam_ham=_share(label[spam], Label.HAM),
        spam_unsure=_share(label[spam], Label.UNSURE),
    )


def _share(labels: npt.NDArray[np.str_], wanted: Label) -> float:
    return float((labels == wanted.value).mean()) if len(labels) >= LEAST else float("nan")


def show(console: Console, what: str, strata: Sequence[Stratum]) -> None:
    """One table."""
    table = Table(
        Column(what, no_wrap=True), "ham", "spam", "AUC", "ham unsure", "ham spam", "spam ham", "spam unsure"
    )
    for one in strata:
        values = list(asdict(one).values())
        auc = "" if np.isnan(one.auc) else f"{one.auc:.3f}"
        rates = ["" if np.isnan(value) else f"{value:.1%}" for value in values[4:]]
        table.add_row(one.name, f"{one.ham:,}", f"{one.spam:,}", auc, *rates)
    console.print(table)
