"""What each disguise does to a bundle: held-out messages attacked, read again by filterd, and judged.

A mail's canonical text is written as a mail again (plain, or HTML where the attack needs markup), an SMS is
sent as it is, so that everything between bytes and verdict is under test. Spam is judged at every strength;
ham, which bears the same disguises by accident, at the moderate one. Thresholds are the bundle's own, fixed.
A drop is measured against the same messages at strength 0, message by message, so its interval is narrow.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from random import Random

import msgspec
import numpy as np
import numpy.typing as npt
import pandas as pd

from filterd.api import Kind, Message
from filterd.reading.text import without_head
from filterd.scoring.engine import Engine
from filterd.scoring.verdict import Thresholds
from filterd_trainer.disguises.attacks import ATTACKS, MODERATE, STRENGTHS, SURROUNDINGS
from filterd_trainer.disguises.html_attacks import HTML_ATTACKS, mail, split
from filterd_trainer.evaluation.intervals import Estimate, mean
from filterd_trainer.evaluation.judge import EvaluationSplit
from filterd_trainer.evaluation.results import MeasuredOn

MESSAGES = 500  # of each kind and label; an interval of a recall of 0.9 is then 5 points wide, of a drop less
ALLOWED = 0.05  # drop of recall at the moderate strength
SEED = 123
AT_ONCE = 256  # messages that the engine judges in one call; bounds memory, changes no score

Bools = npt.NDArray[np.bool_]
Build = Callable[[str, float, Random], Message]
Report = Callable[[str], None]


class AttackPoint(msgspec.Struct, frozen=True, kw_only=True):
    """One strength. recall: called spam; caught: spam or unsure; drop: of recall, from strength 0."""

    strength: float
    recall: Estimate
    caught: Estimate
    drop: Estimate


class AttackCurve(msgspec.Struct, frozen=True):
    """One attack on one kind of message.

    points: by strength, 0 first. fpr: ham called spam, untouched and at the moderate strength.
    marked: the recall falls by more than ALLOWED at the moderate strength.
    """

    attack: str
    kind: Kind
    what: str
    points: list[AttackPoint]
    fpr: tuple[Estimate, Estimate] | None
    marked: bool

    @property
    def moderate(self) -> AttackPoint:
        """The point at the moderate strength."""
        return next(point for point in self.points if point.strength == MODERATE)


class AttackRecord(msgspec.Struct, frozen=True):
    """`attack.json`. messages: spam and ham judged, by kind; thresholds: the bundle's."""

    model: str
    data: MeasuredOn
    moderate: float
    allowed: float
    messages: dict[Kind, tuple[int, int]]
    thresholds: dict[Kind, Thresholds]
    lines: list[AttackCurve]


class _Sample:
    """Messages of one kind: some spam, some ham, and the training part's ham to put around them."""

    def __init__(self, subject: EvaluationSplit, kind: Kind, limit: int) -> None:
        ham = subject.dataset.ham_indices
        train = subject.dataset.split("train")
        self.kind = kind
        self.spam = _some(subject.frame, kind, ~subject.frame["Label"].isin(ham), limit)
        self.ham = _some(subject.frame, kind, subject.frame["Label"].isin(ham), limit)
        self.good = train["Text"][(train["Kind"] == kind.value) & train["Label"].isin(ham)].tolist()

    def attacks(self) -> Iterator[tuple[str, str, Build]]:
        """Name, first line of the description, and how to make the attacked message."""
        for name, attack in ATTACKS.items():
            yield name, _what(attack), partial(_rewritten, self.kind, attack)
        for name, surround in SURROUNDINGS.items():
            yield name, _what(surround), partial(_rewritten, self.kind, partial(_with, surround, self.good))
        if self.kind is Kind.MAIL:
            for name, html in HTML_ATTACKS.items():
                yield name, _what(html), partial(_as_html, html, self.good)


class _Judge:
    """Verdicts by the bytes of a message: what several attacks leave untouched is judged once."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._known: dict[bytes, float] = {}

    def __call__(self, messages: Sequence[Message]) -> npt.NDArray[np.float64]:
        new = [m for m in {m.raw: m for m in messages}.values() if m.raw not in self._known]
        for first in range(0, len(new), AT_ONCE):
            some = new[first : first + AT_ONCE]
            for message, verdict in zip(some, self._engine.judge(some), strict=True):
                self._known[message.raw] = verdict.probability
        return np.array([self._known[m.raw] for m in messages])


def attack(
    bundle: Path, subject: EvaluationSplit, limit: int = MESSAGES, report: Report = lambda _: None
) -> AttackRecord:
    """Every attack on a split's messages of each kind. Raises BundleError, RuntimeMissing, BadInput."""
    engine = Engine.open(bundle, fast_path=True)
    samples = [_Sample(subject, kind, limit) for kind in Kind]
    lines = []
    for sample in samples:
        if sample.spam.empty:
            continue
        judge = _Judge(engine)
        for name, what, build in sample.attacks():
            report(f"{sample.kind.value}: {name}")
            lines.append(
                _line(name, what, build, sample, judge, engine.bundle.manifest.thresholds[sample.kind])
            )
    return AttackRecord(
        model=engine.bundle.id,
        data=subject.facts(),
        moderate=MODERATE,
        allowed=ALLOWED,
        messages={sample.kind: (len(sample.spam), len(sample.ham)) for sample in samples},
        thresholds=engine.bundle.manifest.thresholds,
        lines=lines,
    )


def _line(
    name: str, what: str, build: Build, sample: _Sample, judge: _Judge, thresholds: Thresholds
) -> AttackCurve:
    def judged(frame: pd.DataFrame, strength: float) -> npt.NDArray[np.float64]:
        # One source of chance a message, whatever the attack's place in the table.
        seeds = (f"{SEED} {name} {i}" for i in range(len(frame)))
        drawn = [Random(seed) for seed in seeds]  # noqa: S311 (chance that can be repeated, no secret)
        return judge([build(t, strength, rng) for t, rng in zip(frame["Text"], drawn, strict=True)])

    groups = _groups(sample.spam)
    points, before = [], None
    for strength in (0.0, *STRENGTHS):
        p = judged(sample.spam, strength)
        hit = p >= thresholds.spam
        before = hit if before is None else before
        points.append(_point(strength, hit, p >= thresholds.unsure, before, groups))
    fpr = None
    if not sample.ham.empty:
        untouched, moderate = (
            mean(judged(sample.ham, strength) >= thresholds.spam, _groups(sample.ham))
            for strength in (0.0, MODERATE)
        )
        fpr = (untouched, moderate)
    line = AttackCurve(name, sample.kind, what, points, fpr, marked=False)
    return msgspec.structs.replace(line, marked=(line.moderate.drop.value or 0.0) > ALLOWED)


def _point(strength: float, hit: Bools, caught: Bools, before: Bools, groups: object) -> AttackPoint:
    drop = before.astype(float) - hit
    recall, found, lost = (mean(values, groups) for values in (hit, caught, drop))  # type: ignore[arg-type]
    return AttackPoint(strength=strength, recall=recall, caught=found, drop=lost)


def _some(frame: pd.DataFrame, kind: Kind, chosen: "pd.Series[bool]", limit: int) -> pd.DataFrame:
    found = frame[(frame["Kind"] == kind.value) & chosen]
    some = found.sample(min(limit, len(found)), random_state=SEED).reset_index(drop=True)
    return some.assign(Text=some["Text"].map(without_head))  # the mails that are made of them say no sender


def _groups(frame: pd.DataFrame) -> npt.NDArray[np.int64] | None:
    return frame["Group"].to_numpy() if "Group" in frame else None


def _what(attack: object) -> str:
    return (attack.__doc__ or "").split("\n", 1)[0]


def _with(surround: Callable[..., str], good: Sequence[str], text: str, strength: float, rng: Random) -> str:
    return surround(text, strength, rng, good)


def _rewritten(
    kind: Kind, attack: Callable[[str, float, Random], str], text: str, strength: float, rng: Random
) -> Message:
    changed = attack(text, strength, rng)
    if kind is Kind.SMS:
        return Message(changed.encode(errors="replace"), kind=Kind.SMS)
    return Message(mail(*split(changed)), kind=Kind.MAIL)


def _as_html(
    html: Callable[..., bytes], good: Sequence[str], text: str, strength: float, rng: Random
) -> Message:
    return Message(html(text, strength, rng, good), kind=Kind.MAIL)
