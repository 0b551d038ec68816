"""Sources of our own that share a language of ham and one of spam, and one that turns it round."""

import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from filterd.errors import BadInput, ConfigError
from filterd.scoring import bundle
from filterd_trainer.data import corpus
from filterd_trainer.evaluation import left_out, readers
from filterd_trainer.tasks.choice import HAM_AND_SPAM

HAM, SPAM = ("meeting", "lunch", "thanks", "train"), ("prize", "winner", "claim", "click")


def rows(
    source: str, count: int = 110, turned: bool = False, labels: tuple[int, ...] = (0, 1)
) -> pd.DataFrame:
    draw = np.random.default_rng(abs(hash(source)) % 1000)
    made = []
    for label in labels:
        words = (HAM, SPAM)[label ^ turned]
        for i in range(count):
            body = (
                " ".join(draw.choice(words, 4))
                + " "
                + " ".join(f"{source}{n}" for n in draw.integers(0, 999, 3))
            )
            made.append((label, body, "sms", f"{source}{label}{i}", source))
    return pd.DataFrame(made, columns=["Label", "Text", "Kind", "Group", "Source"])


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    parts = [rows("one"), rows("two"), rows("sms_mz"), rows("turned", turned=True), rows("bank", labels=(0,))]
    return pd.concat(parts, ignore_index=True)


def table(frame: pd.DataFrame, balance: str = "source") -> dict[str, left_out.LeftOutMetrics]:
    folds = left_out.judge(frame, *readers.read("ngrams", frame["Text"].tolist()), balance)
    return {one.source: one for one in left_out.figures(frame, folds)}


def test_what_the_others_know_judges_a_source(frame: pd.DataFrame) -> None:
    found = table(frame)
    assert found["one"].auc > 0.95 and found["turned"].auc < 0.2
    assert (found["one"].partner, found["bank"].partner) == ("", "sms_mz")
    assert (found["bank"].ham, found["bank"].spam) == (110, 110)


def test_nothing_near_a_source_trains(frame: pd.DataFrame) -> None:
    copies = frame[frame["Source"] == "turned"].assign(Source="copier")
    together = pd.concat([frame, copies], ignore_index=True)
    assert table(together)["turned"].auc < 0.2


def test_equal_shares(frame: pd.DataFrame) -> None:
    more = pd.concat([frame, rows("large", 1000)], ignore_index=True)
    weights = left_out.weights(more, "source")
    by = pd.Series(weights).groupby([more["Source"], more["Label"]]).sum()
    assert by["large", 1] == pytest.approx(by["one", 1])
    assert by[:, 0].sum() == pytest.approx(by[:, 1].sum())
    assert set(left_out.weights(more, "none")) == {1.0}
    assert weights.sum() == pytest.approx(len(more))


def test_the_command_reads_a_dataset(frame: pd.DataFrame, tmp_path: Path) -> None:
    names = ("train", "validation", "test", "test_natural")
    parts = dict(zip(names, (frame[::2], frame[1::4], frame[3::4], frame[3::4]), strict=True))
    data = corpus.write(tmp_path, parts, HAM_AND_SPAM, "grouped", {})
    found = left_out.run(data, "ngrams", "label", head=False)
    assert {one.source for one in found} == {"one", "two", "sms_mz", "turned", "bank"}
    console = Console(file=io.StringIO(), width=160)
    left_out.show(console, found)
    assert "mean of sms" in console.file.getvalue()  # type: ignore[attr-defined]
    with pytest.raises(ConfigError, match="--balance"):
        left_out.run(data, "ngrams", "sources")


def test_too_few_sources(tmp_path: Path) -> None:
    frame = rows("one")
    parts = dict.fromkeys(("train", "validation", "test", "test_natural"), frame)
    data = corpus.write(tmp_path, parts, HAM_AND_SPAM, "grouped", {})
    with pytest.raises(BadInput, match="three sources"):
        left_out.sample(data)


def test_the_states_of_a_model_do_not_depend_on_neighbours() -> None:
    texts = ["hello", "a much longer text that stands beside it and makes padding", ""]
    together, _ = readers.read(str(bundle.DEFAULT), texts)
    alone, _ = readers.read(str(bundle.DEFAULT), texts[:1])
    assert together.shape == (3, 512)
    np.testing.assert_allclose(together[0], alone[0], atol=1e-4)
