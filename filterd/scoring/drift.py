"""Whether today's messages still look like those the bundle was measured on.

Four distributions of a message are watched for each kind: its score, its label, its length and the script
most of its letters are of (the language mix, as far as one can tell without a language model). The distance
to the bundle's reference is the population stability index: below 0.1 nothing happened, above 0.25 the
traffic has shifted (Siddiqi 2006, Credit Risk Scorecards). A bundle without a reference takes the first
window of messages seen as one.
"""

import math
import unicodedata
from bisect import bisect_right
from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence

from filterd.api import Kind, Label, Verdict

WINDOW = (
    2000  # messages compared: at 10 bins PSI's chance level is about 9 / 2000 (its expectation for no drift)
)
MIN_SEEN = 200  # below it chance alone gives a PSI of 0.05
SCORE_EDGES = (0.001, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999)
LENGTH_EDGES = (8, 16, 32, 64, 128, 256, 512)  # tokens
SCRIPTS = ("LATIN", "CYRILLIC", "GREEK", "ARABIC", "HEBREW", "DEVANAGARI", "CJK", "HANGUL", "OTHER")
_CJK = {"CJK", "HIRAGANA", "KATAKANA", "BOPOMOFO"}
SCRIPT_SAMPLE = 400  # characters looked at
FLOOR = 1e-4  # share that an empty bin counts as; PSI has no value for nothing

BINS = {
    "score": len(SCORE_EDGES) + 1,
    "label": len(Label),
    "length": len(LENGTH_EDGES) + 1,
    "script": len(SCRIPTS),
}
Reference = Mapping[str, Sequence[float]]


def script(text: str) -> str:
    """The script that most letters at the beginning of a text are of; LATIN without any."""
    sample = text[:SCRIPT_SAMPLE]
    if sample.isascii():
        return "LATIN"
    found = Counter(_script_of(c) for c in sample if c.isalpha())
    return found.most_common(1)[0][0] if found else "LATIN"


def _script_of(character: str) -> str:
    name = unicodedata.name(character, "OTHER").split(" ", 1)[0].split("-", 1)[0]
    name = "CJK" if name in _CJK else name
    return name if name in SCRIPTS else "OTHER"


def observe(verdict: Verdict, tokens: int, script: str) -> tuple[int, ...]:
    """A message as its bin in each of BINS, in their order."""
    return (
        bisect_right(SCORE_EDGES, verdict.probability),
        list(Label).index(verdict.label),
        bisect_right(LENGTH_EDGES, tokens),
        SCRIPTS.index(script) if script in SCRIPTS else len(SCRIPTS) - 1,
    )


def shares(observed: Iterable[tuple[int, ...]]) -> dict[str, list[float]]:
    """Share of each bin, by distribution; what a bundle stores as its reference."""
    rows = list(observed)
    counts = [Counter(column) for column in zip(*rows, strict=True)] or [Counter[int]() for _ in BINS]
    total = max(1, len(rows))
    return {
        name: [count[i] / total for i in range(bins)]
        for (name, bins), count in zip(BINS.items(), counts, strict=True)
    }


def psi(reference: Sequence[float], current: Sequence[float]) -> float:
    """Population stability index of two lists of shares; 0 where they are equal."""
    pairs = [(max(FLOOR, r), max(FLOOR, c)) for r, c in zip(reference, current, strict=True)]
    return sum((c - r) * math.log(c / r) for r, c in pairs)


class Drift:
    """The last WINDOW messages of each kind against the bundle's reference."""

    def __init__(self, reference: Mapping[Kind, Reference]) -> None:
        self._reference: dict[Kind, Reference] = dict(reference)
        self._seen = {kind: deque[tuple[int, ...]](maxlen=WINDOW) for kind in Kind}

    def add(self, verdict: Verdict, tokens: int, script: str) -> None:
        """Take one message into account."""
        seen = self._seen[verdict.kind]
        seen.append(observe(verdict, tokens, script))
        if verdict.kind not in self._reference and len(seen) == WINDOW:
            self._reference[verdict.kind] = shares(seen)

    def measure(self) -> dict[Kind, dict[str, float]]:
        """PSI by kind and distribution, for the kinds with a reference and enough messages."""
        measured = {}
        for kind, seen in self._seen.items():
            reference = self._reference.get(kind)
            if reference and len(seen) >= MIN_SEEN:
                now = shares(seen)
                measured[kind] = {name: psi(reference[name], now[name]) for name in BINS}
        return measured
