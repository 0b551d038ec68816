"""Stand-ins for the model: a backend that counts words, and an engine around it."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np

from filterd.api import Kind
from filterd.reading.text import TEXT_FORMAT
from filterd.scoring import bundle
from filterd.scoring.backend import Scores
from filterd.scoring.bundle import Architecture, Bundle, FileEntry, Manifest
from filterd.scoring.engine import Engine
from filterd.scoring.tokenizer import Tokenizer
from filterd.scoring.verdict import Calibration, Thresholds

SPAM_WORDS = (" prize", " urgent", " winner")


class WordBackend:
    """Logits by the number of spam words in a window, independent of the rest of the batch."""

    def __init__(self, tokenizer: Tokenizer, classes: int = 2) -> None:
        self._spam = {tokenizer.encode(word)[0] for word in SPAM_WORDS}
        self._classes = classes
        self.batches: list[list[int]] = []  # lengths of the windows of each call

    def score(self, ids: Sequence[Sequence[int]]) -> Scores:
        self.batches.append([len(window) for window in ids])
        logits = np.zeros((len(ids), self._classes), dtype=np.float32)
        logits[:, 1] = [8.0 * sum(token in self._spam for token in window) - 4.0 for window in ids]
        return Scores(logits, np.zeros((len(ids), 4), dtype=np.float32))


def manifest(**changes: object) -> Manifest:
    """A valid manifest of a bundle that is not there."""
    given: dict[str, object] = {
        "format": 1,
        "name": "fake",
        "created": bundle.now(),
        "text_format": TEXT_FORMAT,
        "architecture": Architecture(vocabulary=50257, context=64, width=4, layers=1, heads=1),
        "labels": ("ham", "spam"),
        "ham": ("ham",),
        "max_tokens": 16,
        "max_windows": 3,
        "pad_token": 50256,
        "quantization": "fp32",
        "calibration": {kind: Calibration() for kind in Kind},
        "thresholds": {kind: Thresholds(unsure=0.3, spam=0.9) for kind in Kind},
        "probes": (),
        "metrics": {},
        "files": {name: FileEntry(sha256="", bytes=0) for name in bundle.REQUIRED},
    }
    return Manifest(**(given | changes))  # type: ignore[arg-type]


@cache  # it never changes, and reading it takes 0.3 s
def tokenizer() -> Tokenizer:
    return Tokenizer.load(bundle.DEFAULT / bundle.TOKENIZER)


def engine(**changes: object) -> tuple[Engine, WordBackend]:
    """An engine over `WordBackend`; changes are to the manifest."""
    made = manifest(**changes)
    words = tokenizer()
    backend = WordBackend(words, len(made.labels))
    return Engine(Bundle(path=Path("fake"), manifest=made, id="fake-1"), words, backend), backend
