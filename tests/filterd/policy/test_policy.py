"""Thresholds and lists as they change a verdict, and the store that they are kept in."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from filterd.api import Kind, Label, Message, Verdict
from filterd.config import Config, Threshold, Trust
from filterd.errors import BadInput
from filterd.policy import store as policy_store
from filterd.policy.entry import made
from filterd.policy.policy import Policy
from filterd.policy.store import PolicyStore, ThresholdRule
from filterd.scoring.verdict import Thresholds, points
from tests.filterd.fakes import engine

BUNDLE = Thresholds(0.3, 0.9)
AUTH = b"Authentication-Results: mx.example.org; dkim=pass header.d=example.net\n"
RAW = b"From: ann@example.net\nSubject: x\n\nhello\n"


@pytest.fixture
def rules(database: str) -> Iterator[PolicyStore]:
    with PolicyStore.open(database) as made_:
        yield made_


def verdict(p: float, *tests: str, available: bool = True) -> Verdict:
    label = Label.SPAM if p >= 0.9 else Label.UNSURE if p >= 0.3 else Label.HAM
    return Verdict(
        label=label,
        probability=p,
        points=points(p, BUNDLE),
        kind=Kind.MAIL,
        tests=("GPT2", *tests),
        available=available,
    )


def mail(raw: bytes = RAW, *recipients: str) -> Message:
    return Message(raw, kind=Kind.MAIL, recipients=recipients)


def policy(rules: PolicyStore | None = None, **sections: object) -> Policy:
    return Policy(Config(trust=Trust(authserv_ids=("mx.example.org",)), **sections), rules)  # type: ignore[arg-type]


def test_where_nothing_is_set_a_verdict_is_as_it_was(rules: PolicyStore) -> None:
    for found in (verdict(0.5), verdict(0.99), verdict(0.0, available=False)):
        assert policy(rules).decide(mail(), found, BUNDLE) == (found, BUNDLE)
    assert policy(None).decide(mail(), verdict(0.5), BUNDLE).verdict == verdict(0.5)


def test_thresholds_move_the_label_and_the_points(rules: PolicyStore) -> None:
    rules.set_thresholds(ThresholdRule("", Kind.MAIL, Thresholds(0.2, 0.4)))
    found, thresholds = policy(rules).decide(mail(), verdict(0.5), BUNDLE)
    assert found.label is Label.SPAM and found.points >= 5.0
    assert found.probability == 0.5 and thresholds.spam == 0.4
    sms = Verdict(label=Label.UNSURE, probability=0.5, points=1.0, kind=Kind.SMS)
    assert policy(rules).decide(Message(b"x", kind=Kind.SMS), sms, BUNDLE).verdict == sms


def test_the_nearest_thresholds_hold_and_of_several_recipients_the_mildest(rules: PolicyStore) -> None:
    configured = (
        Threshold(unsure=0.1, spam=0.5),
        Threshold(unsure=0.1, spam=0.6, recipients=("@Example.org",), kinds=(Kind.MAIL,)),
    )
    rules.set_thresholds(ThresholdRule("ben@example.org", Kind.MAIL, Thresholds(0.1, 0.7)))
    made_ = policy(rules, thresholds=configured)

    def spam(*recipients: str, kind: Kind = Kind.MAIL) -> float:
        return made_.thresholds(kind, recipients, BUNDLE).spam

    assert spam() == spam("x@example.net") == 0.5
    assert spam("carla@example.org") == spam("carla@sub.example.org") == 0.6
    assert spam("<Ben@example.org>") == 0.7
    assert spam("ben@example.org", "x@example.net") == 0.7
    assert spam("carla@example.org", kind=Kind.SMS) == 0.5
    assert rules.reset_thresholds("ben@example.org", Kind.MAIL)
    assert not rules.reset_thresholds("ben@example.org", Kind.MAIL)
    made_.refresh()
    assert spam("ben@example.org") == 0.6


@pytest.mark.parametrize(
    ("do", "raw", "label", "test"),
    [
        ("deny", RAW, Label.SPAM, "DENIED"),
        ("allow", AUTH + RAW, Label.HAM, "ALLOWED"),
        ("allow", RAW, Label.UNSURE, "ALLOW_UNPROVEN"),
    ],
)
def test_a_list_decides_and_says_so(rules: PolicyStore, do: str, raw: bytes, label: Label, test: str) -> None:
    rules.put(made(do, "ann@example.net"))
    found = policy(rules).decide(mail(raw), verdict(0.5), BUNDLE).verdict
    assert found.label is label
    assert found.tests == ("GPT2", test)
    assert (found.points >= 5.0) is (label is Label.SPAM)


def test_no_entry_lets_the_test_string_through_or_judges_what_was_not_judged(rules: PolicyStore) -> None:
    rules.put(made("allow", "example.net"))
    for found in (verdict(0.999999, "GTUBE"), verdict(0.0, available=False)):
        assert policy(rules).decide(mail(AUTH + RAW), found, BUNDLE).verdict == found


def test_a_number_that_sends_sms_can_be_stopped(rules: PolicyStore) -> None:
    rules.put(made("deny", "promo@sms.example"))
    message = Message(b"hello", kind=Kind.SMS, sender="promo@sms.example")
    found = (
        policy(rules)
        .decide(message, Verdict(label=Label.HAM, probability=0.1, points=-3.0, kind=Kind.SMS), BUNDLE)
        .verdict
    )
    assert found.label is Label.SPAM


def test_an_entry_takes_the_place_of_one_of_the_same_value_and_scope(rules: PolicyStore) -> None:
    rules.put(made("allow", "example.net", note="old"))
    rules.put(made("deny", "example.net", note="new"))
    rules.put(made("deny", "example.net", scope="ben@example.org"))
    kept = rules.entries()
    assert [(one.do, one.scope, one.note) for one in kept] == [
        ("deny", "ben@example.org", ""),
        ("deny", "", "new"),
    ]
    assert kept[0].created > 1.7e9
    assert rules.remove(kept[0].number)
    assert not rules.remove(kept[0].number)
    assert rules.get(kept[0].number) is None


def test_lists_have_a_bound(rules: PolicyStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy_store, "MAX_ENTRIES", 2)
    for name in ("a.org", "b.org", "b.org"):
        rules.put(made("deny", name))
    with pytest.raises(BadInput, match="remove some"):
        rules.put(made("deny", "c.org"))
    assert len(rules.entries()) == 2


def test_what_another_daemon_sets_is_in_force_after_a_look(rules: PolicyStore, database: str) -> None:
    here = policy(rules)
    with PolicyStore.open(database) as there:
        there.put(made("deny", "example.net"))
    assert here.decide(mail(), verdict(0.1), BUNDLE).verdict.label is Label.HAM
    here.refresh()
    assert here.decide(mail(), verdict(0.1), BUNDLE).verdict.label is Label.SPAM


def test_where_links_lead_decides(rules: PolicyStore) -> None:
    rules.put(made("deny", "link-host:shop.example"))
    found = replace(verdict(0.1), hosts=("a.shop.example",))
    assert policy(rules).decide(mail(), found, BUNDLE).verdict.tests[-1] == "DENIED"
    assert policy(rules).decide(mail(), verdict(0.1), BUNDLE).verdict == verdict(0.1)
    sms = replace(found, kind=Kind.SMS)
    assert policy(rules).decide(Message(b"x", kind=Kind.SMS), sms, BUNDLE).verdict.label is Label.SPAM


def test_hosts_come_from_html_text_and_sms() -> None:
    html = b"Content-Type: text/html\n\n<a href='https://u:p@A.Shop.example:8443/x'>here</a>"
    plain = b"Subject: x\n\nsee https://b.example/y?z and //no\n"
    sms = "pay at c.example/1 now"
    made_ = [
        Message(html, kind=Kind.MAIL),
        Message(plain, kind=Kind.MAIL),
        Message(sms.encode(), kind=Kind.SMS),
    ]
    judge = engine()[0]
    found = [judge.conclude(one, judge.logits(one.windows)).hosts for one in map(judge.prepare, made_)]
    assert found == [("a.shop.example",), ("b.example",), ("c.example",)]
