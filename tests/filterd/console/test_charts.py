"""Counts to bars."""

from datetime import UTC

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filterd.console.charts import HEIGHT, WIDTH, by_time, nice, shares
from filterd.history.store import HourlyCount

NOW = 1_790_000_000.0
HOUR = int(NOW // 3600)


def counts(*rows: tuple[int, str, int]) -> list[HourlyCount]:
    return [
        HourlyCount(hour=HOUR - ago, kind="mail", label=label, settled="model", messages=n, ms=1.0)
        for ago, label, n in rows
    ]


def test_bars_stand_on_one_another_and_fill_the_span() -> None:
    chart = by_time(counts((0, "spam", 3), (0, "ham", 5), (23, "unsure", 2), (24, "spam", 99)), NOW, 24, 1)
    assert len(chart.bars) == 24
    assert chart.top == 10
    last = chart.bars[-1]
    assert (last.total, last.counts["spam"]) == (8, 3)
    assert last.parts[0].y + last.parts[0].height == HEIGHT
    assert last.parts[1].y + last.parts[1].height == pytest.approx(last.parts[0].y)
    assert chart.bars[0].counts["unsure"] == 2
    assert sum(bar.total for bar in chart.bars) == 10


def test_hours_are_put_together() -> None:
    chart = by_time(counts((0, "spam", 1), (5, "spam", 1), (6, "spam", 1)), NOW, 168, 6, UTC)
    assert [bar.total for bar in chart.bars[-2:]] == [1, 2]


@given(st.lists(st.tuples(st.integers(0, 800), st.sampled_from(["spam", "ham", "x"]), st.integers(0, 10**9))))
def test_every_part_is_within_the_drawing(rows: list[tuple[int, str, int]]) -> None:
    for bar in by_time(counts(*rows), NOW, 720, 24).bars:
        for part in bar.parts:
            assert part.x >= 0 and part.x + part.width <= WIDTH + 0.2
            assert -0.2 <= part.y <= HEIGHT and part.height >= 0


@given(st.integers(0, 10**12))
def test_an_axis_ends_at_a_round_number(number: int) -> None:
    assert nice(number) >= number
    assert str(nice(number)).rstrip("0") in {"1", "2", "4", "5"}


def test_shares_are_of_all_and_the_most_comes_first() -> None:
    assert shares(counts((0, "spam", 1), (1, "ham", 2), (2, "spam", 5)), "label") == [
        ("spam", 6, 0.75),
        ("ham", 2, 0.25),
    ]
    assert shares([], "label") == []
