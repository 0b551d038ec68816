"""What each item of a mail's head says by itself, and what a cheap model loses or gains without it.

An item is worth having where it tells spam from ham and does not tell where a mail was collected: what tells
corpora is learned as spam where each corpus has one label. Figures are of the mails of a dataset that have a
head; of free words (names, addresses) only whether there are any counts as the item's value.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table

from filterd.reading import sender, text
from filterd_trainer.data.corpus import Dataset
from filterd_trainer.evaluation import left_out, readers

READER: Final = "ngrams"
ALL: Final = "all"  # of the row whose model sees every item
NO_HEAD: Final = "no head"


@dataclass(frozen=True, kw_only=True)
class HeadItem:
    """One item. share: of mails that have it. label_bits: mutual information with spam or ham. source_bits:
    with the source, among mails of one label. auc: of spam against ham by the item's value alone. unknown:
    the mean AUC of sources left out, of a model that does not see the item.
    """

    name: str
    share: float = 0.0
    label_bits: float = 0.0
    source_bits: float = 0.0
    auc: float = 0.5
    unknown: float = 0.0


def run(dataset: Dataset, per_stratum: int) -> list[HeadItem]:
    """All items, with two rows for a model that sees all of them, and none. Raises BadInput, NotFound."""
    frame = left_out.sample(dataset, per_stratum)
    frame = frame[frame["Kind"].eq("mail") & frame["Text"].map(lambda one: bool(text.head_of(one)))]
    frame = frame.reset_index(drop=True)
    whole = frame["Text"].tolist()
    heads = [text.parted(one)[0] for one in whole]
    found = [HeadItem(name=ALL, unknown=_unknown(frame, whole))]
    found.append(HeadItem(name=NO_HEAD, unknown=_unknown(frame, [text.without_head(one) for one in whole])))
    for name in sender.KEYS:
        values = pd.Series([value_of(head, name) for head in heads])
        if values.nunique() > 1:
            unknown = _unknown(frame, [without(one, name) for one in whole])
            found.append(_item(name, values, frame, unknown))
    return found


def value_of(head: Sequence[str], name: str) -> str:
    """What an item says of one mail, "" where it has none."""
    line = next((line for line in head if line.partition(" ")[0] == name), "")
    said = line.partition(" ")[2]
    if name == "from":
        return "nobody" if said == "nobody" else "named" if "<" in said else "bare"
    return "other" if said and f"{name} " in sender.FREE else said


def without(canonical: str, name: str) -> str:
    """The same text without an item."""
    head, subject, body = text.parted(canonical)
    left = [line for line in head if line.partition(" ")[0] != name]
    rest = f"{subject}\n\n{body}" if subject else body
    return text.HEAD_MARK + "\n".join(left) + "\n\n" + rest if left else rest


def bits(of: "pd.Series[str]", about: "pd.Series[str]") -> float:
    """Mutual information of two columns, in bits."""
    joint = pd.crosstab(of, about).to_numpy(np.float64)
    joint = joint / joint.sum()
    independent = joint.sum(1, keepdims=True) @ joint.sum(0, keepdims=True)
    some = joint > 0
    return float((joint[some] * np.log2(joint[some] / independent[some])).sum())


def _item(name: str, values: "pd.Series[str]", frame: pd.DataFrame, unknown: float) -> HeadItem:
    from sklearn.metrics import roc_auc_score

    label, source = frame["Label"], frame["Source"].astype(str)
    rate = label.groupby(values).transform("mean")
    by_source = sum(
        float(mine.mean()) * bits(values[mine], source[mine]) for mine in (label.eq(0), label.eq(1))
    )
    return HeadItem(
        name=name,
        share=float(values.ne("").mean()),
        label_bits=bits(values, label.astype(str)),
        source_bits=by_source,
        auc=float(roc_auc_score(label, rate)),
        unknown=unknown,
    )


def _unknown(frame: pd.DataFrame, texts: list[str]) -> float:
    folds = left_out.judge(frame, *readers.read(READER, texts))
    return float(np.mean([one.auc for one in left_out.figures(frame, folds)]))


def show(console: Console, found: Sequence[HeadItem]) -> None:
    """The table; the last column is beside the model that sees all items."""
    table = Table(
        "item", "mails", "bits: label", "bits: source", "AUC alone", "AUC of sources left out, without it"
    )
    base = found[0].unknown
    for one in found:
        if one.name in (ALL, NO_HEAD):
            figures = ["", "", "", ""]
        else:
            figures = [
                f"{one.share:.0%}",
                f"{one.label_bits:.3f}",
                f"{one.source_bits:.3f}",
                f"{one.auc:.3f}",
            ]
        change = "" if one.name == ALL else f" ({one.unknown - base:+.4f})"
        table.add_row(one.name, *figures, f"{one.unknown:.4f}{change}")
    console.print(table)
