"""Company that matters is found out."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from filterd.errors import BundleError
from filterd.scoring import verdict
from filterd.scoring.backend import Scores
from filterd.scoring.verdict import Calibration
from filterd_trainer.export import parity

WINDOWS = [[i] * length for i, length in enumerate(range(3, 63))]
LINE = Calibration(slope=0.5, offset=1.0)
Moved = Callable[[int, int], float]  # of the message of this number in a call of so many: nats


class Told:
    """A backend that gives every message its own margin, and moves it in company as told."""

    def __init__(self, moved: Moved) -> None:
        self._moved = moved

    def score(self, ids: Sequence[Sequence[int]]) -> Scores:
        """See `filterd.scoring.backend.Backend`."""
        margins = [window[0] / 10 - 3 + self._moved(window[0], len(ids)) for window in ids]
        logits = np.array([[0.0, margin] for margin in margins], np.float32)
        return Scores(logits, np.zeros((len(ids), 4), np.float32))


def checked(moved: Moved) -> float:
    def p(rows: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.array([verdict.probability(verdict.margin(row, (0,)), LINE) for row in rows.tolist()])

    return parity.check_neighbours(Told(moved), WINDOWS, p)


def test_the_order_of_sums_does_not_matter() -> None:
    assert checked(lambda number, company: 1e-7 * company) < 1e-4


def test_a_step_of_a_byte_for_one_is_a_fault() -> None:
    with pytest.raises(BundleError, match="changes by"):
        checked(lambda number, company: 0.002 if number == 20 and company > 1 else 0.0)


def test_a_little_for_everybody_is_a_fault() -> None:
    with pytest.raises(BundleError, match="changes by"):
        checked(lambda number, company: 0.001 if company > 1 else 0.0)


def test_much_for_one_is_a_fault() -> None:
    with pytest.raises(BundleError, match="changes by"):
        checked(lambda number, company: 0.1 if number == 30 and company > 1 else 0.0)
