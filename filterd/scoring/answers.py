"""What a model says that knows no spam: a reader a task, from the model's numbers to a `ModelAnswer`.

A reader is made of what its bundle says of the labels. The trainer evaluates a run by the same readers, so
that what is measured is what is served. A message of several windows is read by the mean of their numbers.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, Final, Literal, NamedTuple, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from filterd.api import ModelAnswer

SEPARATOR: Final = "/"  # between a category and its subcategory
NOTHING: Final = "none"  # said where no label is called; no label may be named so
MARKS: Final = ",;"  # between what a header says of an answer; no label may hold them
CUT: Final = 0.5  # P from which a label is called where nothing was fitted
DECIMALS: Final = 2  # of a number for people, at least
MOST_DECIMALS: Final = 15  # as many as a float has of a number below 1

TaskName = Literal["spam", "classes", "multilabel", "regression", "hierarchical"]
Floats = NDArray[np.float64]


class TaskError(ValueError):
    """Labels that do not fit their task."""


class Target(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A number that is predicted. The model gives it standardised by mean and sd, which are training's; no
    answer lies beyond low and high, the least and the largest there.
    """

    mean: float
    sd: float
    low: float
    high: float

    def __post_init__(self) -> None:
        if not all(map(math.isfinite, (self.mean, self.sd, self.low, self.high))) or self.sd <= 0:
            raise ValueError("a target's numbers have to be finite and its sd positive")
        if self.low > self.high:
            raise ValueError("a target's low has to be at most its high")


class LabelFacts(NamedTuple):
    """What a bundle says of its labels. slope: 1 / temperature; cuts: P from which each label is called."""

    labels: tuple[str, ...]
    slope: float = 1.0
    cuts: tuple[float, ...] = ()
    target: Target | None = None


class AnswerReading(NamedTuple):
    """An answer, P of what it names, and P of each label, where they exclude one another in sum 1."""

    answer: ModelAnswer
    probability: float
    classes: dict[str, float]


class Reader(Protocol):
    """Reads one task's numbers. outputs: how many the model gives of a window."""

    outputs: int

    def shares(self, logits: Floats) -> Floats:
        """What the model's numbers [n, outputs] mean: P of each label, [n, labels]; see the readers."""

    def read(self, rows: NDArray[Any]) -> AnswerReading:
        """The answer to a message, from its windows' numbers [w, outputs]."""


class ChoiceReader:
    """One of labels that exclude one another."""

    task = "classes"

    def __init__(self, facts: LabelFacts) -> None:
        if len(facts.labels) < 2:
            raise TaskError("classes have to be two or more")
        _check(facts.labels)
        self._labels, self._slope = facts.labels, facts.slope
        self.outputs = len(facts.labels)

    def shares(self, logits: Floats) -> Floats:
        """P of each class; rows sum to 1."""
        return softmax(self._slope * logits)

    def read(self, rows: NDArray[Any]) -> AnswerReading:
        """The most probable class."""
        p = self.shares(rows.astype(np.float64).mean(axis=0, keepdims=True))[0]
        best = int(p.argmax())
        name = self._labels[best]
        answer = ModelAnswer(task=self.task, text=name, labels=(name,))
        return AnswerReading(answer, float(p[best]), _named(self._labels, p))


class MultilabelReader:
    """Any number of labels, each by itself."""

    def __init__(self, facts: LabelFacts) -> None:
        if not facts.labels or len(facts.cuts) not in {0, len(facts.labels)}:
            raise TaskError("multilabel has one or more labels, and as many cuts")
        if any(map(means_nothing, facts.labels)) or not all(0 < cut < 1 for cut in facts.cuts):
            raise TaskError(f"no label may be called {NOTHING}, and cuts lie between 0 and 1")
        _check(facts.labels)
        self._labels = facts.labels
        self.cuts = np.array(facts.cuts or [CUT] * len(facts.labels))
        self.outputs = len(facts.labels)

    def shares(self, logits: Floats) -> Floats:
        """P of each label."""
        found: Floats = 1.0 / (1.0 + np.exp(-np.clip(logits, -700, 700)))
        return found

    def read(self, rows: NDArray[Any]) -> AnswerReading:
        """The labels whose P reaches their cut; P is of the least sure of them, or of there being none."""
        p = self.shares(rows.astype(np.float64).mean(axis=0, keepdims=True))[0]
        called = np.flatnonzero(p >= self.cuts)
        names = tuple(self._labels[i] for i in called)
        share = float(p[called].min()) if len(called) else float(1.0 - p.max())
        answer = ModelAnswer(task="multilabel", text=", ".join(names) or NOTHING, labels=names)
        return AnswerReading(answer, share, _named(self._labels, p))


class RegressionReader:
    """One number."""

    outputs = 1

    def __init__(self, facts: LabelFacts) -> None:
        if len(facts.labels) != 1 or facts.target is None:
            raise TaskError("regression has one label, the number's name, and a target")
        self._target = facts.target

    def shares(self, logits: Floats) -> Floats:
        """The numbers as they come, standardised, [n, 1]."""
        return logits

    def values(self, logits: Floats) -> Floats:
        """The numbers in their own unit, [n]."""
        target = self._target
        return np.clip(target.mean + target.sd * logits[:, 0], target.low, target.high)

    def read(self, rows: NDArray[Any]) -> AnswerReading:
        """The number; in place of P how far up its range it lies."""
        target = self._target
        value = float(self.values(rows.astype(np.float64).mean(axis=0, keepdims=True))[0])
        place = (value - target.low) / (target.high - target.low) if target.high > target.low else 0.5
        exact = round(value, _decimals(target) + 4)
        answer = ModelAnswer(task="regression", text=in_words(value, target), value=exact)
        return AnswerReading(answer, place, {})


class HierarchicalReader:
    """A category, and a subcategory of it. The first numbers are of the categories, the others of the labels.

    categories: in the order of the labels that name them. parents: the category of each label, [labels].
    """

    def __init__(self, facts: LabelFacts) -> None:
        if len(facts.labels) < 2:
            raise TaskError("a hierarchy has two or more labels")
        _check(facts.labels)
        self._labels, self._slope = facts.labels, facts.slope
        of_label = [path_of(label)[0] for label in facts.labels]
        self.categories = tuple(dict.fromkeys(of_label))
        self.parents = np.array([self.categories.index(name) for name in of_label])
        self.outputs = len(self.categories) + len(facts.labels)

    def shares(self, logits: Floats) -> Floats:
        """P of each label: of its category, times its own among those of the category; rows sum to 1."""
        count = len(self.categories)
        scaled = self._slope * logits
        found = softmax(scaled[:, :count])[:, self.parents]
        for category in range(count):
            mine = self.parents == category
            found[:, mine] *= softmax(scaled[:, count:][:, mine])
        return found

    def of_categories(self, shares: Floats) -> Floats:
        """P of each category, [n, categories], from those of labels."""
        found: Floats = shares @ (self.parents[:, None] == np.arange(len(self.categories)))
        return found

    def read(self, rows: NDArray[Any]) -> AnswerReading:
        """The most probable category, and within it the most probable label."""
        shares = self.shares(rows.astype(np.float64).mean(axis=0, keepdims=True))
        category = int(self.of_categories(shares)[0].argmax())
        best = int(np.where(self.parents == category, shares[0], -1.0).argmax())
        name = self._labels[best]
        answer = ModelAnswer(task="hierarchical", text=name, labels=path_of(name))
        return AnswerReading(answer, float(shares[0, best]), _named(self._labels, shares[0]))


def in_words(value: float, target: Target | None) -> str:
    """A number for people, to a hundredth of the target's standard deviation or finer."""
    return f"{value:.{_decimals(target)}f}"


def _decimals(target: Target | None) -> int:
    needed = 2 - math.floor(math.log10(target.sd)) if target else DECIMALS
    return min(max(needed, DECIMALS), MOST_DECIMALS)


def means_nothing(label: str) -> bool:
    """Whether a label would be read as there being none; labels compare without case."""
    return label.casefold() == NOTHING


def mark_in(label: str) -> str:
    """The first of MARKS that a label holds; "" without one."""
    return next((mark for mark in MARKS if mark in label), "")


def _check(labels: Sequence[str]) -> None:
    if any(map(mark_in, labels)):
        raise TaskError(f"no label may hold one of {MARKS}")


def path_of(label: str) -> tuple[str, ...]:
    """A label's category and, where it has one, its subcategory."""
    category, _, rest = label.partition(SEPARATOR)
    return (category, rest) if rest else (category,)


def softmax(logits: Floats) -> Floats:
    """P of each column, [n, k]; rows sum to 1."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    found: Floats = powers / powers.sum(axis=1, keepdims=True)
    return found


def _named(labels: Sequence[str], p: Floats) -> dict[str, float]:
    return dict(zip(labels, p.tolist(), strict=True))


READERS: Final[dict[str, Callable[[LabelFacts], Reader]]] = {
    "classes": ChoiceReader,
    "multilabel": MultilabelReader,
    "regression": RegressionReader,
    "hierarchical": HierarchicalReader,
}


def reader(task: str, facts: LabelFacts) -> Reader | None:
    """The reader of a task; None for `spam`, which `engine.py` reads. Raises TaskError."""
    return READERS[task](facts) if task in READERS else None
