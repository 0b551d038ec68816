"""What users would try first: three scikit-learn classifiers, on the same split as the model.

Every setting is scikit-learn's default but what the description names; nothing is tuned. They see the text as
the data set has it, fit on the training part alone, and the validation part is used for one thing: the
temperature of the linear SVM, which has no probabilities of its own (it moves no decision at 0.5).
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from filterd.errors import BadInput
from filterd_trainer.evaluation.calibrate import fit_temperature, margins
from filterd_trainer.evaluation.results import Disagreement
from filterd_trainer.evaluation.scores import Floats, Indices, SplitScores, from_logits

IMPOSSIBLE = -50.0  # log-odds of a class that the training part does not have
PASSES = 3  # over the test part; the fastest counts, as the others measure the machine's other work


@dataclass(frozen=True)
class Baseline:
    """A classifier to compare with. setting: what differs from scikit-learn's defaults."""

    name: str
    setting: str
    make: Callable[[], Any]
    has_probabilities: bool = True


def _naive_bayes() -> Any:
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.naive_bayes import MultinomialNB
    from sklearn.pipeline import make_pipeline

    return make_pipeline(CountVectorizer(), MultinomialNB())


def _linear_svm() -> Any:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.pipeline import make_pipeline
    from sklearn.svm import LinearSVC

    return make_pipeline(TfidfVectorizer(), LinearSVC(random_state=0))


def _characters() -> Any:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    return make_pipeline(TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5)), LogisticRegression())


BASELINES = (
    Baseline("naive Bayes", "CountVectorizer(), MultinomialNB()", _naive_bayes),
    Baseline("linear SVM", "TfidfVectorizer(), LinearSVC(random_state=0)", _linear_svm, False),
    Baseline(
        "character n-grams",
        "TfidfVectorizer(analyzer='char_wb', ngram_range=(2, 5)), LogisticRegression()",
        _characters,
    ),
)


@dataclass(frozen=True)
class LabelledTexts:
    """One part of a data set: n texts and the indices of their classes, [n]."""

    texts: Sequence[str]
    truth: Indices


def run(
    baseline: Baseline,
    *,
    train: LabelledTexts,
    validation: LabelledTexts,
    test: LabelledTexts,
    labels: Sequence[str],
    ham: tuple[int, ...],
) -> SplitScores:
    """Fit a baseline and score the test part. labels: the k classes; ham: those that count as ham.

    Raises BadInput where the training part has no words or one class only.
    """
    if len(np.unique(train.truth)) < 2:
        raise BadInput("the training part has one class only; a comparison needs two")
    classifier = baseline.make()
    started = time.perf_counter()
    try:
        fitted = classifier.fit(train.texts, train.truth)
    except ValueError as error:
        raise BadInput(f"{baseline.name} cannot be fitted: {error}") from error
    seconds = time.perf_counter() - started
    logits, pace = _timed(lambda: _logits(fitted, test.texts, len(labels)), len(test.texts))
    if not baseline.has_probabilities:
        held_out = margins(_logits(fitted, validation.texts, len(labels)), ham)
        logits = logits * fit_temperature(held_out, ~np.isin(validation.truth, ham)).slope
    return from_logits(
        baseline.name, logits, test.truth, tuple(labels), ham, fit_seconds=seconds, messages_per_second=pace
    )


def _logits(fitted: Any, texts: Sequence[str], classes: int) -> Floats:
    """Scores whose softmax is the classifier's probability, [n, classes]."""
    if hasattr(fitted, "decision_function"):
        rows = np.asarray(fitted.decision_function(texts), dtype=np.float64)
        rows = np.column_stack([np.zeros_like(rows), rows]) if rows.ndim == 1 else rows
    else:
        rows = np.asarray(fitted.predict_log_proba(texts), dtype=np.float64)
    found = np.full((len(rows), classes), IMPOSSIBLE)
    found[:, fitted.classes_] = rows
    return found


def _timed(score: Callable[[], Floats], messages: int) -> tuple[Floats, float]:
    """What `score` returns, and messages a second in the fastest of a few passes."""
    best = np.inf
    for _ in range(PASSES):
        started = time.perf_counter()
        rows = score()
        best = min(best, time.perf_counter() - started)
    return rows, messages / best


def disagreement(a: SplitScores, b: SplitScores) -> Disagreement:
    """Where two models differ on the same messages, with the exact McNemar test (two-sided).

    Right is as in the accuracy: P(spam) of at least 0.5 for two classes, else the most probable class.
    """
    from scipy.stats import binomtest  # type: ignore[import-untyped]

    right_a, right_b = _right(a), _right(b)
    only_a, only_b = int((right_a & ~right_b).sum()), int((right_b & ~right_a).sum())
    p = float(binomtest(only_a, only_a + only_b).pvalue) if only_a + only_b else 1.0
    return Disagreement(a.name, b.name, only_a, only_b, p)


def _right(scored: SplitScores) -> npt.NDArray[np.bool_]:
    if len(scored.labels) == 2:
        return np.asarray((scored.probability >= 0.5) == scored.spam)
    return np.asarray(scored.called == scored.truth)
