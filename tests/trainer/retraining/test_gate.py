"""Each rule on evidence made for it: one that passes, and what it is there to stop."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from filterd.api import Label
from filterd_trainer.retraining import gate
from filterd_trainer.retraining.gate import (
    Evidence,
    Finding,
    GateRules,
    HeldAnswers,
    HeldOutMail,
    ProbeAnswers,
)

HAM, UNSURE, SPAM = Label.HAM, Label.UNSURE, Label.SPAM
NUMBERS = {HAM: 0.01, UNSURE: 0.5, SPAM: 0.99}


def said(labels: list[Label]) -> HeldAnswers:
    return HeldAnswers(np.array([NUMBERS[one] for one in labels]), labels)


def held(
    is_spam: list[bool],
    before: list[Label],
    after: list[Label],
    corrected: list[bool] | None = None,
    sources: list[str] | None = None,
    groups: list[int] | None = None,
) -> HeldOutMail:
    n = len(is_spam)
    return HeldOutMail(
        is_spam=np.array(is_spam),
        groups=np.array(groups if groups is not None else range(n)),
        corrected=np.array(corrected if corrected is not None else [True] * n),
        sources=sources if sources is not None else ["cli"] * n,
        champion=said(before),
        challenger=said(after),
    )


def better(n: int = 20) -> HeldOutMail:
    """Spam that the champion missed and the challenger has."""
    return held([True] * n, [HAM] * n, [SPAM] * n)


def evidence(of: HeldOutMail | None = None, **changes: object) -> Evidence:
    given: dict[str, object] = {
        "new": {"cli": 40}, "dropped": {}, "ham": 40, "spam": 60, "held_groups": 12,
        "held": of if of is not None else better(),
    }  # fmt: skip
    return Evidence(**(given | changes))  # type: ignore[arg-type]


def found(rule: str, of: Evidence, rules: GateRules | None = None) -> Finding:
    return next(one for one in gate.judge(of, rules or GateRules()) if one.rule == rule)


def test_a_better_challenger_passes_every_rule() -> None:
    findings = gate.judge(evidence(), GateRules())
    assert [one.rule for one in findings if not one.passed] == []
    assert gate.reason(findings) == ""
    assert len({one.rule for one in findings}) == len(findings) == 9


@pytest.mark.parametrize(
    ("rule", "changes"),
    [
        pytest.param("minimum", {"new": {"cli": 19}}, id="few-corrections"),
        pytest.param("minimum", {"ham": 9}, id="hardly-any-ham"),
        pytest.param("balance", {"ham": 10, "spam": 191}, id="one-class"),
        pytest.param("quota", {"new": {"cli": 501, "web": 10}}, id="flood"),
        pytest.param("held out", {"held_groups": 4}, id="nothing-to-compare-on"),
    ],
)
def test_too_little_to_learn_from(rule: str, changes: dict[str, object]) -> None:
    before = gate.before_training(evidence(None, **changes), GateRules())
    assert [one.rule for one in before if not one.passed] == [rule]
    assert gate.reason(before).startswith(f"{rule}: ")


def test_one_source_is_no_flood() -> None:
    assert found("quota", evidence(new={"cli": 5000})).passed
    assert found("quota", evidence(new={"cli": 501, "web": 499})).passed


def test_a_gain_by_chance_is_none() -> None:
    mixed = held([True] * 20, [HAM] * 10 + [SPAM] * 10, [SPAM] * 11 + [HAM] * 9)
    assert not found("better", evidence(mixed)).passed


def test_copies_of_one_message_are_one_message() -> None:
    n = 30
    alone = held([True] * n, [HAM] * n, [SPAM] * n)
    assert found("better", evidence(alone)).passed
    copies = held(
        [True] * n, [HAM] * 20 + [SPAM] * 10, [SPAM] * 20 + [HAM] * 10, groups=[0] * 20 + list(range(1, 11))
    )
    assert not found("better", evidence(copies)).passed


def test_a_flooding_source_does_not_carry_the_gain() -> None:
    """100 messages of one source got better, the ten of all others did not."""
    before = [HAM] * 100 + [SPAM] * 5 + [HAM] * 5
    after = [SPAM] * 100 + [HAM] * 5 + [HAM] * 5
    flood = held([True] * 110, before, after, sources=["web"] * 100 + ["cli"] * 10)
    assert not found("better", evidence(flood)).passed
    few = held([True] * 104, before[:104], after[:104], sources=["web"] * 100 + ["cli"] * 4)
    assert found("better", evidence(few)).passed  # four others say nothing


@pytest.mark.parametrize("corrected", [True, False])
def test_false_positives_are_counted_in_each_part(corrected: bool) -> None:
    n, ham = 20, 100
    part = [True] * n + [corrected] * ham
    ok = held([True] * n + [False] * ham, [HAM] * (n + ham), [SPAM] * n + [HAM] * ham, part)
    assert found("false positives", evidence(ok)).passed
    worse = held([True] * n + [False] * ham, [HAM] * (n + ham), [SPAM] * (n + 1) + [HAM] * (ham - 1), part)
    assert not found("false positives", evidence(worse)).passed
    was = [SPAM] + [HAM] * (n + ham - 1)
    same = held([False] * (n + ham), was, list(reversed(was)), [corrected] * (n + ham))
    assert found("false positives", evidence(same)).passed  # one then, one now


def test_the_budget_allows_one_in_a_thousand() -> None:
    n = 1000
    one = held([False] * n, [HAM] * n, [SPAM] + [HAM] * (n - 1), [False] * n)
    assert found("false positives", evidence(one)).passed
    two = held([False] * n, [HAM] * n, [SPAM] * 2 + [HAM] * (n - 2), [False] * n)
    assert not found("false positives", evidence(two)).passed


def test_recall_may_not_fall() -> None:
    fewer = held([True] * 20, [SPAM] * 10 + [HAM] * 10, [SPAM] * 9 + [UNSURE] * 11)
    assert not found("recall", evidence(fewer)).passed
    # more on corrections, but beyond chance fewer elsewhere
    shifted = held(
        [True] * 60, [HAM] * 40 + [SPAM] * 20, [SPAM] * 40 + [HAM] * 20, [True] * 40 + [False] * 20
    )
    assert not found("recall", evidence(shifted)).passed


def probe(spam: bool | None, before: Label, after: Label, moved: float = 3.0) -> ProbeAnswers:
    return ProbeAnswers(spam, before, after, 5.0, 5.0 + moved)


@pytest.mark.parametrize(
    ("one", "passes"),
    [
        pytest.param(probe(None, HAM, HAM), True, id="same"),
        pytest.param(probe(None, UNSURE, HAM), False, id="unknown-and-changed"),
        pytest.param(probe(None, SPAM, UNSURE, -0.1), True, id="by-a-hair"),
        pytest.param(probe(False, UNSURE, HAM), True, id="ham-put-right"),
        pytest.param(probe(False, HAM, UNSURE), False, id="ham-made-unsure"),
        pytest.param(probe(True, UNSURE, SPAM), True, id="spam-put-right"),
        pytest.param(probe(True, SPAM, UNSURE), False, id="spam-lost"),
    ],
)
def test_probes_keep_their_labels(one: ProbeAnswers, passes: bool) -> None:
    assert found("probes", evidence(probes=[one])).passed is passes


def test_everyday_messages_may_hardly_get_worse() -> None:
    fine = [probe(False, HAM, HAM)] * 38
    assert found("kept", evidence(kept=[*fine, probe(False, HAM, UNSURE)])).passed
    assert not found("kept", evidence(kept=[*fine, *[probe(True, SPAM, HAM)] * 3])).passed
    assert not found("kept", evidence(kept=[*fine, probe(False, UNSURE, SPAM)])).passed


@given(st.lists(st.tuples(st.booleans(), st.sampled_from(Label), st.integers(0, 5)), min_size=1, max_size=40))
def test_no_model_is_better_than_itself(messages: list[tuple[bool, Label, int]]) -> None:
    spam, labels, groups = (list(column) for column in zip(*messages, strict=True))
    same = held(spam, labels, labels, groups=groups)
    passed = {one.rule: one.passed for one in gate.judge(evidence(same), GateRules())}
    assert not passed["better"] and passed["false positives"] and passed["recall"]


def test_a_comparison_needs_a_challenger() -> None:
    with pytest.raises(ValueError, match="no challenger"):
        gate.judge(Evidence(new={}, dropped={}, ham=1, spam=1, held_groups=1), GateRules())


def test_lines_are_for_people() -> None:
    lines = gate.lines(gate.judge(evidence(ham=1), GateRules()))
    assert any(line.startswith("FAIL minimum: 40 new corrections, 1 ham") for line in lines)
