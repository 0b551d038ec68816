"""The memory beside both models, without what it knows by heart."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from filterd.api import Kind, Label
from filterd.corrections.store import Store
from filterd.scoring.memory import Recollection
from filterd.scoring.verdict import Calibration, Thresholds
from filterd_trainer.evaluation.scores import SplitScores
from filterd_trainer.retraining import served
from tests.filterd import fakes
from tests.trainer.retraining.corrections import corrections

CUT = Thresholds(unsure=0.5, spam=0.9)
MANIFEST = fakes.manifest(calibration=dict.fromkeys(Kind, Calibration()), thresholds=dict.fromkeys(Kind, CUT))


def scored(probability: list[float]) -> SplitScores:
    p = np.array(probability)
    return SplitScores(
        "m",
        np.stack([1 - p, 0.75 * p, 0.25 * p], axis=1),
        p,
        np.zeros(len(p), np.int64),
        ("a", "b", "c"),
        (0,),
    )


def frame(n: int) -> pd.DataFrame:
    return pd.DataFrame({"Kind": ["sms"] * n})


def test_a_fold_is_asked_of_a_memory_without_it(tmp_path: Path) -> None:
    given = corrections(40)
    with Store.open(tmp_path / "feedback.sqlite") as store:
        store.learn_many(given)
        rows = pd.DataFrame({"Role": ["new"] * 40, "Id": [one.content_hash for one in given]})
        alone = np.zeros(40, dtype=np.int64)
        blank = served.recollections(store, 40, rows, alone)
        assert blank == [Recollection()] * 40
        halves = served.recollections(store, 40, rows, np.arange(40) // 20)
    assert not any(one.word for one in halves)
    told = [one.shift > 0 for one in halves]
    assert told == [one.label is Label.SPAM for one in given]


def test_who_was_not_corrected_has_no_memory(tmp_path: Path) -> None:
    with Store.open(tmp_path / "feedback.sqlite") as store:
        store.learn_many(corrections(10))
        rows = pd.DataFrame({"Role": ["rehearsal"] * 2, "Id": ["", ""]})
        assert served.recollections(store, 10, rows, np.zeros(2, np.int64)) == [Recollection()] * 2


def test_the_memory_speaks_beside_the_model() -> None:
    said = [Recollection(), Recollection(shift=8.0), Recollection(word=-1)]
    found = served.remembering(scored([0.6, 0.6, 0.99]), MANIFEST, frame(3), said)
    assert found.probability[0] == pytest.approx(0.6)
    assert list(found.verdicts or ()) == [Label.UNSURE, Label.SPAM, Label.HAM]


def test_classes_of_a_side_keep_their_shares() -> None:
    found = served.saying(scored([0.4, 0.8]), MANIFEST, frame(2), np.array([0.8, 0.0]))
    assert found.classes == pytest.approx(np.array([[0.2, 0.6, 0.2], [1.0, 0.0, 0.0]]))
