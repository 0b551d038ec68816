"""Points as they are printed."""

import pytest

from filterd.scoring.points import shown_points


@pytest.mark.parametrize(
    ("points", "shown"), [(5.0, "5.0"), (4.97, "4.9"), (4.99999, "4.9"), (7.06, "7.1"), (-12.34, "-12.3")]
)
def test_shown_points_stay_on_their_side(points: float, shown: str) -> None:
    assert shown_points(points) == shown
