"""Networks from scratch on words: a CNN (Kim 2014, arXiv:1408.5882) and an LSTM (Hochreiter 1997).

Both begin with random vectors (the paper's CNN-rand) and see the training part alone. Nothing is tuned: what
the paper has no number for is the usual.
"""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn.functional import relu

from filterd_trainer.evaluation.beside import loop
from filterd_trainer.evaluation.beside.words import PAD, WordNumbers

WIDTH = 128  # of a word's vector; the paper's 300 are those of vectors that others had trained
FILTERS = (3, 4, 5)  # words that a filter sees, and how many filters of each: the paper's
MAPS = 100
HIDDEN = 128  # of the LSTM, each way
DROPOUT = 0.5  # the paper's
BATCH = 50  # the paper's
EPOCHS = 10
RATE = 1e-3  # Adam's default
MOST_AT_ONCE = 256  # messages a pass when judging


class ConvolutionNet(nn.Module):
    """Filters over three to five words, the largest answer of each in the message, a linear layer."""

    def __init__(self, words: int, classes: int) -> None:
        super().__init__()
        self.vectors = nn.Embedding(words, WIDTH, padding_idx=PAD)
        self.filters = nn.ModuleList(nn.Conv1d(WIDTH, MAPS, size) for size in FILTERS)
        self.drop, self.head = nn.Dropout(DROPOUT), nn.Linear(MAPS * len(FILTERS), classes)

    def forward(self, rows: Tensor, _lengths: Tensor) -> Tensor:
        """[B, T] -> [B, classes]."""
        x = self.vectors(rows).transpose(1, 2)  # [B, C, T]
        found = torch.cat([relu(one(x)).amax(dim=2) for one in self.filters], dim=1)
        logits: Tensor = self.head(self.drop(found))
        return logits


class RecurrentNet(nn.Module):
    """An LSTM from either end; a linear layer on both last states."""

    def __init__(self, words: int, classes: int) -> None:
        super().__init__()
        self.vectors = nn.Embedding(words, WIDTH, padding_idx=PAD)
        self.lstm = nn.LSTM(WIDTH, HIDDEN, batch_first=True, bidirectional=True)
        self.drop, self.head = nn.Dropout(DROPOUT), nn.Linear(2 * HIDDEN, classes)

    def forward(self, rows: Tensor, lengths: Tensor) -> Tensor:
        """[B, T] and lengths [B] -> [B, classes]."""
        packed = nn.utils.rnn.pack_padded_sequence(
            self.vectors(rows), lengths, batch_first=True, enforce_sorted=False
        )
        _, (last, _) = self.lstm(packed)  # [2, B, H]
        logits: Tensor = self.head(self.drop(last.transpose(0, 1).flatten(1)))
        return logits


class WordNetwork:
    """Either of them as a classifier like scikit-learn's. net: makes it of a number of words and classes."""

    def __init__(self, net: Callable[[int, int], nn.Module], seed: int = 0, epochs: int = EPOCHS) -> None:
        self._make, self._seed, self._epochs = net, seed, epochs

    def fit(self, texts: Sequence[str], truth: Sequence[int]) -> "WordNetwork":
        """Train with Adam on random batches."""
        self.numbers = WordNumbers(texts)
        self.classes_, targets = np.unique(np.asarray(truth), return_inverse=True)
        labels = torch.from_numpy(targets)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self._seed)
            self.net = self._make(len(self.numbers), len(self.classes_)).train()
            optimizer = torch.optim.Adam(self.net.parameters(), lr=RATE)
            loop.fit(self._logits, texts, labels, optimizer, epochs=self._epochs, batch=BATCH)
        self.net.eval()
        return self

    def predict_log_proba(self, texts: Sequence[str]) -> npt.NDArray[np.float64]:
        """[n, classes]."""
        return loop.log_shares(self._logits, texts, MOST_AT_ONCE)

    def _logits(self, texts: Sequence[str]) -> Tensor:
        found: Tensor = self.net(*self.numbers.batch(texts, least=max(FILTERS)))
        return found
