"""Several labels at once, or none: each is a question of its own, and has a threshold of its own."""

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np
import numpy.typing as npt

from filterd.api import ModelAnswer
from filterd.errors import BadInput, ConfigError
from filterd.scoring.answers import NOTHING, LabelFacts, MultilabelReader, Reader, TaskName, means_nothing
from filterd_trainer.tasks.task import (
    CodedLabels,
    Figures,
    FittedLabels,
    Floats,
    LabelError,
    Rename,
    Task,
    TaskLoss,
    Tell,
    hits_of,
    ratio,
    said,
    set_figures,
    set_table,
    spelling,
)

if TYPE_CHECKING:
    from torch import Tensor

MARKS: Final = ("|", ";", ",")  # between labels of one cell, the first that is there
YES: Final = frozenset({"1", "1.0", "true", "yes", "y", "x"})
NO: Final = frozenset({"", "0", "0.0", "false", "no", "n"})
UNKNOWN: Final = frozenset({"-1", "-1.0"})  # as in Jigsaw's test set; it does not mean no
RARE: Final = 0.5  # a label that fewer validation messages have keeps this cut; see MIN_POSITIVE
MIN_POSITIVE: Final = 5


class Multilabel(Task):
    """Any number of labels. A dataset holds their indices, parted by blanks."""

    name: ClassVar[TaskName] = "multilabel"
    head: ClassVar[str] = "multilabel"
    hit: ClassVar[str] = "all labels right"
    exclusive: ClassVar[bool] = False
    balanced: ClassVar[bool] = False
    method: ClassVar[str] = (
        "Each label is called from its own threshold on: a bundle's were fitted on validation, a run's"
        " are 0.5."
    )

    @classmethod
    def written(cls, values: Mapping[str, object], rename: Rename) -> str:
        """One column: a list, or names with |, ; or , between them; several: each is a label, yes or no."""
        if len(values) > 1:
            found = [name for name, value in values.items() if _yes(name, value)]
        else:
            found = _listed(next(iter(values.values())))
        return json.dumps(sorted({rename(name.strip()) for name in found if name.strip()}))

    @classmethod
    def coded(cls, written: Sequence[str], ham: Sequence[str], tell: Tell) -> CodedLabels:
        """See `Task`."""
        if ham:
            raise ConfigError("--ham is for --task spam; of several labels none is ham")
        rows: list[list[str]] = [json.loads(one) for one in written]
        ours = spelling((name for row in rows for name in row), tell)
        names = [sorted({ours[name] for name in row}) for row in rows]
        often = Counter(name for row in names for name in row)
        if not often:
            raise BadInput("no message has a label; check --label-column")
        if nothing := next(filter(means_nothing, often), None):
            raise ConfigError(
                f"{nothing!r} is said where no label is; rename that one: --label {nothing}=NEW"
            )
        task = cls(labels=tuple(sorted(often)))
        place = {name: i for i, name in enumerate(task.labels)}
        cells = [" ".join(str(place[name]) for name in row) for row in names]
        rarest = [min(row, key=lambda name: (often[name], name), default="") for row in names]
        return CodedLabels(task, cells, rarest)

    def cell(self, value: Any) -> str:
        """See `Task`."""
        numbers = [int(one) for one in str(value).split()]
        if any(not 0 <= one < len(self.labels) for one in numbers):
            raise ValueError(value)
        return " ".join(map(str, numbers))

    def names(self, cell: Any) -> Sequence[str]:
        """See `Task`."""
        return [self.labels[int(one)] for one in cell.split()] or [NOTHING]

    def targets(self, cells: Iterable[Any]) -> "Tensor":
        """0 or 1 a label, [n, labels]."""
        import torch

        return torch.tensor(self.table(cells), dtype=torch.float32)

    def table(self, cells: Iterable[Any]) -> npt.NDArray[np.int64]:
        """The same as an array."""
        rows = [[int(one) for one in cell.split()] for cell in cells]
        found = np.zeros((len(rows), len(self.labels)), np.int64)
        for row, places in zip(found, rows, strict=True):
            row[places] = 1
        return found

    def judged(self, out: "Tensor", targets: "Tensor") -> TaskLoss:
        """Binary cross entropy, the mean of messages and labels, in nats."""
        from torch.nn.functional import binary_cross_entropy_with_logits

        loss = binary_cross_entropy_with_logits(out, targets)
        right = ((out > 0) == (targets > 0)).all(dim=1)
        return TaskLoss(loss, int(right.sum()), len(targets))

    def fit(self, logits: Floats, cells: Sequence[Any]) -> FittedLabels:
        """A threshold for each label."""
        p = MultilabelReader(LabelFacts(self.labels)).shares(logits)
        return FittedLabels(cuts=cuts_of(p, self.table(cells)))

    def changed(self, shipped: Floats, floats: Floats, reader: Reader) -> npt.NDArray[np.bool_]:
        """See `Task`."""
        assert isinstance(reader, MultilabelReader)
        one, other = (of >= reader.cuts for of in (shipped, floats))
        return np.asarray((one != other).any(axis=1))

    def truth(self, cell: Any) -> ModelAnswer:
        """See `Task`."""
        names = tuple(self.labels[int(one)] for one in cell.split())
        return ModelAnswer(task=self.name, text=", ".join(names) or NOTHING, labels=names)

    def counts(self, said: Sequence[ModelAnswer], truth: Sequence[ModelAnswer]) -> Floats:
        """Of each label what was right, said and true; all labels right; messages."""
        pairs = [(one.labels, other.labels) for one, other in zip(said, truth, strict=True)]
        exact = np.array([[set(one) == set(other), 1.0] for one, other in pairs])
        return np.hstack([hits_of([one for one, _ in pairs], [one for _, one in pairs], self.labels), exact])

    def figures(self, sums: Floats) -> Figures:
        """See `Task`."""
        exact, messages = sums[:, -2], sums[:, -1]
        right, named, true = sums[:, :-2].reshape(len(sums), -1, 3).sum(axis=1).T
        wrong = named + true - 2 * right
        return set_figures(sums[:, :-2]) | {
            "exact": ratio(exact, messages),
            "hamming": ratio(wrong, messages * len(self.labels)),
        }

    def by_label(self, sums: Floats) -> dict[str, dict[str, float | None]]:
        """See `Task`."""
        return set_table(sums[:-2], self.labels)

    def misses(self, said: ModelAnswer, truth: ModelAnswer) -> float:
        """How many labels are wrong."""
        return float(len(set(said.labels) ^ set(truth.labels)))


def cuts_of(p: Floats, truth: npt.NDArray[np.int64]) -> tuple[float, ...]:
    """For each label the P [n, k] from which F1 on these messages is highest; truth: 0 or 1, [n, k].

    Half way to the next message below, so that rounding turns none over; of equals the nearest to a half.
    A label with fewer than MIN_POSITIVE messages keeps RARE: its best would be chance.
    """
    return tuple(
        _cut(p[:, i], truth[:, i]) if truth[:, i].sum() >= MIN_POSITIVE else RARE for i in range(p.shape[1])
    )


def _cut(p: Floats, truth: npt.NDArray[np.int64]) -> float:
    order = np.argsort(-p, kind="stable")
    ranked = p[order]
    right = np.cumsum(truth[order])
    ends = np.flatnonzero(np.append(np.diff(ranked) != 0, True))
    f1 = 2 * right[ends] / (ends + 1 + truth.sum())
    below = np.append(ranked[ends[1:]], 0.0)
    middles = (ranked[ends] + below) / 2
    best = np.flatnonzero(f1 >= f1.max() - 1e-12)
    chosen = float(middles[best[np.abs(middles[best] - RARE).argmin()]])
    return min(max(chosen, 1e-6), 1 - 1e-6)


def _yes(name: str, value: object) -> bool:
    answer = said(value).lower()
    if answer in YES or answer in NO:
        return answer in YES
    if answer in UNKNOWN:
        raise LabelError(f"column {name!r} says that its label is unknown")
    raise LabelError(f"neither yes nor no in column {name!r}")


def _listed(value: object) -> list[str]:
    if isinstance(value, (list, tuple)):
        return [str(one) for one in value]
    cell = said(value)
    if cell.startswith("[") and cell.endswith("]"):
        try:
            found = json.loads(cell)
        except RecursionError:
            raise LabelError("lists in lists") from None
        except ValueError:
            found = [one.strip().strip("'\"") for one in re.split(r",", cell[1:-1])]  # as Python prints one
        return [str(one) for one in found]
    mark = next((mark for mark in MARKS if mark in cell), None)
    return cell.split(mark) if mark else [cell]
