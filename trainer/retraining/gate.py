"""May a challenger replace the champion? Pure rules over what both said of messages held out from both.

Strategy: every rule is a function from the evidence to a `Finding` that says what was asked, what was found
and whether it is enough; all are evaluated, so that a report shows the whole table. What they guard
against:

- too little to learn from, one class only, one source that floods (`minimum`, `balance`, `quota`);
- no gain beyond chance. Corrections are the champion's errors, and any other model makes different ones, so
  a gain there is needed but proves little: `better` is a paired bootstrap over groups of near-duplicates;
- harm anywhere else: false positives, recall, the champion's own answers (`kept`) and the bundle's probes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
import numpy.typing as npt

from filterd.api import Label
from filterd_trainer.evaluation.calibrate import MAX_FALSE_POSITIVE_RATE

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

RESAMPLES = 4_000  # a 5% quantile then rests on 200 of them
SEED = 123
COSTS = {Label.HAM: 0.0, Label.UNSURE: 0.5, Label.SPAM: 1.0}  # of calling ham so; of spam, what is left to 1


class GateRules(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The gate's numbers.

    min_corrections: new ones that can be used. min_per_class: labelled messages of either class to train on,
    min_class_share of them at least. max_source_share: of the new corrections, for one source where there
    are several; source_floor: what one may always hand in. min_held: groups of held-out corrections without
    which nothing can be shown. confidence: of the gain, one-sided. max_fpr: of held-out ham that the
    champion does not lose. max_worse, max_lost: shares of everyday messages that may be labelled worse, and
    of which ham may be called spam that was not.
    probe_slack: points by which a probe may cross a threshold that it lies next to.
    """

    min_corrections: int = 20
    min_per_class: int = 10
    min_class_share: float = 0.05
    max_source_share: float = 0.5
    source_floor: int = 500
    min_held: int = 5
    confidence: float = 0.95
    max_fpr: float = MAX_FALSE_POSITIVE_RATE
    max_worse: float = 0.05
    max_lost: float = 0.0
    probe_slack: float = 0.5


@dataclass(frozen=True)
class HeldAnswers:
    """What one model says of n messages: calibrated P(spam) and the label by the bundle's thresholds."""

    probability: Floats
    labels: Sequence[Label]

    def calls(self, label: Label) -> Flags:
        """Which messages it gives a label, [n]."""
        return np.array([one is label for one in self.labels], dtype=bool)


@dataclass(frozen=True)
class HeldOutMail:
    """n held-out messages, what they are and what both models say.

    groups: near-duplicates share one. corrected: whether a person corrected it; the others are rehearsal
    data. sources: who handed the correction in.
    """

    is_spam: Flags
    groups: npt.NDArray[np.int64]
    corrected: Flags
    sources: Sequence[str]
    champion: HeldAnswers
    challenger: HeldAnswers


@dataclass(frozen=True)
class ProbeAnswers:
    """A message whose answer may not get worse: both models' labels and points.

    is_spam: None where nobody says what it is; then its label may not change at all.
    """

    is_spam: bool | None
    before: Label
    after: Label
    points_before: float
    points_after: float


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """Everything the gate looks at.

    new: usable new corrections by source, after the quota; dropped: how many it left out, by source.
    ham, spam: labelled messages that could be trained on. held_groups: of near-duplicates among the held-out
    corrections; held: None before there is a challenger. probes: the bundle's; kept: texts of ours.
    """

    new: dict[str, int]
    dropped: dict[str, int]
    ham: int
    spam: int
    held_groups: int
    held: HeldOutMail | None = None
    probes: Sequence[ProbeAnswers] = ()
    kept: Sequence[ProbeAnswers] = ()

    def compared(self) -> HeldOutMail:
        """What both models said. Raises ValueError before they were asked."""
        if self.held is None:
            raise ValueError("no challenger has judged anything yet")
        return self.held


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One rule's answer. asked, found: for people, short."""

    rule: str
    passed: bool
    asked: str
    found: str


def judge(evidence: Evidence, rules: GateRules) -> list[Finding]:
    """Every rule's finding, the preconditions first."""
    return [*before_training(evidence, rules), *(rule(evidence, rules) for rule in COMPARISONS)]


def before_training(evidence: Evidence, rules: GateRules) -> list[Finding]:
    """The rules that need no challenger."""
    return [rule(evidence, rules) for rule in PRECONDITIONS]


def reason(findings: Sequence[Finding]) -> str:
    """Why it did not pass, in one line; "" where it did."""
    return "; ".join(f"{one.rule}: {one.found} (wanted {one.asked})" for one in findings if not one.passed)


def lines(findings: Sequence[Finding]) -> list[str]:
    """A line a rule, for a terminal."""
    return [f"{'ok  ' if one.passed else 'FAIL'} {one.rule}: {one.found} ({one.asked})" for one in findings]


# ---- Is there enough to learn from? ----------------------------------------------------------------------


def minimum(evidence: Evidence, rules: GateRules) -> Finding:
    """Corrections, and messages of either class."""
    total = sum(evidence.new.values())
    return Finding(
        rule="minimum",
        passed=total >= rules.min_corrections and min(evidence.ham, evidence.spam) >= rules.min_per_class,
        asked=f"{rules.min_corrections} new corrections, {rules.min_per_class} ham and spam each",
        found=f"{total} new corrections, {evidence.ham} ham, {evidence.spam} spam",
    )


def balance(evidence: Evidence, rules: GateRules) -> Finding:
    """The rarer class's share of what there is to train on."""
    total = evidence.ham + evidence.spam
    share = min(evidence.ham, evidence.spam) / total if total else 0.0
    return Finding(
        rule="balance",
        passed=share >= rules.min_class_share,
        asked=f"{rules.min_class_share:.0%} of each",
        found=f"{share:.1%}",
    )


def quota(evidence: Evidence, rules: GateRules) -> Finding:
    """Of several sources none may hold more than its share; the surplus has been left out."""
    total, largest = sum(evidence.new.values()), max(evidence.new.values(), default=0)
    left = sum(evidence.dropped.values())
    return Finding(
        rule="quota",
        passed=len(evidence.new) < 2
        or largest <= max(rules.source_floor, rules.max_source_share * total + 1),
        asked=f"of several sources none with more than {rules.max_source_share:.0%} and {rules.source_floor}",
        found=f"{largest} of {total} from the largest of {len(evidence.new)}"
        + (f", {left} left out" if left else ""),
    )


def held_out(evidence: Evidence, rules: GateRules) -> Finding:
    """Enough corrections that nobody trains on to show a gain."""
    return Finding(
        rule="held out",
        passed=evidence.held_groups >= rules.min_held,
        asked=f"{rules.min_held} groups of corrections to compare on",
        found=f"{evidence.held_groups}",
    )


# ---- Is it better? ---------------------------------------------------------------------------------------


def costs(said: HeldAnswers, is_spam: Flags) -> Floats:
    """What each label costs, [n]: 1 for the wrong side, 0.5 for unsure, 0 for right."""
    called = np.array([COSTS[label] for label in said.labels], dtype=np.float64)
    return np.asarray(np.where(is_spam, 1.0 - called, called), dtype=np.float64)


def lower_bound(gain: Floats, groups: npt.NDArray[np.int64], confidence: float) -> float:
    """Of the mean gain, one-sided: a percentile bootstrap that draws whole groups (Efron and others 1993)."""
    sums = np.bincount(groups, weights=gain)
    sizes = np.bincount(groups)
    sums, sizes = sums[sizes > 0], sizes[sizes > 0]
    drawn = np.random.default_rng(SEED).integers(len(sizes), size=(RESAMPLES, len(sizes)))
    means = sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)
    return float(np.quantile(means, 1.0 - confidence))


def better(evidence: Evidence, rules: GateRules) -> Finding:
    """Fewer wrong labels on held-out corrections, beyond chance, and not by one source alone."""
    held = evidence.compared()
    on, asked = held.corrected, f"gain above 0 with {rules.confidence:.0%} confidence"
    number = len(np.unique(held.groups[on]))
    if not number:
        return Finding(rule="better", passed=False, asked=asked, found="no correction held out")
    gain = (costs(held.champion, held.is_spam) - costs(held.challenger, held.is_spam))[on]
    low = lower_bound(gain, np.unique(held.groups[on], return_inverse=True)[1], rules.confidence)
    found = f"gain {gain.mean():+.3f} a message, at least {low:+.3f}, on {len(gain)} in {number} groups"
    alone = _without_largest(gain, [s for s, c in zip(held.sources, on, strict=True) if c], rules.min_held)
    if alone is not None:
        found += f"; without the largest source {alone:+.3f}"
    return Finding(rule="better", passed=low > 0 and (alone is None or alone > 0), asked=asked, found=found)


def _without_largest(gain: Floats, sources: Sequence[str], least: int) -> float | None:
    """Mean gain without the source that holds most of it; None where the others are too few to tell."""
    names, place, counts = np.unique(sources, return_inverse=True, return_counts=True)
    others = gain[place != counts.argmax()]
    return float(others.mean()) if len(names) > 1 and len(others) >= least else None


# ---- Is it no worse anywhere? ----------------------------------------------------------------------------


def false_positives(evidence: Evidence, rules: GateRules) -> Finding:
    """Ham called spam: never more than the champion's, or than the budget where that is more."""
    held, lines, passed = evidence.compared(), [], True
    for name, part in (("corrections", held.corrected), ("rehearsal", ~held.corrected)):
        ham = part & ~held.is_spam
        before, after = (int((m.calls(Label.SPAM) & ham).sum()) for m in (held.champion, held.challenger))
        allowed = max(before, int(rules.max_fpr * ham.sum()))
        passed &= after <= allowed
        if ham.any():
            lines.append(f"{name}: {after} of {ham.sum()}, champion {before}")
    return Finding(
        rule="false positives",
        passed=passed,
        asked=f"the champion's or {rules.max_fpr:.1%} of held-out ham",
        found="; ".join(lines) or "no ham held out",
    )


def recall(evidence: Evidence, rules: GateRules) -> Finding:
    """Spam called spam: not below the champion's, and on rehearsal data not below it beyond chance."""
    held = evidence.compared()
    caught = [m.calls(Label.SPAM) for m in (held.champion, held.challenger)]
    before, after = (int((c & held.is_spam).sum()) for c in caught)
    rest = held.is_spam & ~held.corrected
    loss = (caught[0].astype(float) - caught[1].astype(float))[rest]
    groups = np.unique(held.groups[rest], return_inverse=True)[1]
    worse = len(loss) > 0 and lower_bound(loss, groups, rules.confidence) > 0
    return Finding(
        rule="recall",
        passed=after >= before and not worse,
        asked="not below the champion's",
        found=f"{after} of {held.is_spam.sum()}, champion {before}"
        + (f"; on rehearsal {int((caught[1] & rest).sum())} of {rest.sum()}" if rest.any() else ""),
    )


def kept(evidence: Evidence, rules: GateRules) -> Finding:
    """Everyday messages that nobody complained about (`filterd_trainer.retraining.anchors`)."""
    worse = sum(_worse(one, rules.probe_slack) for one in evidence.kept)
    lost = sum(one.is_spam is False and one.after is Label.SPAM is not one.before for one in evidence.kept)
    return Finding(
        rule="kept",
        passed=lost <= rules.max_lost * len(evidence.kept)
        and worse <= int(rules.max_worse * len(evidence.kept)),
        asked=f"no everyday ham called spam that was not, {rules.max_worse:.0%} labelled worse",
        found=f"{lost} and {worse} of {len(evidence.kept)}",
    )


def probes(evidence: Evidence, rules: GateRules) -> Finding:
    """The bundle's probe messages keep their labels, or get the right one where we know it."""
    changed = sum(_worse(one, rules.probe_slack) for one in evidence.probes)
    return Finding(
        rule="probes",
        passed=not changed,
        asked="none changes its label",
        found=f"{changed} of {len(evidence.probes)}",
    )


def _worse(one: ProbeAnswers, slack: float) -> bool:
    """A label that moved away from the truth; by a hair, where it lay at a threshold, does not count."""
    moved = COSTS[one.after] - COSTS[one.before]
    away = moved != 0 if one.is_spam is None else (moved < 0 if one.is_spam else moved > 0)
    return away and abs(one.points_after - one.points_before) > slack


Rule = Callable[[Evidence, GateRules], Finding]
PRECONDITIONS: tuple[Rule, ...] = (minimum, balance, quota, held_out)
COMPARISONS: tuple[Rule, ...] = (better, false_positives, recall, kept, probes)
