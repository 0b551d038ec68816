"""A number: a rating, a price, an age. It is learned standardised, and answered in its own unit."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np
import numpy.typing as npt

from filterd.api import ModelAnswer
from filterd.errors import BadInput, ConfigError
from filterd.scoring import answers
from filterd.scoring.answers import Reader, Target, TaskName
from filterd_trainer.tasks.task import (
    CodedLabels,
    Figures,
    Floats,
    LabelError,
    Rename,
    Task,
    TaskLoss,
    Tell,
    ratio,
)

if TYPE_CHECKING:
    from torch import Tensor

LABEL: Final = "value"
# 1,200 is 1200 in London and 1.2 in Paris; 0,125 is a part of one everywhere.
GROUPED: Final = re.compile(r"[+-]?[1-9]\d{0,2}(,\d{3})+(\.\d*)?", re.ASCII)
STRATA: Final = 5  # fifths of the numbers, so that each part has low and high ones
SHIFT: Final = 0.1  # standard deviations by which an answer moves to count as another
NEAR: Final = 0.5  # standard deviations within which an answer counts as near


class Regression(Task):
    """One number. A dataset holds it as it is."""

    name: ClassVar[TaskName] = "regression"
    head: ClassVar[str] = "regression"
    hit: ClassVar[str] = "within half a standard deviation"
    columns: ClassVar[Sequence[Sequence[str]]] = (("rating",), ("score",), ("stars",), ("value",))
    exclusive: ClassVar[bool] = False
    balanced: ClassVar[bool] = False
    counted: ClassVar[bool] = False
    method: ClassVar[str] = (
        "Errors are in the number's own unit. R² is the share of the variance that is explained. Resamples"
        " keep the ranks that the whole has."
    )

    @classmethod
    def written(cls, values: Mapping[str, object], rename: Rename) -> str:
        """See `Task`; a comma may be the decimal point, but for one that may part thousands."""
        if len(values) > 1:
            raise ConfigError(f"--task regression has one label column, not {', '.join(values)}")
        written = rename(str(next(iter(values.values()))).strip())
        if GROUPED.fullmatch(written):
            raise LabelError("is the comma of thousands? write the number without it, or with a point")
        try:
            found = float(written.replace(",", "."))
        except ValueError:
            raise LabelError("no number") from None
        if not math.isfinite(found):
            raise LabelError("no number")
        return repr(found)

    @classmethod
    def coded(cls, written: Sequence[str], ham: Sequence[str], tell: Tell) -> CodedLabels:
        """See `Task`."""
        if ham:
            raise ConfigError("--ham is for --task spam; a number is not ham")
        cells = [float(one) for one in written]
        edges = np.unique(np.quantile(cells, np.linspace(0, 1, STRATA + 1)[1:-1]))
        return CodedLabels(cls(labels=(LABEL,)), cells, np.searchsorted(edges, cells).tolist())

    def agreed(self, cells: Sequence[Any]) -> float:
        """The mean: people differ in what they give the same words."""
        return float(np.mean(cells))

    def fitted(self, cells: Sequence[Any]) -> "Regression":
        """See `Task`."""
        low, high = float(min(cells)), float(max(cells))
        if low == high:  # their computed standard deviation may be a rounding error above 0
            raise BadInput(f"every training message has the number {low:g}; give others")
        with np.errstate(over="ignore", invalid="ignore"):
            mean, sd = float(np.mean(cells)), float(np.std(cells))
        try:
            target = Target(mean=mean, sd=sd, low=low, high=high)
        except ValueError as error:
            raise BadInput(
                f"numbers from {low:g} to {high:g} cannot be learnt together; leave out those far off, or"
                " give them in another unit"
            ) from error
        return Regression(labels=self.labels, target=target)

    def cell(self, value: Any) -> float:
        """See `Task`."""
        found = float(value)
        if not math.isfinite(found):
            raise ValueError(value)
        return found

    def names(self, cell: Any) -> Sequence[str]:
        """See `Task`; whole numbers, as there would be as many bars as messages."""
        return [f"{math.floor(cell + 0.5):g}"]

    def targets(self, cells: Iterable[Any]) -> "Tensor":
        """Standardised, [n]."""
        import torch

        assert self.target
        found = (np.array([float(cell) for cell in cells]) - self.target.mean) / self.target.sd
        return torch.tensor(found, dtype=torch.float32)

    def judged(self, out: "Tensor", targets: "Tensor") -> TaskLoss:
        """Mean squared error in variances of training."""
        from torch.nn.functional import mse_loss

        near = (out[:, 0] - targets).abs() <= NEAR
        return TaskLoss(mse_loss(out[:, 0], targets), int(near.sum()), len(targets))

    def changed(self, shipped: Floats, floats: Floats, reader: Reader) -> npt.NDArray[np.bool_]:
        """Those that move by more than SHIFT."""
        del reader
        return np.asarray(np.abs(shipped - floats)[:, 0] > SHIFT)

    def truth(self, cell: Any) -> ModelAnswer:
        """See `Task`."""
        return ModelAnswer(task=self.name, text=answers.in_words(cell, self.target), value=float(cell))

    def counts(self, said: Sequence[ModelAnswer], truth: Sequence[ModelAnswer]) -> Floats:
        """Messages, errors, and what correlations of the numbers and of their ranks are made of."""
        x = np.array([one.value for one in said], np.float64)
        y = np.array([one.value for one in truth], np.float64)
        ones, error = np.ones(len(x)), np.abs(x - y)
        return np.column_stack([ones, error, error**2, *_moments(x, y), *_moments(_ranks(x), _ranks(y))])

    def figures(self, sums: Floats) -> Figures:
        """See `Task`. A resample's ranks are those of the whole."""
        n, absolute, squares = sums[:, 0], sums[:, 1], sums[:, 2]
        variance = ratio(sums[:, 6], n) - ratio(sums[:, 4], n) ** 2
        return {
            "mae": ratio(absolute, n),
            "rmse": np.sqrt(ratio(squares, n)),
            "pearson": _correlation(n, sums[:, 3:8]),
            "spearman": _correlation(n, sums[:, 8:13]),
            "r2": 1 - ratio(ratio(squares, n), variance),
        }

    def misses(self, said: ModelAnswer, truth: ModelAnswer) -> float:
        """The absolute error."""
        return abs((said.value or 0.0) - (truth.value or 0.0))


def _moments(x: Floats, y: Floats) -> list[Floats]:
    return [x, y, x**2, y**2, x * y]


def _correlation(n: Floats, moments: Floats) -> Floats:
    x, y, xx, yy, xy = (ratio(moments[:, i], n) for i in range(5))
    spread = np.maximum(xx - x**2, 0.0) * np.maximum(yy - y**2, 0.0)
    found: Floats = ratio(xy - x * y, np.where(spread > 1e-24, np.sqrt(spread), 0.0))
    return found


def _ranks(values: Floats) -> Floats:
    """From 1; equal numbers share the mean of theirs."""
    _, where, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    found: Floats = ((ends - counts + 1 + ends) / 2)[where]
    return found
