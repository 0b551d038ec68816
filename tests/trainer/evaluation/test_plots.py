import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

from filterd.scoring.verdict import Thresholds
from filterd_trainer.evaluation import plots

RNG = np.random.default_rng(0)
TRUTH = np.arange(200) % 2 == 1
SCORES = 1 / (1 + np.exp(-(RNG.normal(size=200) * 2 + np.where(TRUTH, 4, -4))))
THRESHOLDS = Thresholds(unsure=0.4, spam=0.95)
EPOCHS = {"training": [0.0, 1, 2], "validation": [0.0, 1, 2]}
VALUES = {"training": [2.4, 0.5, 0.1], "validation": [2.3, 0.6, 0.2]}


def pixels(png: bytes) -> Any:
    image = Image.open(io.BytesIO(png))
    assert image.format == "PNG"
    assert min(image.size) >= 500
    return np.asarray(image.convert("RGB")).astype(int)


def has(png: bytes, colour: str) -> bool:
    wanted = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    return bool((np.abs(pixels(png) - wanted).sum(axis=2) < 12).sum() > 50)


@pytest.mark.parametrize(
    ("draw", "colours"),
    [
        pytest.param(
            lambda: plots.learning_curve("Loss", EPOCHS, VALUES, 1045, best=1.5),
            (plots.BLUE, plots.VERMILION),
            id="loss",
        ),
        pytest.param(
            lambda: plots.learning_curve("Accuracy", EPOCHS, {n: [0.5, 0.9, 1] for n in EPOCHS}, 10),
            (plots.BLUE, plots.VERMILION),
            id="accuracy",
        ),
        pytest.param(lambda: plots.roc_curve({"one": (SCORES, TRUTH)}), (plots.BLUE,), id="roc"),
        pytest.param(
            lambda: plots.roc_curve({"one": (SCORES, TRUTH), "two": (SCORES**2 / 2, ~TRUTH)}),
            (plots.BLUE, plots.VERMILION),
            id="roc-of-two",
        ),
        pytest.param(
            lambda: plots.reliability_diagram(SCORES, TRUTH), (plots.BLUE, plots.SKY), id="reliability"
        ),
        pytest.param(
            lambda: plots.threshold_curve(SCORES, TRUTH, THRESHOLDS),
            (plots.BLUE, plots.VERMILION, plots.PURPLE),
            id="threshold",
        ),
        pytest.param(
            lambda: plots.score_histogram(SCORES, TRUTH, THRESHOLDS),
            (plots.BLUE, plots.VERMILION),
            id="histogram",
        ),
        pytest.param(
            lambda: plots.confusion_matrix([[9, 1, 0], [0, 2, 8]], ["ham", "spam"], list("hus")),
            (),
            id="confusion",
        ),
    ],
)
def test_every_series_is_drawn(draw: Callable[[], bytes], colours: tuple[str, ...]) -> None:
    png = draw()
    assert pixels(png).std() > 5
    for colour in colours:
        assert has(png, colour)


@pytest.mark.parametrize(
    ("p", "truth"),
    [
        pytest.param([0.3], [0], id="one-ham"),
        pytest.param([0.3], [1], id="one-spam"),
        pytest.param([0.0, 1.0], [0, 1], id="certain"),
        pytest.param([0.5] * 10, [0, 1] * 5, id="all-tied"),
    ],
)
def test_odd_samples_are_drawn_without_a_warning(p: list[float], truth: list[int]) -> None:
    for draw in (plots.reliability_diagram, plots.threshold_curve, plots.score_histogram):
        assert draw(p, truth)
    assert plots.roc_curve({"x": (p, truth)})


def test_a_plot_is_repeatable_and_changes_nothing_global() -> None:
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    first = plots.score_histogram(SCORES, TRUTH)
    assert plots.score_histogram(SCORES, TRUTH) == first
    assert dict(mpl.rcParams) == before
