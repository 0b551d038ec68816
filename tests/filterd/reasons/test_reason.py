"""Reasons in words, for every stage, fact and correction."""

from datetime import UTC, datetime

import pytest

from filterd.api import Kind, Label, Verdict
from filterd.language import catalogue
from filterd.reasons import reason
from filterd.scoring.verdict import Thresholds, points

THRESHOLDS = Thresholds(0.3, 0.9)


def verdict(*tests: str, label: Label = Label.SPAM, p: float = 0.99, available: bool = True) -> Verdict:
    return Verdict(
        label=label,
        probability=p,
        points=points(p, THRESHOLDS),
        kind=Kind.MAIL,
        tests=tests,
        available=available,
    )


def said(found: Verdict, language: str = "en", **more: object) -> list[str]:
    return [one.say(language) for one in reason.of(found, THRESHOLDS, **more)]  # type: ignore[arg-type]


@pytest.mark.parametrize("language", catalogue.languages())
@pytest.mark.parametrize(
    "test",
    ["GPT2", "FASTPATH", "EXIT", "GTUBE", "MEMORY", "ALLOWED", "DENIED", "CORRESPONDENT", "ALLOW_UNPROVEN",
     "HIDDEN_TEXT", "HTML_ONLY", "TANGLED_HTML", "TRUNCATED", "AMBIGUOUS", "ATTACHMENT_EXE", "SOMETHING_NEW"],
)  # fmt: skip
def test_every_test_is_a_sentence(test: str, language: str) -> None:
    found = said(verdict(test), language)
    assert len(found) == 3
    assert found[1].endswith(".")
    assert "reasons." not in found[1] and "facts." not in found[1]


def test_the_verdict_is_told_with_its_distance() -> None:
    assert said(verdict("GPT2"))[0] == "P 0.9900, +7.4 points: spam, 2.4 points beyond the threshold."
    assert "2.6 points short of spam" in said(verdict(label=Label.UNSURE, p=0.4))[0]


def test_an_attachment_is_named_by_its_kind() -> None:
    assert "It has an attachment: exe." in said(verdict("GPT2", "ATTACHMENT_EXE"))


def test_a_correction_is_told_with_who_and_when() -> None:
    when = datetime(2026, 5, 3, tzinfo=UTC)
    assert "ann marked this very message as spam on 2026-05-03." in said(
        verdict("GPT2"), correction=reason.CorrectionReason(Label.SPAM, when, "ann")
    )
    assert any(
        "Somebody marked" in one
        for one in said(verdict("GPT2"), correction=reason.CorrectionReason(Label.HAM, when))
    )


def test_what_corrections_moved_is_a_number_where_it_is_known() -> None:
    assert "Corrections of similar mail moved its score by +2.5 points." in said(
        verdict("MEMORY"), memory=2.5
    )


def test_what_was_not_judged_has_one_reason() -> None:
    assert len(said(verdict(available=False))) == 1


def test_a_header_is_one_line_without_a_word_of_the_sender() -> None:
    line = reason.header(verdict("GPT2", *(f"ATTACHMENT_{i}" for i in range(50))))
    assert "\n" not in line
    assert line.count("attachment") <= reason.HEADER_REASONS
