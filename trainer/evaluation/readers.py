"""What a cheap model is fitted to: n-grams of a text, or the frozen states of a model that has read it.

States are the last hidden state and the mean of all, side by side, of a text's beginning. Each comes with its
logistic regression, settings fixed: nothing is tuned on a source that is left out.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from filterd.scoring import bundle
from filterd.scoring.tokenizer import Tokenizer

LOOKED: Final = 1500  # characters that n-grams are made of
STUDENT_TOKENS: Final = 128  # one window of filterd-mini
TEACHER_TOKENS: Final = 80  # enough of a message to know its kind, at a teacher's price
TOKENS_A_PASS: Final = 4096
FEATURES: Final = 1 << 18  # of each kind of n-gram
PASSES: Final = 6

Reader = tuple[Any, Callable[..., Any]]  # features [n, d], and what fits a model: (features, labels, weights)


def read(name: str, texts: Sequence[str]) -> Reader:
    """`ngrams`, a run or a bundle, or a teacher (GGUF file, folder of the hub). Raises NotFound, BadInput."""
    if name == "ngrams":
        return _ngrams(texts), _fit_sparse
    path = Path(name)
    if (path / bundle.WEIGHTS).exists():
        return _of_model(path / bundle.WEIGHTS, texts), _fit_dense
    return _of_teacher(path, texts), _fit_dense


def _ngrams(texts: Sequence[str]) -> Any:
    from scipy import sparse  # type: ignore[import-untyped]
    from sklearn.feature_extraction.text import HashingVectorizer

    settings: dict[str, Any] = {"n_features": FEATURES, "alternate_sign": False, "dtype": np.float32}
    characters = HashingVectorizer(analyzer="char_wb", ngram_range=(3, 5), **settings)
    words = HashingVectorizer(ngram_range=(1, 2), **settings)
    cut = [one[:LOOKED] for one in texts]
    return sparse.hstack([characters.transform(cut), words.transform(cut)]).tocsr()


def _fit_sparse(features: Any, labels: Any, weights: Any) -> Any:
    from sklearn.linear_model import SGDClassifier

    model = SGDClassifier("log_loss", alpha=3e-6, max_iter=PASSES, tol=None, average=True, random_state=0)
    return model.fit(features, labels, sample_weight=weights)


def _fit_dense(features: Any, labels: Any, weights: Any) -> Any:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=300))
    return model.fit(features, labels, logisticregression__sample_weight=weights)


def _of_model(weights: Path, texts: Sequence[str]) -> npt.NDArray[np.float32]:
    from filterd_trainer.gpt2.model import from_safetensors

    model = from_safetensors(weights)[0].eval()
    tokenizer = Tokenizer.load(bundle.DEFAULT / bundle.TOKENIZER)
    return _states(model.gpt, [tokenizer.encode(one)[:STUDENT_TOKENS] or [0] for one in texts])


def _of_teacher(path: Path, texts: Sequence[str]) -> npt.NDArray[np.float32]:
    from filterd_trainer.pretraining.teacher import Teacher

    teacher = Teacher.load(path)
    return _states(teacher.hidden, [teacher.encode(one)[0][:TEACHER_TOKENS] or [0] for one in texts])


def _states(hidden: Callable[..., Any], encoded: Sequence[list[int]]) -> npt.NDArray[np.float32]:
    """[n, 2C] of token ids: `hidden` makes [B, T, C] of [B, T], where nothing depends on what follows."""
    import torch

    order = sorted(range(len(encoded)), key=lambda i: len(encoded[i]))
    found: list[npt.NDArray[np.float32]] = [np.empty(0, np.float32)] * len(encoded)
    while order:
        count = max(1, TOKENS_A_PASS // len(encoded[order[-1]]))
        some, order = order[-count:], order[:-count]
        longest = len(encoded[some[-1]])
        with torch.inference_mode():
            states = hidden(torch.tensor([encoded[i] + [0] * (longest - len(encoded[i])) for i in some]))
        for i, row in zip(some, states.float().numpy(), strict=True):
            mine = row[: len(encoded[i])]
            found[i] = np.concatenate([mine[-1], mine.mean(0)])
    return np.stack(found)
