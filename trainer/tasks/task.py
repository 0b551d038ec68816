"""A task: one way to label messages, from what people write to what is counted in the end.

An instance knows the labels of one dataset. Data, training, evaluation and export ask it instead of asking
which task it is; what a message is then answered is read by its `filterd.scoring.answers` reader.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from filterd.api import ModelAnswer
from filterd.errors import ConfigError
from filterd.scoring import answers
from filterd.scoring.answers import LabelFacts, Reader, Target, TaskName, mark_in

if TYPE_CHECKING:
    from torch import Tensor

Floats = npt.NDArray[np.float64]
Rename = Callable[[str], str]
Tell = Callable[[str], None]  # takes a line for a person
Figures = dict[str, Floats]

FEW: Final = 10  # labels that an error names


class LabelError(ValueError):
    """A label that cannot be used; its text is the reason, as it is counted."""


class TaskLoss(NamedTuple):
    """A batch's mean loss, [], and how many of its items were right, of how many."""

    loss: "Tensor"
    hits: int
    items: int


class FittedLabels(NamedTuple):
    """What a bundle's reader needs and training does not give; see `filterd.scoring.answers.LabelFacts`."""

    slope: float = 1.0
    cuts: tuple[float, ...] = ()


class CoarserLabels(NamedTuple):
    """Categories of labels. shares: P of each, [n, names]; truth: the true ones, [n]."""

    names: tuple[str, ...]
    shares: Floats
    truth: npt.NDArray[np.int64]


class CodedLabels(NamedTuple):
    """The labels of a dataset's messages, once all are known.

    task: which knows them. cells: as the dataset's files hold them, [n]; strata: by what a split is cut, [n].
    """

    task: "Task"
    cells: list[Any]
    strata: list[Any]


@dataclass(frozen=True, kw_only=True)
class Task:
    """What all tasks have; those below fill in the rest.

    labels: by index. ham: those that count as ham, of `spam` alone. target: of a number.
    """

    name: ClassVar[TaskName]
    head: ClassVar[str]  # tasks of one head can begin from each other's weights
    hit: ClassVar[str] = "accuracy"  # what the share of `TaskLoss.hits` is called
    columns: ClassVar[Sequence[Sequence[str]]] = ()  # usual names of label columns, where one is not enough
    exclusive: ClassVar[bool] = True  # a message has one of the labels; `SplitScores` is what it is judged to
    balanced: ClassVar[bool] = True  # each part has all labels, and the test part equally many of each
    counted: ClassVar[bool] = True  # messages are counted by label; else by what `names` says
    method: ClassVar[str] = ""  # how it is evaluated, for the report

    labels: tuple[str, ...]
    ham: tuple[str, ...] = ()
    target: Target | None = None

    @property
    def outputs(self) -> int:
        """Numbers that the model gives of a message."""
        return len(self.labels)

    def reader(self, cuts: Sequence[float] = (), slope: float = 1.0) -> Reader | None:
        """What reads them; None for `spam`."""
        return answers.reader(self.name, LabelFacts(self.labels, slope, tuple(cuts), self.target))

    def only_spam(self, what: str) -> None:
        """Raises ConfigError where ham is not judged against spam. what: cannot do without."""
        if self.name != "spam":
            raise ConfigError(f"{what} tells ham from spam, and --task {self.name} knows neither")

    def only_exclusive(self, what: str) -> None:
        """Raises ConfigError where a message has not one label of several. what: needs that."""
        if not self.exclusive:
            raise ConfigError(f"{what} needs one label a message, and --task {self.name} has another answer")

    # -- from what people write to a dataset ---------------------------------------------------------------

    @classmethod
    def written(cls, values: Mapping[str, object], rename: Rename) -> str:
        """The label of one message in one text. values: of its label columns, by name. Raises LabelError."""
        raise NotImplementedError

    @classmethod
    def coded(cls, written: Sequence[str], ham: Sequence[str], tell: Tell) -> CodedLabels:
        """All labels of a dataset at once, [n]. Raises BadInput, ConfigError."""
        raise NotImplementedError

    def agreed(self, cells: Sequence[Any]) -> Any:
        """The label of a text that comes with different ones; None where none of them can be trusted."""
        del cells

    def fitted(self, cells: Sequence[Any]) -> "Task":
        """With what is fitted to the labels of the training part. Raises BadInput."""
        del cells
        return self

    def cell(self, value: Any) -> Any:
        """A label of a dataset's file. Raises ValueError where it is none of ours."""
        raise NotImplementedError

    def names(self, cell: Any) -> Sequence[str]:
        """What a message counts for in tables of the data."""
        raise NotImplementedError

    # -- training ------------------------------------------------------------------------------------------

    def targets(self, cells: Iterable[Any]) -> "Tensor":
        """What a loss compares with, [n] or [n, outputs]."""
        raise NotImplementedError

    def judged(self, out: "Tensor", targets: "Tensor") -> TaskLoss:
        """out: [B, outputs]; targets: [B] or [B, outputs], on its device."""
        raise NotImplementedError

    def group(self, cell: Any) -> str:
        """Which share of an epoch a message is of, where labels are balanced; "" where they are not."""
        del cell
        return ""

    # -- export --------------------------------------------------------------------------------------------

    def fit(self, logits: Floats, cells: Sequence[Any]) -> FittedLabels:
        """From the model's numbers on the validation part, [n, outputs]."""
        del logits, cells
        return FittedLabels()

    def changed(self, shipped: Floats, floats: Floats, reader: Reader) -> npt.NDArray[np.bool_]:
        """Which answers differ between two arithmetics, [n], by the reader's shares of each, [n, labels]."""
        del reader
        return np.asarray(shipped.argmax(axis=1) != floats.argmax(axis=1))

    # -- evaluation ----------------------------------------------------------------------------------------

    def truth(self, cell: Any) -> ModelAnswer:
        """What a message should be answered."""
        raise NotImplementedError

    def counts(self, said: Sequence[ModelAnswer], truth: Sequence[ModelAnswer]) -> Floats:
        """What figures are made of: numbers that add up over messages, [n, m]."""
        raise NotImplementedError

    def figures(self, sums: Floats) -> Figures:
        """From sums [B, m] of `counts` to figures, [B] each; not-a-number where they are not defined."""
        raise NotImplementedError

    def by_label(self, sums: Floats) -> dict[str, dict[str, float | None]]:
        """Precision, recall, F1 and number of messages of each label, from sums [m]."""
        del sums
        return {}

    def coarser(self, shares: Floats, truth: npt.NDArray[np.int64]) -> "CoarserLabels | None":
        """The level above, from P of each label [n, labels] and the true ones [n]; None without one."""
        del shares, truth
        return None

    def misses(self, said: ModelAnswer, truth: ModelAnswer) -> float:
        """How far off an answer is; 0 for a right one."""
        return float(said.labels != truth.labels)


def said(value: object) -> str:
    """A cell of a table as people would write it: true is 1, nothing is empty, no blanks around."""
    return str(int(value) if isinstance(value, bool) else "" if value is None else value).strip()


def ratio(above: npt.ArrayLike, below: npt.ArrayLike) -> Floats:
    """above / below, not-a-number where below is not above 0."""
    top, bottom = np.asarray(above, np.float64), np.asarray(below, np.float64)
    found: Floats = np.divide(top, bottom, out=np.full(np.shape(bottom), np.nan), where=bottom > 0)
    return found


def hits_of(said: Sequence[Sequence[Any]], truth: Sequence[Sequence[Any]], names: Sequence[str]) -> Floats:
    """For each of names, what was rightly said, said, and true: [n, 3 k], three numbers a name.

    said, truth: for each message what is named, which begins with its name where it is a tuple.
    """
    place = {name: i for i, name in enumerate(names)}
    found = np.zeros((len(said), len(names), 3))
    for row, ours, theirs in zip(found, said, truth, strict=True):
        for column, some in enumerate((set(ours) & set(theirs), ours, theirs)):
            for one in some:
                row[place[one if isinstance(one, str) else one[0]], column] += 1
    return found.reshape(len(said), -1)


def set_figures(sums: Floats) -> Figures:
    """Precision, recall and F1 of all together and as the mean of names, from sums of `hits_of`, [B, 3 k]."""
    right, said, true = sums.reshape(len(sums), -1, 3).transpose(2, 0, 1)
    there = true + said > 0

    def mean(values: Floats) -> Floats:
        known = np.isfinite(values) & there
        return ratio(np.where(known, values, 0.0).sum(axis=1), known.sum(axis=1))

    total_right, total_said, total_true = right.sum(axis=1), said.sum(axis=1), true.sum(axis=1)
    return {
        "micro_precision": ratio(total_right, total_said),
        "micro_recall": ratio(total_right, total_true),
        "micro_f1": ratio(2 * total_right, total_said + total_true),
        "macro_precision": mean(ratio(right, said)),
        "macro_recall": mean(ratio(right, true)),
        "macro_f1": mean(ratio(2 * right, said + true)),
    }


def set_table(sums: Floats, names: Sequence[str]) -> dict[str, dict[str, float | None]]:
    """The same of each name, from sums [3 k]."""
    found = {}
    for name, (right, said, true) in zip(names, sums.reshape(-1, 3), strict=True):
        shares = {
            "precision": ratio(right, said),
            "recall": ratio(right, true),
            "f1": ratio(2 * right, said + true),
        }
        known = {key: None if math.isnan(float(value)) else float(value) for key, value in shares.items()}
        found[name] = {**known, "support": float(true)}
    return found


def spelling(found: Iterable[str], tell: Tell) -> dict[str, str]:
    """How each name is spelled here: those that differ by case alone are one, as most are spelled.

    Raises ConfigError for a name that a header could not hold among others.
    """
    names = Counter(found)
    for name in sorted(names):
        if mark := mark_in(name):
            raise ConfigError(
                f"a {mark!r} in label {name!r} would part it in two; rename it: --label OLD=NEW"
            )
    spelled = {name: name for name in ("ham", "spam")}
    for name, _ in names.most_common():  # of equals the one that came first
        spelled.setdefault(name.casefold(), name)
    for name in sorted(names):
        if (ours := spelled[name.casefold()]) != name:
            tell(f"label {name!r} is {ours!r}: labels compare without case")
    return {name: spelled[name.casefold()] for name in names}
