"""Numbers to the rectangles of a chart; pure. Drawn by the server as SVG, so that it needs no script."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, tzinfo
from typing import Final, NamedTuple

from filterd.history.store import HourlyCount

LABELS: Final = ("spam", "unsure", "ham")  # from the bottom
WIDTH, HEIGHT = 960, 180  # of the drawing; the page scales it
GAP: Final = 0.18  # of a bar's place
HOUR_S: Final = 3600


class BarPart(NamedTuple):
    """One colour of one bar."""

    label: str
    x: float
    y: float
    width: float
    height: float


class Bar(NamedTuple):
    """One span of time. title: when. counts: by label."""

    title: str
    counts: dict[str, int]
    parts: list[BarPart]

    @property
    def total(self) -> int:
        """All messages of the span."""
        return sum(self.counts.values())


class Chart(NamedTuple):
    """top: the highest bar's messages. ticks: y of lines and the number at each."""

    bars: list[Bar]
    top: int
    ticks: list[tuple[float, int]]


def by_time(counts: Iterable[HourlyCount], until: float, hours: int, step: int, zone: tzinfo = UTC) -> Chart:
    """A bar for each `step` hours of the `hours` that end at `until` (seconds since 1970)."""
    last = int(until // HOUR_S)
    first = last - hours + 1
    sums: list[dict[str, int]] = [dict.fromkeys(LABELS, 0) for _ in range(-(-hours // step))]
    for one in counts:
        place = (one.hour - first) // step
        if 0 <= place < len(sums) and one.label in LABELS:
            sums[place][one.label] += one.messages
    top = nice(max((sum(one.values()) for one in sums), default=0))
    form = "%a %d %b %H:%M" if step < 24 else "%a %d %b"
    starts = [datetime.fromtimestamp((first + i * step) * HOUR_S, zone) for i in range(len(sums))]
    bars = [
        Bar(start.strftime(form), one, _parts(one, i, len(sums), top))
        for i, (start, one) in enumerate(zip(starts, sums, strict=True))
    ]
    return Chart(bars, top, [(HEIGHT * (1 - share), round(top * share)) for share in (0.5, 1.0)])


def _parts(counts: dict[str, int], place: int, places: int, top: int) -> list[BarPart]:
    width = WIDTH / places
    parts, y = [], float(HEIGHT)
    for label in LABELS:
        height = HEIGHT * counts[label] / top
        y -= height
        if counts[label]:
            x, wide = round((place + GAP / 2) * width, 1), round(width * (1 - GAP), 1)
            parts.append(BarPart(label=label, x=x, y=round(y, 1), width=wide, height=round(height, 1)))
    return parts


def nice(largest: int) -> int:
    """The smallest of 1, 2, 4, 5, 10, 20, … that is not below a number: where an axis ends."""
    step = 1
    while True:
        for factor in (1, 2, 4, 5):
            if step * factor >= largest:
                return step * factor
        step *= 10


def shares(counts: Iterable[HourlyCount], by: str) -> Sequence[tuple[str, int, float]]:
    """Messages by a field of HourlyCount, most first, with each one's share of all."""
    sums: dict[str, int] = defaultdict(int)
    for one in counts:
        sums[getattr(one, by)] += one.messages
    total = sum(sums.values()) or 1
    return sorted(((name, n, n / total) for name, n in sums.items()), key=lambda row: -row[1])
