"""The metrics of a simulation: from what was said of each mail to tables with intervals.

An *error* is what a user sees: ham called spam, or spam that is in the inbox, which it is as `unsure` too.
*Not right* counts unsure ham as well. Arms are compared on the same mails by a paired bootstrap over groups
of near-duplicates: every resample is drawn once and both arms are measured on it. False positives at equal
recall need no thresholds: each arm's scores are cut where it catches that share of the spam.
"""

from collections.abc import Mapping, Sequence

import msgspec
import numpy as np
import numpy.typing as npt

from filterd.api import Label
from filterd_trainer.evaluation.intervals import RESAMPLES, SEED, Estimate, estimate, mean, resampled
from filterd_trainer.evaluation.metrics import Figures, Floats, ranked, ranking, ratio
from filterd_trainer.retraining import gate
from filterd_trainer.retraining.gate import HeldAnswers as Answers
from filterd_trainer.simulation.replay import ReplayOutcome, Segment
from filterd_trainer.simulation.stream import Stream, StreamSettings
from filterd_trainer.simulation.users import is_hostile

BOTH = "both"  # the arm that the others are compared with
MEASURES = ("errors", "not right", "false positives", "recall", "fpr_at_recall_95", "fpr_at_recall_99")
COMPARED = ("errors", "not right", "fpr_at_recall_95", "fpr_at_recall_99")
WINDOW = 500  # messages of the rolling curves
STEP = 25  # messages between two points of a curve
CONFIDENCE = 0.95

Flags = npt.NDArray[np.bool_]
Groups = npt.NDArray[np.int64]


class ArmPartMetrics(msgspec.Struct, kw_only=True, frozen=True):
    """An arm on some of the mails. Counts, then MEASURES as shares with intervals."""

    messages: int
    ham: int
    spam: int
    false_positives: int
    missed: int
    unsure_ham: int
    unsure_spam: int
    estimates: dict[str, Estimate]


class Curve(msgspec.Struct, kw_only=True, frozen=True):
    """Over the stream: places, the share of errors among the last WINDOW, and sums since its beginning."""

    at: list[int]
    errors: list[float]
    sum_of_errors: list[int]
    false_positives: list[int]


class ArmMetrics(msgspec.Struct, kw_only=True, frozen=True):
    """One arm. parts: by name; corrections, wrong: how many it got, and how many of those were wrong."""

    name: str
    parts: dict[str, ArmPartMetrics]
    curve: Curve
    corrections: int
    wrong: int
    nights: int
    promoted: int
    reasons: list[str] = []


class Difference(msgspec.Struct, frozen=True):
    """`both` less another arm on a part, by measure; below 0: `both` is better."""

    other: str
    part: str
    estimates: dict[str, Estimate]


class NightCheck(msgspec.Struct, frozen=True):
    """After a night with hostile corrections: the filter on duty against the frozen one, on clean mail.

    more: labels' cost a mail beyond the frozen one's (1 wrong, ½ unsure), 95% interval of the paired
    bootstrap over groups; bound: its one-sided lower bound; worse: whether that is above 0.
    false_positives: of the frozen one, and of this one.
    """

    at: int
    duty: str
    promoted: bool
    more: Estimate
    bound: float
    worse: bool
    false_positives: tuple[int, int]


class HostileRun(msgspec.Struct, frozen=True):
    """One hostile run. alone: the model on duty; whole: with the memory. corrections: honest, hostile."""

    name: str
    honest: int
    hostile: int
    alone: list[NightCheck]
    whole: list[NightCheck]


class ReplayedStream(msgspec.Struct, kw_only=True, frozen=True):
    """What was replayed."""

    inputs: list[str]
    messages: int
    spam: int
    clean: int
    clean_spam: int
    groups: int
    lost: dict[str, int]
    fingerprint: str


class SimulationRecord(msgspec.Struct, frozen=True):
    """`simulate.json`. skipped: arms that could not run, and why."""

    bundle: str
    settings: StreamSettings
    data: ReplayedStream
    arms: list[ArmMetrics]
    differences: list[Difference]
    hostile: list[HostileRun]
    skipped: dict[str, str] = {}


def described(stream: Stream, inputs: Sequence[str]) -> ReplayedStream:
    """What a stream holds."""
    spam, clean = stream.is_spam, list(stream.clean)
    return ReplayedStream(
        inputs=list(inputs),
        messages=stream.n,
        spam=int(spam[: stream.n].sum()),
        clean=len(clean),
        clean_spam=int(spam[clean].sum()),
        groups=len(np.unique(stream.groups)),
        lost={name: count for name, count in stream.lost.items() if count},
        fingerprint=stream.fingerprint,
    )


def arm(name: str, segments: Sequence[Segment], stream: Stream) -> ArmMetrics:
    """The figures of one run."""
    learned = [said for segment in segments for said in segment.learned]
    nights = [segment.night for segment in segments if segment.night]
    return ArmMetrics(
        name=name,
        parts={part: _part(*some) for part, some in _parts(segments, stream).items()},
        curve=_curve(whole(segments), stream.is_spam[: stream.n]),
        corrections=len(learned),
        wrong=sum(said.label is not stream.mails[said.mail].label for said in learned),
        nights=len(nights),
        promoted=sum(night.promoted for night in nights),
        reasons=[night.reason for night in nights],
    )


def differences(runs: Mapping[str, Sequence[Segment]], stream: Stream) -> list[Difference]:
    """`both` against each other arm, part by part; none without `both`."""
    if BOTH not in runs:
        return []
    found = []
    drawn = {name: _drawn(segments, stream) for name, segments in runs.items()}
    for other in runs:
        for part in drawn[BOTH] if other != BOTH else ():
            one, two = drawn[BOTH][part], drawn[other][part]
            gaps = {name: one[name] - two[name] for name in COMPARED}
            estimates = {name: estimate(float(gap[0]), gap[1:]) for name, gap in gaps.items()}
            found.append(Difference(other, part, estimates))
    return found


def hostile(name: str, segments: Sequence[Segment], frozen: ReplayOutcome, stream: Stream) -> HostileRun:
    """The checks of a hostile run. frozen: what the bundle says of the clean mail."""
    learned = [said for segment in segments for said in segment.learned]
    looks = [segment for segment in segments if segment.look]
    several = [segment.look for segment in looks if segment.look]
    bad = sum(map(is_hostile, learned))
    return HostileRun(
        name=name,
        honest=len(learned) - bad,
        hostile=bad,
        alone=[_check(s, look.alone, frozen, stream) for s, look in zip(looks, several, strict=True)],
        whole=[_check(s, look.whole, frozen, stream) for s, look in zip(looks, several, strict=True)],
    )


def whole(segments: Sequence[Segment]) -> ReplayOutcome:
    """All verdicts of a run."""
    return ReplayOutcome(
        [p for segment in segments for p in segment.judged.probability],
        [label for segment in segments for label in segment.judged.labels],
    )


# ---- One arm ---------------------------------------------------------------------------------------------

Some = tuple[ReplayOutcome, Flags, Groups]  # verdicts, truth and groups of the same mails


def _parts(segments: Sequence[Segment], stream: Stream) -> dict[str, Some]:
    """What figures are given for: the stream, its second half, and the clean mail at the end."""
    judged, half, n = whole(segments), stream.n // 2, stream.n
    spam, groups, clean = stream.is_spam, stream.groups, list(stream.clean)
    later = ReplayOutcome(judged.probability[half:], judged.labels[half:])
    found = {
        "stream": (judged, spam[:n], groups[:n]),
        "second half": (later, spam[half:n], groups[half:n]),
    }
    if look := segments[-1].look:
        found["clean mail, at the end"] = (look.whole, spam[clean], groups[clean])
    return found


def _drawn(segments: Sequence[Segment], stream: Stream) -> dict[str, Figures]:
    return {part: _samples(*some) for part, some in _parts(segments, stream).items()}


def _samples(judged: ReplayOutcome, spam: Flags, groups: Groups) -> Figures:
    """MEASURES, [1 + RESAMPLES] each: of the mails as they are, then of every resample."""
    ones = np.ones((1, len(spam)))
    weights = [ones, *resampled(len(spam), groups, resamples=RESAMPLES, seed=SEED)]
    pieces = [_measured(judged, spam, some) for some in weights]
    return {name: np.concatenate([piece[name] for piece in pieces]) for name in MEASURES}


def _measured(judged: ReplayOutcome, spam: Flags, weights: Floats) -> Figures:
    as_spam, unsure = (_called(judged, label) for label in (Label.SPAM, Label.UNSURE))
    p, total = np.array(judged.probability), weights.sum(axis=1)
    error = as_spam != spam
    return {
        "errors": ratio(weights @ error, total),
        "not right": ratio(weights @ (error | unsure), total),
        "false positives": ratio(weights @ (as_spam & ~spam), weights @ ~spam),
        "recall": ratio(weights @ (as_spam & spam), weights @ spam),
        **ranking(*ranked(p, spam, weights)),
    }


def _part(judged: ReplayOutcome, spam: Flags, groups: Groups) -> ArmPartMetrics:
    as_spam, unsure = (_called(judged, label) for label in (Label.SPAM, Label.UNSURE))
    return ArmPartMetrics(
        messages=len(spam),
        ham=int((~spam).sum()),
        spam=int(spam.sum()),
        false_positives=int((as_spam & ~spam).sum()),
        missed=int((~as_spam & spam).sum()),
        unsure_ham=int((unsure & ~spam).sum()),
        unsure_spam=int((unsure & spam).sum()),
        estimates={
            name: estimate(float(values[0]), values[1:])
            for name, values in _samples(judged, spam, groups).items()
        },
    )


def _called(judged: ReplayOutcome, label: Label) -> Flags:
    return np.array([one is label for one in judged.labels], dtype=bool)


def _curve(judged: ReplayOutcome, spam: Flags) -> Curve:
    as_spam = _called(judged, Label.SPAM)
    errors, lost = np.cumsum(as_spam != spam), np.cumsum(as_spam & ~spam)
    at = sorted({*range(STEP, len(spam), STEP), len(spam)})
    before = [errors[i - 1] - (errors[i - 1 - WINDOW] if i > WINDOW else 0) for i in at]
    return Curve(
        at=at,
        errors=[float(count) / min(WINDOW, i) for count, i in zip(before, at, strict=True)],
        sum_of_errors=[int(errors[i - 1]) for i in at],
        false_positives=[int(lost[i - 1]) for i in at],
    )


# ---- Hostile corrections ---------------------------------------------------------------------------------


def _check(segment: Segment, judged: ReplayOutcome, frozen: ReplayOutcome, stream: Stream) -> NightCheck:
    clean = list(stream.clean)
    spam, groups = stream.is_spam[clean], np.unique(stream.groups[clean], return_inverse=True)[1]
    costs = [gate.costs(_answers(one), spam) for one in (frozen, judged)]
    more = costs[1] - costs[0]
    bound = gate.lower_bound(more, groups, CONFIDENCE)
    lost = [int((_called(one, Label.SPAM) & ~spam).sum()) for one in (frozen, judged)]
    night = segment.night
    return NightCheck(
        at=segment.start,
        duty=night.duty if night else "",
        promoted=bool(night and night.promoted),
        more=mean(more, groups),
        bound=bound,
        worse=bound > 0,
        false_positives=(lost[0], lost[1]),
    )


def _answers(judged: ReplayOutcome) -> Answers:
    return Answers(np.array(judged.probability), judged.labels)
