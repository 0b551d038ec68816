"""SpamAssassin's scale as its clients read it: the threshold, and how points are printed."""

__all__ = ["POINTS_AT_SPAM", "shown_points"]

POINTS_AT_SPAM = 5.0  # SpamAssassin's required_score


def shown_points(points: float) -> str:
    """Points with one decimal, rounded so that they stay on their side of the threshold.

    Programs compare the printed number with 5.0 (Exim does), and 4.97 is no spam.
    """
    if points >= POINTS_AT_SPAM:
        return f"{points:.1f}"
    return f"{min(points, POINTS_AT_SPAM - 0.1):.1f}"
