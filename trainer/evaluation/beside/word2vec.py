"""word2vec (Mikolov et al. 2013, arXiv:1310.4546) trained on the spot, and a line through the mean vectors.

Skip-grams with negative sampling: a word's vector has to tell the words around it from drawn ones. It sees
the training part's texts, no labels; the classifier is scikit-learn's logistic regression on the mean of a
message's vectors. Why not gensim: docs/decisions.md.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from filterd_trainer.evaluation.beside.words import UNKNOWN, WordNumbers

WIDTH = 100  # gensim's default, as the next three
WINDOW = 5
NEGATIVES = 5
EPOCHS = 5
BATCH = 1024  # pairs a step
RATE = 1e-2  # Adam's; the paper's plain descent takes 0.025
POWER = 0.75  # of a word's frequency, when words are drawn: the paper's
MOST_PAIRS = 20_000_000  # 320 MB of them; of more text a random part is enough


class SkipGrams(nn.Module):
    """Vectors of words and of contexts, [V, C] each."""

    def __init__(self, words: int) -> None:
        super().__init__()
        self.words, self.contexts = nn.Embedding(words, WIDTH), nn.Embedding(words, WIDTH)
        nn.init.uniform_(self.words.weight, -0.5 / WIDTH, 0.5 / WIDTH)
        nn.init.zeros_(self.contexts.weight)

    def forward(self, pairs: Tensor, drawn: Tensor) -> Tensor:
        """Mean loss of words and what stands near them, [2, B], and of what was drawn, [B, N]."""
        vector = self.words(pairs[0])
        near = logsigmoid((vector * self.contexts(pairs[1])).sum(-1))
        far = logsigmoid(-(self.contexts(drawn) @ vector[:, :, None]).squeeze(-1)).sum(-1)
        return -(near + far).mean()


class Word2Vec:
    """A classifier as scikit-learn has them."""

    def __init__(self, seed: int = 0) -> None:
        self._seed = seed

    def fit(self, texts: Sequence[str], truth: Sequence[int]) -> "Word2Vec":
        """Learn vectors from the texts, and then a line from the labels."""
        from sklearn.linear_model import LogisticRegression

        self.numbers = WordNumbers(texts)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self._seed)
            self.vectors = _learned([self.numbers.row(text) for text in texts], self.numbers.counts)
        self.line = LogisticRegression(max_iter=1000).fit(self._means(texts), truth)
        self.classes_ = self.line.classes_
        return self

    def predict_log_proba(self, texts: Sequence[str]) -> npt.NDArray[np.float64]:
        """[n, classes]."""
        found: Any = self.line.predict_log_proba(self._means(texts))
        return np.asarray(found, dtype=np.float64)

    def _means(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        return np.stack([self.vectors[self.numbers.row(text)].mean(axis=0) for text in texts])


def _learned(rows: list[list[int]], counts: list[int]) -> npt.NDArray[np.float32]:
    pairs = _pairs(rows)
    odds = torch.tensor(counts, dtype=torch.float64) ** POWER
    model = SkipGrams(len(counts))
    if not pairs.shape[1] or not odds.sum():  # no word occurs twice: there is nothing to learn vectors from
        return model.words.weight.detach().numpy()
    optimizer = torch.optim.Adam(model.parameters(), lr=RATE)
    for _ in range(EPOCHS):
        for chosen in torch.split(torch.randperm(pairs.shape[1]), BATCH):
            drawn = torch.multinomial(odds, len(chosen) * NEGATIVES, replacement=True)
            loss = model(pairs[:, chosen], drawn.view(len(chosen), NEGATIVES))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return model.words.weight.detach().numpy()


def _pairs(rows: list[list[int]]) -> Tensor:
    """Each word with each known word of its window, [2, pairs]; unknown words are none's neighbours."""
    words: list[int] = []
    contexts: list[int] = []
    for i in torch.randperm(len(rows)).tolist():
        known = [number for number in rows[i] if number != UNKNOWN]
        for at, number in enumerate(known):
            near = known[max(0, at - WINDOW) : at] + known[at + 1 : at + 1 + WINDOW]
            words += [number] * len(near)
            contexts += near
        if len(words) > MOST_PAIRS:
            break
    return torch.tensor([words, contexts], dtype=torch.int64)
