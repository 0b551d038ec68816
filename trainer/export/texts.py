"""Canonical texts of a split, as a bundle's engine is given them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from filterd.api import Kind
from filterd.reading import text
from filterd_trainer.data.corpus import Dataset

COMPARED = 2000  # messages that the graph in floats judges as well; 0.3% of them are six


@dataclass(frozen=True)
class SplitTexts:
    """Canonical texts of a split, [n] each."""

    texts: list[str]
    is_spam: NDArray[np.bool_]
    kinds: list[Kind]

    def of(self, kind: Kind) -> NDArray[np.bool_]:
        """Which of them are of a kind, [n]."""
        return np.array([k == kind for k in self.kinds])

    def where(self, chosen: NDArray[np.bool_]) -> list[str]:
        """The texts of those that are chosen, [n]."""
        return [self.texts[i] for i in np.flatnonzero(chosen)]

    def __add__(self, other: "SplitTexts") -> "SplitTexts":
        """These, then the others."""
        return SplitTexts(
            self.texts + other.texts,
            np.concatenate([self.is_spam, other.is_spam]),
            self.kinds + other.kinds,
        )

    def some(self, count: int) -> "SplitTexts":
        """At most so many, evenly spread."""
        chosen = np.unique(np.linspace(0, len(self.texts) - 1, min(count, len(self.texts))).astype(int))
        return SplitTexts(
            [self.texts[i] for i in chosen], self.is_spam[chosen], [self.kinds[i] for i in chosen]
        )


def messages(dataset: Dataset, split: str) -> SplitTexts:
    """A split as the model sees it. An SMS is kept as it was sent, a mail's text is canonical already."""
    frame = dataset.split(split)
    kinds = [Kind(kind) for kind in frame["Kind"]]
    texts = [
        text.of_sms(t).canonical if kind is Kind.SMS else t
        for t, kind in zip(frame["Text"], kinds, strict=True)
    ]
    return SplitTexts(texts, ~frame["Label"].isin(dataset.ham_indices).to_numpy(), kinds)


def compared(dataset: Dataset, validation: SplitTexts) -> SplitTexts:
    """What arithmetic is compared on: COMPARED of validation, and of training where that has fewer.

    A share of 0.3% cannot be seen on a few dozen messages.
    """
    some = validation.some(COMPARED)
    if not (missing := COMPARED - len(some.texts)):
        return some
    return some + messages(dataset, "train").some(missing)
