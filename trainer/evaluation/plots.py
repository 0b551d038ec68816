"""Plots of training and evaluation as PNG bytes: colour-blind safe, labelled where the eye is.

Drawn on bare Figure objects (Agg), so that nothing global is touched and no display is needed. P(spam) is
drawn on a log-odds axis where thresholds matter: between 0.99 and 0.9999 lies all that decides.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import BytesIO
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator, PercentFormatter

from filterd.scoring.verdict import MAX_LOG_ODDS, Thresholds
from filterd_trainer.evaluation.intervals import reliability, roc

Floats = npt.NDArray[np.float64]
Scored = tuple[npt.ArrayLike, npt.ArrayLike]  # P(spam) and truth, [n] each

# Okabe and Ito (2008): told apart with every common colour blindness, and in grey.
BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY = "#0072B2", "#D55E00", "#009E73", "#AA4499", "#E69F00", "#56B4E9"
CYCLE = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY)
DASHED: Any = (0, (4, 1.5))
FEW_POINTS = 12  # are drawn as points, too
INK, SOFT, LINE = "#1c2024", "#5b6470", "#d9dee3"
DPI = 160
STYLE: Any = {
    "font.size": 10.5,
    "font.family": "DejaVu Sans",
    "axes.edgecolor": SOFT,
    "axes.labelcolor": INK,
    "axes.titlesize": 12,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 12,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": LINE,
    "grid.linewidth": 0.7,
    "axes.axisbelow": True,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "text.color": INK,
    "lines.linewidth": 2,
    "legend.frameon": False,
}
PROBABILITIES = (1e-6, 1e-4, 0.01, 0.1, 0.5, 0.9, 0.99, 0.9999, 1 - 1e-6)
MAX_LABELS, MAX_NAME = 40, 30  # of a plot by label, and characters of a name
PROMISE = 0.001  # false-positive rate that filterd promises; see filterd_trainer.evaluation.calibrate


def classes(counts: Mapping[str, int]) -> bytes:
    """How many messages each class has, a bar each."""
    with _canvas("Messages by class") as (png, _, (axes,)):
        colours = [CYCLE[i % len(CYCLE)] for i in range(len(counts))]
        bars = axes.bar(list(counts), list(counts.values()), color=colours, width=0.6)
        axes.bar_label(bars, labels=[f"{n:,}" for n in counts.values()], padding=3, color=INK)
        axes.set_ylabel("Messages")
        axes.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:,.0f}"))
    return png.getvalue()


def lengths(tokens: Mapping[str, Sequence[int]]) -> bytes:
    """Shares of messages by their length in tokens, a line a class; lengths are on a log axis."""
    longest = max(max(values) for values in tokens.values())
    edges = np.unique(np.geomspace(1, longest + 1, 40).round())
    with _canvas("Length by class") as (png, _, (axes,)):
        for (name, values), colour in zip(tokens.items(), CYCLE, strict=False):
            counted, _ = np.histogram(values, edges)
            axes.stairs(counted / max(1, len(values)), edges, color=colour, label=name, linewidth=2)
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:,.0f}"))
        axes.set_xlabel("GPT-2 tokens of a message")
        axes.set_ylabel("Share of the class")
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.legend()
    return png.getvalue()


def learning_curve(
    measure: str,
    epochs: Mapping[str, Sequence[float]],
    values: Mapping[str, Sequence[float]],
    examples_an_epoch: float,
    best: float | None = None,
) -> bytes:
    """Loss or accuracy in training as the lecture draws it: two lines, and "Examples seen" as second x axis.

    epochs, values: by series ("training", "validation"); best: the epoch whose state was kept.
    """
    with _canvas(f"{measure} in training") as (png, _, (axes,)):
        ends = []
        for (name, y), colour, style in zip(values.items(), CYCLE, ("-", DASHED), strict=False):
            marker = "o" if len(y) < FEW_POINTS else None
            axes.plot(epochs[name], y, color=colour, linestyle=style, marker=marker, ms=4)
            ends.append((epochs[name][-1], y[-1], name, colour))
        _label_ends(axes, ends)
        if best is not None:
            axes.axvline(best, color=SOFT, linewidth=1, linestyle=":")
            axes.annotate("kept", (best, 1), xycoords=("data", "axes fraction"), xytext=(3, -2),
                          textcoords="offset points", va="top", color=SOFT, fontsize=9)  # fmt: skip
        axes.set_xlabel("Epochs")
        axes.set_ylabel(measure)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if measure.lower() != "loss":
            axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        else:
            axes.set_ylim(bottom=0)
        seen = axes.secondary_xaxis(
            "top", functions=(_scaled(examples_an_epoch), _scaled(1 / examples_an_epoch))
        )
        seen.set_xlabel("Examples seen")
        seen.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:,.0f}"))
    return png.getvalue()


def confusion_matrix(
    counts: Sequence[Sequence[int]],
    truth: Sequence[str],
    called: Sequence[str],
    title: str = "Confusion matrix",
) -> bytes:
    """Counts and their share of the row, [len(truth), len(called)]."""
    table = np.asarray(counts, dtype=np.float64)
    share = np.divide(table, table.sum(axis=1, keepdims=True), out=np.zeros_like(table),
                      where=table.sum(axis=1, keepdims=True) > 0)  # fmt: skip
    size = (max(4.6, 2.4 + 1.25 * len(called)), max(3.4, 1.7 + 1.0 * len(truth)))
    with _canvas(title, size) as (png, _, (axes,)):
        axes.grid(visible=False)
        axes.imshow(share, cmap="Blues", vmin=0, vmax=1.15, aspect="auto")
        for (i, j), n in np.ndenumerate(table):
            colour = "white" if share[i, j] > 0.6 else INK
            axes.text(j, i - 0.07, f"{n:,.0f}", ha="center", va="center", color=colour, fontsize=15)
            axes.text(j, i + 0.24, f"{share[i, j]:.1%}", ha="center", va="center", color=colour, fontsize=9.5)
        axes.set_xticks(range(len(called)), called)
        axes.set_yticks(range(len(truth)), truth)
        axes.tick_params(length=0, colors=INK)
        axes.spines[:].set_visible(False)
        axes.set_xlabel("Verdict")
        axes.set_ylabel("Truth")
    return png.getvalue()


def by_label(figures: Mapping[str, Mapping[str, float | None]]) -> bytes:
    """F1 of each label as a bar, with the number of messages that have it; the commonest above."""
    ordered = sorted(figures, key=lambda name: figures[name]["support"] or 0.0)[-MAX_LABELS:]
    height = max(2.6, 0.34 * len(ordered) + 1.2)
    with _canvas("F1 by label", size=(6.4, height)) as (png, _, (axes,)):
        values = [figures[name]["f1"] or 0.0 for name in ordered]
        bars = axes.barh(range(len(ordered)), values, color=BLUE, height=0.62)
        counts = [
            f" {f1:.2f}  ({figures[name]['support'] or 0:,.0f})"
            for name, f1 in zip(ordered, values, strict=True)
        ]
        axes.bar_label(bars, counts, color=SOFT, fontsize=9)
        axes.set_yticks(range(len(ordered)), [name[:MAX_NAME] for name in ordered])
        axes.set_xlim(0, 1.25)
        axes.set_xticks([0, 0.25, 0.5, 0.75, 1])
        axes.grid(visible=False, axis="y")
        axes.set_xlabel("F1 (messages)")
    return png.getvalue()


def numbers(truth: npt.ArrayLike, said: npt.ArrayLike) -> bytes:
    """The number that each message has and the one it was given."""
    with _canvas("Numbers", size=(5.4, 5.0)) as (png, _, (axes,)):
        true, given = np.asarray(truth, np.float64), np.asarray(said, np.float64)
        ends = [min(true.min(), given.min()), max(true.max(), given.max())]
        axes.plot(ends, ends, color=SOFT, linewidth=1, linestyle=DASHED)
        axes.scatter(true, given, s=18, color=BLUE, alpha=max(0.15, min(0.8, 60 / len(true))), linewidths=0)
        axes.set_xlabel("labelled")
        axes.set_ylabel("answered")
    return png.getvalue()


def roc_curve(models: Mapping[str, Scored]) -> bytes:
    """Recall over false-positive rate, one line a model, with an inset on a log axis around FPR 0.1%."""
    with _canvas("ROC: spam caught against ham lost", (6.6, 5.2)) as (png, _, (axes,)):
        inset = axes.inset_axes((0.36, 0.17, 0.6, 0.52))
        axes.plot([0, 1], [0, 1], color=LINE, linewidth=1)
        smallest = min(1 / max(1, int((~np.asarray(t, dtype=bool)).sum())) for _, t in models.values())
        left = min(PROMISE, smallest) / 2
        lowest = 1.0
        for (name, (p, truth)), colour in zip(models.items(), CYCLE * 4, strict=False):
            fpr, recall, _ = roc(p, truth)
            axes.plot(fpr, recall, color=colour, drawstyle="steps-post", label=name)
            inset.plot(np.maximum(fpr, left), recall, color=colour, drawstyle="steps-post", linewidth=1.7)
            lowest = min(lowest, float(recall[fpr <= left].max(initial=0)))
        _inset(inset, left, lowest, smallest)
        axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.02), xlabel="False-positive rate", ylabel="Recall")
        _percent(axes)
        if len(models) > 1:
            axes.legend(loc="lower right", fontsize=8.5, ncols=2, bbox_to_anchor=(1.0, -0.005))
    return png.getvalue()


def reliability_diagram(probability: npt.ArrayLike, label_is_spam: npt.ArrayLike) -> bytes:
    """Share of spam over mean P(spam) in bins of equal mass, with 95% Wilson intervals."""
    mean, share, count = reliability(probability, label_is_spam)
    low, high = _wilson(share, count)
    with _canvas("Reliability: does 0.9 mean nine in ten?", (5.4, 4.9)) as (png, _, (axes,)):
        axes.plot([0, 1], [0, 1], color=SOFT, linewidth=1, linestyle="--")
        axes.annotate("perfect", (0.5, 0.5), xytext=(0, 5), textcoords="offset points", rotation=45,
                      ha="center", va="bottom", color=SOFT, fontsize=9, rotation_mode="anchor",
                      transform_rotates_text=True)  # fmt: skip
        axes.vlines(mean, low, high, color=SKY, linewidth=2)
        axes.plot(mean, share, "o", color=BLUE, markersize=6)
        axes.set(
            xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), xlabel="P(spam), mean of bin", ylabel="Share of spam"
        )
        _percent(axes, x=False)
        note = _bins_note(count)
        axes.text(0.02, 0.97, note, transform=axes.transAxes, va="top", color=SOFT, fontsize=9)
    return png.getvalue()


def threshold_curve(
    probability: npt.ArrayLike, label_is_spam: npt.ArrayLike, thresholds: Thresholds | None = None
) -> bytes:
    """Precision, recall and false-positive rate over the threshold, with the bundle's own marked."""
    p, spam = np.asarray(probability, dtype=np.float64), np.asarray(label_is_spam, dtype=bool)
    odds = np.linspace(-MAX_LOG_ODDS, MAX_LOG_ODDS, 600)
    ours, ham = np.sort(_log_odds(p[spam])), np.sort(_log_odds(p[~spam]))
    tp = len(ours) - np.searchsorted(ours, odds)
    fp = len(ham) - np.searchsorted(ham, odds)
    called = np.where(tp + fp > 0, tp + fp, np.nan)
    with _canvas("What a threshold catches and costs", (6.6, 5.2), rows=2) as (png, _, (top, bottom)):
        top.plot(odds, tp / called, color=BLUE)
        top.plot(odds, tp / max(1, len(ours)), color=VERMILION, linestyle=DASHED)
        bottom.plot(odds, fp / max(1, len(ham)), color=PURPLE, drawstyle="steps-post")
        _percent(top, x=False)
        bottom.set_yscale("symlog", linthresh=PROMISE, linscale=0.6)
        bottom.set_yticks([0, 0.001, 0.01, 0.1, 1])
        bottom.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v * 100:g}%"))
        bottom.set_ylim(-0.0001, 1.3)
        bottom.axhline(PROMISE, color=SOFT, linewidth=1, linestyle="--")
        bottom.annotate("0.1%, the promise", (-MAX_LOG_ODDS, PROMISE), xytext=(2, 3), color=SOFT,
                        textcoords="offset points", fontsize=9)  # fmt: skip
        lowest = np.nanmin(np.concatenate([tp / called, tp / max(1, len(ours))])) if len(p) else 0
        top.set_ylim(max(-0.02, lowest - 0.05), 1.04)
        _key(top, [("precision", BLUE, "-"), ("recall", VERMILION, DASHED)])
        _key(bottom, [("false-positive rate", PURPLE, "-")])
        _odds_axis(bottom, "Threshold on P(spam)")
        _mark((top, bottom), thresholds)
    return png.getvalue()


def score_histogram(
    probability: npt.ArrayLike, label_is_spam: npt.ArrayLike, thresholds: Thresholds | None = None
) -> bytes:
    """How many messages got which P(spam), ham above spam, on a log-odds axis."""
    p, spam = _log_odds(np.asarray(probability, dtype=np.float64)), np.asarray(label_is_spam, dtype=bool)
    edges = np.linspace(-MAX_LOG_ODDS, MAX_LOG_ODDS, 57)
    with _canvas("Scores of ham and of spam", (6.6, 4.6), rows=2) as (png, _, (top, bottom)):
        for axes, part, name, colour in ((top, p[~spam], "ham", BLUE), (bottom, p[spam], "spam", VERMILION)):
            axes.hist(part, bins=list(edges), color=colour, edgecolor="white", linewidth=0.4)
            axes.set_yscale("symlog", linthresh=1)
            axes.set_ylim(0, max(2.0, axes.get_ylim()[1]))
            axes.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:,.0f}"))
            axes.set_ylabel("Messages")
            axes.text(0.02, 0.9, f"{len(part):,} {name}", transform=axes.transAxes, color=colour,
                      fontweight="bold", va="top")  # fmt: skip
        _odds_axis(bottom, "P(spam)")
        _mark((top, bottom), thresholds)
    return png.getvalue()


@contextmanager
def _canvas(
    title: str = "", size: tuple[float, float] = (6.4, 4.4), rows: int = 1
) -> Iterator[tuple[BytesIO, Figure, list[Axes]]]:
    """A figure with `rows` axes above each other; the PNG is in the buffer once the block ends."""
    with rc_context(STYLE):
        figure, png = Figure(figsize=size, layout="constrained"), BytesIO()
        axes = [*figure.subplots(rows, 1, sharex=True, squeeze=False)[:, 0]]
        axes[0].set_title(title)
        yield png, figure, axes
        figure.savefig(png, format="png", dpi=DPI, metadata={"Software": None})


def _scaled(factor: float) -> Callable[[npt.ArrayLike], Floats]:
    return lambda values: factor * np.asarray(values, dtype=np.float64)


def _label_ends(axes: Axes, ends: Sequence[tuple[float, float, str, str]]) -> None:
    """Name lines at their right ends, apart from each other. ends: x, y, name, colour."""
    gap = 0.06 * (axes.get_ylim()[1] - axes.get_ylim()[0])
    above = -np.inf
    for x, y, name, colour in sorted(ends, key=lambda end: end[1]):
        above = max(y, above + gap)
        axes.annotate(name, (x, above), xytext=(7, 0), textcoords="offset points", color=colour,
                      va="center", fontweight="bold", annotation_clip=False)  # fmt: skip


def _key(axes: Axes, lines: Sequence[tuple[str, str, Any]]) -> None:
    """A legend whose words have the colour of their lines."""
    handles = [Line2D([], [], color=colour, linestyle=style, label=name) for name, colour, style in lines]
    axes.legend(handles=handles, labelcolor=[c for _, c, _ in lines], loc="best", fontsize=9.5)


def _percent(axes: Axes, x: bool = True) -> None:
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    if x:
        axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))


def _inset(inset: Axes, left: float, lowest: float, smallest: float) -> None:
    inset.set_xscale("log")
    inset.set(xlim=(left, 1), ylim=(max(0.0, lowest - 0.06), 1.015))
    inset.axvline(PROMISE, color=SOFT, linewidth=1, linestyle="--")
    inset.text(PROMISE * 1.15, inset.get_ylim()[0], "0.1%", color=SOFT, fontsize=8.5, va="bottom")
    inset.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v * 100:g}%"))
    inset.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    inset.tick_params(labelsize=8.5)
    inset.set_title(f"log axis; one ham is {smallest * 100:.2g}%", fontsize=9, weight="normal", pad=4)


def _bins_note(count: Floats) -> str:
    sizes = f"{count.min():,.0f}" if count.min() == count.max() else f"{count.min():,.0f}–{count.max():,.0f}"
    return f"{len(count)} bins of equal mass,\n{sizes} messages each, 95% intervals"


def _wilson(share: Floats, count: Floats) -> tuple[Floats, Floats]:
    """95% interval of a share (Wilson 1927)."""
    z2 = 1.96**2
    middle = (share + z2 / (2 * count)) / (1 + z2 / count)
    half = 1.96 * np.sqrt(share * (1 - share) / count + z2 / (4 * count**2)) / (1 + z2 / count)
    return middle - half, middle + half


def _log_odds(p: Floats) -> Floats:
    clipped = np.clip(p, 1e-6, 1 - 1e-6)
    odds: Floats = np.log(clipped / (1 - clipped))
    return odds


def _odds_axis(axes: Axes, label: str) -> None:
    """An axis in log-odds whose ticks are probabilities."""
    axes.set_xticks(
        _log_odds(np.array(PROBABILITIES)).tolist(), [f"{p:.6f}".rstrip("0") for p in PROBABILITIES]
    )
    axes.set_xlim(-MAX_LOG_ODDS - 0.4, MAX_LOG_ODDS + 0.4)
    axes.tick_params(axis="x", labelsize=8.5)
    axes.set_xlabel(label)


def _mark(axes: Sequence[Axes], thresholds: Thresholds | None) -> None:
    """Lines at the thresholds through all axes, named above the first."""
    if thresholds is None:
        return
    unsure, spam = _log_odds(np.array([thresholds.unsure, thresholds.spam]))
    for one in axes:
        one.axvspan(unsure, spam, color=ORANGE, alpha=0.15, linewidth=0)
        one.axvline(spam, color=INK, linewidth=1.2)
    axes[0].set_title(axes[0].get_title(loc="left"), pad=22)
    for x, name, side in ((unsure, "unsure ", "right"), (spam, " spam", "left")):
        axes[0].annotate(name, (x, 1), xycoords=("data", "axes fraction"), ha=side, va="bottom",
                         color=INK, fontsize=9)  # fmt: skip
