"""Messages as one model judged them: the arrays that evaluation, comparison and reports are made from."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from filterd.api import Label, ModelAnswer
from filterd.scoring.verdict import Calibration, Thresholds
from filterd_trainer.evaluation.calibrate import apply, margins
from filterd_trainer.tasks.task import Task

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class SplitScores:
    """n messages of a split and what a model of k classes says of each.

    classes: P of each class, [n, k]; probability: P(spam), or without ham of the most probable class, [n];
    truth: index of the true class, [n].
    labels: the k classes by name; ham: indices of those that count as ham.
    verdicts: the labels that filterd gave, where it judged; thresholds: its own, where all share them.
    fit_seconds, messages_per_second: what it took; None where it was not measured here.
    """

    name: str
    classes: Floats
    probability: Floats
    truth: Indices
    labels: tuple[str, ...]
    ham: tuple[int, ...]
    verdicts: Sequence[Label] | None = None
    thresholds: Thresholds | None = None
    fit_seconds: float | None = None
    messages_per_second: float | None = None

    @property
    def spam(self) -> npt.NDArray[np.bool_]:
        """Whether each message is spam, [n]."""
        return ~np.isin(self.truth, self.ham)

    @property
    def called(self) -> Indices:
        """The most probable class of each message, [n]."""
        return np.asarray(self.classes.argmax(axis=1), dtype=np.int64)

    def __len__(self) -> int:
        return len(self.probability)


@dataclass(frozen=True)
class SplitAnswers:
    """n messages of a split and what a model answered each, where labels do not exclude one another.

    said, truth: [n]; probability: of what is said, [n].
    """

    name: str
    task: Task
    said: Sequence[ModelAnswer]
    truth: Sequence[ModelAnswer]
    probability: Floats
    fit_seconds: float | None = None
    messages_per_second: float | None = None

    def __len__(self) -> int:
        return len(self.said)


def from_logits(
    name: str,
    logits: Floats,
    truth: Indices,
    labels: tuple[str, ...],
    ham: tuple[int, ...],
    *,
    fit_seconds: float | None = None,
    messages_per_second: float | None = None,
) -> SplitScores:
    """A model's raw outputs, [n, k], as probabilities: softmax, uncalibrated."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    classes = powers / powers.sum(axis=1, keepdims=True)
    return SplitScores(
        name=name,
        classes=classes,
        probability=apply(margins(logits, ham), Calibration()) if ham else classes.max(axis=1),
        truth=truth,
        labels=labels,
        ham=ham,
        fit_seconds=fit_seconds,
        messages_per_second=messages_per_second,
    )


def some_of(answered: SplitAnswers, chosen: npt.NDArray[np.bool_]) -> SplitAnswers:
    """Only the chosen messages, [n]."""
    places = np.flatnonzero(chosen).tolist()
    said, truth = ([of[i] for i in places] for of in (answered.said, answered.truth))
    return replace(answered, said=said, truth=truth, probability=answered.probability[chosen])


def part(scored: SplitScores, chosen: npt.NDArray[np.bool_]) -> SplitScores:
    """Only the chosen messages, [n]."""
    verdicts = scored.verdicts
    return replace(
        scored,
        classes=scored.classes[chosen],
        probability=scored.probability[chosen],
        truth=scored.truth[chosen],
        verdicts=None if verdicts is None else [v for v, keep in zip(verdicts, chosen, strict=True) if keep],
    )
