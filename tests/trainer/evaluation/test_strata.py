import io

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from filterd.api import Label
from filterd.errors import BadInput, ConfigError
from filterd_trainer.evaluation import strata
from filterd_trainer.evaluation.scores import SplitScores

# German ham is called spam half of the time, everything else is right.
FRAME = pd.DataFrame(
    {"Lang": ["de"] * 80 + ["en"] * 80 + [""] * 5, "Text": ["x" * 59, "x" * 60] * 80 + ["x" * 9000] * 5}
)
TRUTH = np.array(([0] * 40 + [1] * 40) * 2 + [0] * 5)
VERDICTS = (
    [Label.SPAM, Label.HAM] * 20
    + [Label.SPAM] * 40
    + [Label.HAM] * 40
    + [Label.UNSURE] * 40
    + [Label.HAM] * 5
)


def scored(verdicts: list[Label] | None) -> SplitScores:
    p = np.array([{Label.HAM: 0.1, Label.UNSURE: 0.6, Label.SPAM: 0.9}[one] for one in VERDICTS])
    return SplitScores("model", np.stack([1 - p, p], 1), p, TRUTH, ("ham", "spam"), (0,), verdicts)


def test_who_pays_is_seen() -> None:
    found = {one.name: one for one in strata.by(scored(VERDICTS), FRAME, "language")}
    assert (found["de"].ham_spam, found["en"].ham_spam) == (0.5, 0.0)
    assert (found["de"].auc, found["en"].auc) == (0.75, 1.0)
    assert (found["de"].spam_unsure, found["en"].spam_unsure) == (0.0, 1.0)
    assert found["others"].ham == 5  # without a language
    assert np.isnan(found["others"].ham_spam) and np.isnan(found["others"].auc)


def test_lengths() -> None:
    names = {one.name: one.ham + one.spam for one in strata.by(scored(VERDICTS), FRAME, "length")}
    assert names == {"0 to 59 characters": 80, "60 to 159 characters": 80, "others": 5}


def test_the_table_leaves_out_what_nobody_can_know() -> None:
    console = Console(file=io.StringIO(), width=140)
    strata.show(console, "language", strata.by(scored(VERDICTS), FRAME, "language"))
    said = console.file.getvalue()  # type: ignore[attr-defined]
    assert "50.0%" in said and "nan" not in said


def test_what_is_missing_is_named() -> None:
    with pytest.raises(ConfigError, match="--by colour"):
        strata.by(scored(VERDICTS), FRAME, "colour")
    with pytest.raises(BadInput, match="no column Year"):
        strata.by(scored(VERDICTS), FRAME, "year")
    with pytest.raises(BadInput, match="name a bundle"):
        strata.by(scored(None), FRAME, "language")
