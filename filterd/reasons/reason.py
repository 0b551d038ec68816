"""What can be said honestly of a verdict: what settled it, what was noticed, who corrected it, thresholds.

A reason is a key of the catalogue with its values, so that each reader gets it in his language. Facts that
were noticed carry no points: the model reads the text, and what a fact alone is worth nobody can tell.
Words and their points are `occlusion.py`.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Final, NamedTuple, Protocol

from filterd.api import Label, Verdict
from filterd.language import catalogue
from filterd.scoring.points import POINTS_AT_SPAM
from filterd.scoring.verdict import Thresholds, points

# Tests that are said by a sentence of their own, or are none of the message's doing.
_STAGES: Final = {"FASTPATH": "settled-fastpath", "EXIT": "settled-exit", "GPT2": "settled-model"}
_SAID: Final = {
    "GTUBE": "gtube",
    "MEMORY": "memory",
    "ALLOWED": "allowed",
    "DENIED": "denied",
    "CORRESPONDENT": "correspondent",
    "RELEASED": "released",
    "ALLOW_UNPROVEN": "unproven",
}
HEADER_REASONS: Final = 6  # of one header line; a mail with more facts is told apart by the first


class Reason(NamedTuple):
    """A sentence of the catalogue (`key`, below `reasons.` or `facts.`) and what is put into it."""

    key: str
    values: Mapping[str, object] = {}

    def say(self, language: str = catalogue.ENGLISH) -> str:
        """The sentence."""
        return catalogue.say(language, self.key, **self.values)


class Judgement(Protocol):
    """What a verdict and a row of the history have in common."""

    @property
    def label(self) -> Label: ...  # noqa: D102
    @property
    def probability(self) -> float: ...  # noqa: D102
    @property
    def points(self) -> float: ...  # noqa: D102
    @property
    def tests(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def available(self) -> bool: ...  # noqa: D102


class CorrectionReason(NamedTuple):
    """What a person said of this very message. who: an account's or listener's name, "" for nobody known."""

    label: Label
    when: datetime
    who: str = ""


def of(
    judged: Judgement,
    thresholds: Thresholds | None = None,
    correction: CorrectionReason | None = None,
    memory: float | None = None,
) -> list[Reason]:
    """Every reason, the verdict first, the thresholds last. memory: points that corrections added."""
    if not judged.available:
        return [Reason("reasons.unavailable")]
    found = [_verdict(judged), *(_settled(test) for test in judged.tests if test in _STAGES)]
    found += [_noticed(test, memory) for test in judged.tests if test not in _STAGES]
    if correction:
        found.append(_corrected(correction))
    if not thresholds:
        return found
    unsure = points(thresholds.unsure, thresholds)
    values = {"spam": thresholds.spam, "unsure": thresholds.unsure, "unsure_points": unsure}
    return [*found, Reason("reasons.thresholds", values)]


def header(found: Verdict) -> str:
    """The reasons on one line, in English, for a mail's header."""
    return " ".join(reason.say() for reason in of(found)[:HEADER_REASONS])


def _verdict(judged: Judgement) -> Reason:
    values = {"probability": judged.probability, "points": judged.points}
    return Reason(f"reasons.is-{judged.label}", values | {"distance": abs(judged.points - POINTS_AT_SPAM)})


def _settled(test: str) -> Reason:
    return Reason(f"reasons.{_STAGES[test]}")


def _noticed(test: str, memory: float | None) -> Reason:
    if test == "MEMORY" and memory is not None:
        return Reason("reasons.memory-by", {"points": memory})
    if test in _SAID:
        return Reason(f"reasons.{_SAID[test]}")
    kind, _, name = test.lower().partition("_")
    if kind == "attachment":
        return Reason("facts.attachment", {"name": name or "?"})
    key = f"facts.{test.lower()}"
    return Reason(key) if catalogue.knows(key) else Reason("reasons.fact", {"name": test.lower()})


def _corrected(correction: CorrectionReason) -> Reason:
    key = "corrected-spam" if correction.label is Label.SPAM else "corrected-ham"
    who = correction.who or catalogue.say(catalogue.ENGLISH, "reasons.somebody")
    return Reason(f"reasons.{key}", {"who": who, "when": f"{correction.when:%Y-%m-%d}"})
