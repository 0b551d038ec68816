"""Texts as rows of word numbers, for the models that know no other language than the training part's."""

import re
from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor

PAD, UNKNOWN = 0, 1
MOST_WORDS = 20_000  # of a vocabulary; an English speaker's, and a bound to what a corpus can make of it
MOST_OF_A_TEXT = 256  # words that are read of a message: eight SMS
LEAST = 2  # times that a word has to occur: of one sight nothing is learned

_WORD = re.compile(r"\w+|[^\w\s]")


def split(text: str) -> list[str]:
    """Words and marks in lower case, at most MOST_OF_A_TEXT."""
    return _WORD.findall(text.lower())[:MOST_OF_A_TEXT]


class WordNumbers:
    """Numbers of the training part's words; 0 is padding and 1 any other word."""

    def __init__(self, texts: Sequence[str]) -> None:
        counts = Counter(word for text in texts for word in split(text))
        common = [word for word, n in counts.most_common(MOST_WORDS) if n >= LEAST]
        self.numbers = {word: i for i, word in enumerate(common, UNKNOWN + 1)}
        self.counts = [0, 0, *(counts[word] for word in common)]

    def __len__(self) -> int:
        return len(self.counts)

    def row(self, text: str) -> list[int]:
        """A text's numbers; one that has no word is one unknown word."""
        return [self.numbers.get(word, UNKNOWN) for word in split(text)] or [UNKNOWN]

    def batch(self, texts: Sequence[str], least: int = 1) -> tuple[Tensor, Tensor]:
        """Rows padded on the right, [B, T] with T at least `least`, and their lengths [B]."""
        rows = [self.row(text) for text in texts]
        lengths = torch.tensor([len(row) for row in rows])
        padded = torch.full((len(rows), max(least, int(lengths.max()))), PAD)
        for place, row in zip(padded, rows, strict=True):
            place[: len(row)] = torch.tensor(row)
        return padded, lengths
