"""Labels that exclude one another: ham against spam, and classes of which none is ham."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np

from filterd.api import ModelAnswer
from filterd.errors import ConfigError
from filterd.scoring.answers import TaskName
from filterd_trainer.tasks.task import (
    FEW,
    CodedLabels,
    FittedLabels,
    Floats,
    LabelError,
    Rename,
    Task,
    TaskLoss,
    Tell,
    said,
    spelling,
)

if TYPE_CHECKING:
    from torch import Tensor

SLOPES: Final = (0.05, 20.0)  # of 1 / temperature; beyond, the validation part says nothing of it
LEAST: Final = 1e-12  # P whose logarithm is still taken


class Choice(Task):
    """One of several labels. A dataset holds its index."""

    head: ClassVar[str] = "choice"

    @classmethod
    def written(cls, values: Mapping[str, object], rename: Rename) -> str:
        """See `Task`."""
        if len(values) > 1:
            raise ConfigError(f"--task {cls.name} has one label column, not {', '.join(values)}")
        (value,) = values.values()
        name = said(value)
        if not name:
            raise LabelError("no label")
        return rename(name)

    @classmethod
    def named(cls, there: Sequence[str], ham: Sequence[str]) -> "Choice":
        """The task of these labels. ham: what `--ham` says. Raises ConfigError."""
        raise NotImplementedError

    @classmethod
    def coded(cls, written: Sequence[str], ham: Sequence[str], tell: Tell) -> CodedLabels:
        """See `Task`."""
        ours = spelling(written, tell)
        task = cls.named(sorted(set(ours.values())), ham)
        place = {name: i for i, name in enumerate(task.labels)}
        cells = [place[ours[name]] for name in written]
        return CodedLabels(task, cells, cells)

    def cell(self, value: Any) -> int:
        """See `Task`."""
        found = int(value)
        if str(found) != str(value) or not 0 <= found < len(self.labels):
            raise ValueError(value)
        return found

    def names(self, cell: Any) -> Sequence[str]:
        """See `Task`."""
        return [self.labels[cell]]

    def targets(self, cells: Iterable[Any]) -> "Tensor":
        """See `Task`."""
        import torch

        return torch.tensor(list(cells))

    def judged(self, out: "Tensor", targets: "Tensor") -> TaskLoss:
        """Cross entropy, in nats."""
        from torch.nn.functional import cross_entropy

        loss = cross_entropy(out, targets)
        return TaskLoss(loss, int((out.argmax(-1) == targets).sum()), len(targets))

    def group(self, cell: Any) -> str:
        """See `Task`."""
        return str(cell)

    def truth(self, cell: Any) -> ModelAnswer:
        """See `Task`."""
        return ModelAnswer(task=self.name, text=self.labels[cell], labels=(self.labels[cell],))


class Spam(Choice):
    """Ham against spam, each of which may have several labels; ham comes first."""

    name: ClassVar[TaskName] = "spam"
    method: ClassVar[str] = (
        "Accuracy, precision, recall, F1, MCC (Matthews correlation) and the false-positive rate call a"
        " message spam from P(spam) = 0.5 on; the decisions use the bundle's own thresholds. ECE, the"
        " expected calibration error, uses 15 bins of equal mass."
    )

    @classmethod
    def named(cls, there: Sequence[str], ham: Sequence[str]) -> "Spam":
        """Nothing in `ham` stands for the label called "ham"."""
        spelled = {name.casefold(): name for name in there}
        named = tuple(dict.fromkeys(spelled.get(name.casefold(), name) for name in ham)) or ("ham",)
        if missing := [name for name in named if name not in there]:
            raise ConfigError(
                f"no message is labelled {missing[0]!r}, only {', '.join(there[:FEW])}; say with"
                " --ham which labels are ham, or rename one with --label OLD=NEW"
            )
        if len(there) == len(named):
            raise ConfigError("every label counts as ham; give an --input with spam as well")
        return cls(labels=(*named, *(name for name in there if name not in named)), ham=named)


class Classes(Choice):
    """Classes of which none is ham."""

    name: ClassVar[TaskName] = "classes"
    method: ClassVar[str] = (
        "Each message is called by its most probable class; MCC is the Matthews correlation of all."
    )

    @classmethod
    def named(cls, there: Sequence[str], ham: Sequence[str]) -> "Classes":
        """See `Choice`."""
        if ham:
            raise ConfigError(f"--ham is for --task spam; of {cls.name} none is ham")
        if len(there) < 2:
            raise ConfigError(f"every message is labelled {there[0]!r}; give messages of another class")
        return cls(labels=tuple(there))

    def fit(self, logits: Floats, cells: Sequence[Any]) -> FittedLabels:
        """A temperature (Guo et al. 2017, On Calibration of Modern Neural Networks, arXiv:1706.04599)."""
        reader = self.reader()
        assert reader
        return FittedLabels(slope=fit_slope(lambda slope: reader.shares(slope * logits), cells))


def fit_slope(shares: Callable[[float], Floats], truth: Sequence[int]) -> float:
    """1 / temperature with the least cross entropy, as if one more message of so many were another class.

    shares: P of each class [n, k] by the slope. Without that one more message a validation part that is told
    apart perfectly would ask for certainty (Platt 1999, 2.2).
    """
    from scipy.optimize import minimize_scalar  # type: ignore[import-untyped]

    n, k = shares(1.0).shape
    wanted = np.full((n, k), 1 / (n + 2) / (k - 1))
    wanted[np.arange(n), list(truth)] = 1 - 1 / (n + 2)

    def loss(log_slope: float) -> float:
        p = shares(float(np.exp(log_slope)))
        return float(-(wanted * np.log(np.maximum(p, LEAST))).sum(axis=1).mean())

    found = minimize_scalar(loss, bounds=tuple(np.log(SLOPES)), method="bounded")
    return float(np.exp(found.x))


HAM_AND_SPAM = Spam(labels=("ham", "spam"), ham=("ham",))
